"""What routing saved against always asking the dearest model of the top tier."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from accounts.models import User
from ledger import entries
from ledger.types import Prices
from routing.models import Model
from routing.registry import catalogue_for
from routing.savings import (
    NO_YARDSTICK,
    Saving,
    Used,
    compare,
    saved_nano_usd,
    saving_of,
    saving_of_everybody,
)
from tests.support.ledger import book

AddModel = Callable[..., Model]
USD = 1_000_000_000


def prices(input_usd: int, output_usd: int, **more: int) -> dict[str, Any]:
    """Return a model's prices in dollars per million tokens."""
    fields = {"input": input_usd, "output": output_usd, **more}
    return {
        f"{name}_price_nano_usd_per_mtok": usd * USD for name, usd in fields.items()
    }


@pytest.fixture
def opus(add_model: AddModel) -> Model:
    return add_model("opus", tier=3, **prices(15, 75))


@pytest.mark.django_db
class TestSaved:
    def test_is_the_same_tokens_at_the_top_price_minus_the_bill(
        self, alice: User, opus: Model
    ) -> None:
        book(alice, input_tokens=1000, output_tokens=200)
        book(alice, input_tokens=10, output_tokens=2)
        dear = 1010 * 15_000 + 202 * 75_000
        paid = 1010 * 3_000 + 202 * 15_000
        assert saved_nano_usd(alice) == dear - paid
        assert saving_of(alice) == Saving(dear - paid, "opus")

    def test_is_measured_by_the_dearest_of_several(
        self, alice: User, opus: Model, add_model: AddModel
    ) -> None:
        add_model("other", tier=3, **prices(20, 10))
        add_model("dearer-but-tier-2", tier=2, **prices(900, 900))
        book(alice, input_tokens=1000, output_tokens=0)
        assert saving_of(alice).against == "other"
        book(alice, input_tokens=0, output_tokens=1000)
        assert saving_of(alice).against == "opus"

    def test_calls_in_the_house_save_the_whole_price(
        self, alice: User, opus: Model
    ) -> None:
        book(alice, prices=Prices.local(), billing="local", input_tokens=100)
        assert saved_nano_usd(alice) == 100 * 15_000 + 2 * 75_000

    def test_reads_from_the_cache_count_at_the_price_of_the_cache(
        self, alice: User, add_model: AddModel
    ) -> None:
        add_model("opus", tier=3, **prices(15, 75, cache_read=2, cache_write=18))
        used = Used(1000, 0, 0, cache_read_tokens=400, cache_write_tokens=100)
        assert compare(catalogue_for(alice).models, used) == Saving(
            500 * 15_000 + 400 * 2_000 + 100 * 18_000, "opus"
        )

    def test_the_top_tier_alone_saves_nothing(self, alice: User, opus: Model) -> None:
        book(
            alice,
            prices=Prices(input=15 * USD, output=75 * USD),
            input_tokens=5,
            output_tokens=7,
        )
        assert saved_nano_usd(alice) == 0

    def test_counts_from_a_moment_on(self, alice: User, opus: Model) -> None:
        book(alice)
        assert saved_nano_usd(alice, timezone.now() + timedelta(minutes=1)) == 0

    def test_counts_corrections(self, alice: User, opus: Model) -> None:
        attempt = book(alice)
        before = saved_nano_usd(alice)
        assert before is not None
        entries.adjust(attempt, note="a refund", cost_nano_usd=-500)
        assert saved_nano_usd(alice) == before + 500


@pytest.mark.django_db
class TestUnknown:
    def test_a_call_of_unknown_cost_leaves_no_figure(
        self, alice: User, opus: Model
    ) -> None:
        book(alice)
        book(alice, prices=Prices())
        saving = saving_of(alice)
        assert saving.nano_usd is None
        assert saving.why_unknown == "1 call is of unknown cost"
        book(alice, prices=Prices())
        assert saving_of(alice).why_unknown == "2 calls are of unknown cost"

    @pytest.mark.parametrize(
        "fields",
        [{"tier": 2, **prices(15, 75)}, {"tier": 3}, {"tier": 3, "enabled": 0}],
    )
    def test_without_a_priced_top_tier_there_is_no_figure(
        self, alice: User, add_model: AddModel, fields: dict[str, Any]
    ) -> None:
        add_model("some", **fields)
        book(alice)
        assert saved_nano_usd(alice) is None
        assert saving_of(alice).why_unknown == NO_YARDSTICK

    def test_what_others_have_is_no_yardstick(
        self, alice: User, bob: User, add_model: AddModel
    ) -> None:
        add_model("bobs", owner=bob, tier=3, **prices(15, 75))
        book(alice)
        book(bob)
        assert saved_nano_usd(alice) is None
        assert saved_nano_usd(bob) == 10 * 12_000 + 2 * 60_000


@pytest.mark.django_db
class TestEverybody:
    def test_adds_up_what_each_saved_against_their_own_models(
        self, alice: User, bob: User, opus: Model, add_model: AddModel
    ) -> None:
        add_model("bobs", owner=bob, tier=3, **prices(20, 100))
        book(alice)
        book(bob)
        book(User(pk=777, username="gone"))
        saved = (10 * 12_000 + 2 * 60_000) + (10 * 17_000 + 2 * 85_000)
        assert saving_of_everybody() == Saving(saved, "bobs or opus")

    def test_one_unknown_saving_makes_the_sum_unknown(
        self, alice: User, bob: User, opus: Model
    ) -> None:
        book(alice)
        book(bob, prices=Prices())
        saving = saving_of_everybody()
        assert saving.nano_usd is None
        assert saving.why_unknown == "of bob 1 call is of unknown cost"

    def test_without_calls_nothing_is_saved(self, db: None) -> None:
        assert saving_of_everybody() == Saving(0)
