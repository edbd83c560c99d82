"""What a request may cost: bounded answers, cheaper models, and a refusal in words."""

from __future__ import annotations

from typing import Any

import pytest

from accounts.models import User
from routing.backends import scripted
from routing.backends.base import (
    Prompt,
    PromptMessage,
    UpstreamFailed,
    Usage,
    UsageReported,
)
from routing.models import Model
from tests.routing.dispatching import (
    HELLO,
    closings,
    in_thread,
    models_of,
    notices_of,
    run,
)

pytestmark = pytest.mark.django_db(transaction=True)

CENT = 10_000_000
"""One cent in nano-dollars."""
LONG = Prompt("", (PromptMessage("user", "word " * 4_000),))


async def dear(add_model: Any, name: str = "dear", **fields: Any) -> None:
    """Add a model at $10 and $50 a million tokens, unless told otherwise."""
    prices = {
        "input_price_nano_usd_per_mtok": 10_000_000_000,
        "output_price_nano_usd_per_mtok": 50_000_000_000,
    }
    await in_thread(add_model, name, **(prices | fields))


def limits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that grows by what each call may write."""
    seen: list[int] = []
    stream = scripted.Scripted.stream

    def noting(self: Any, prompt: Any, target: Any, **options: Any) -> Any:
        seen.append(options["max_output_tokens"])
        return stream(self, prompt, target, **options)

    monkeypatch.setattr(scripted.Scripted, "stream", noting)
    return seen


async def test_the_answer_becomes_no_longer_than_the_cap_pays_for(
    alice: User, add_model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await dear(add_model)
    seen = limits(monkeypatch)
    _, result = await run(alice, model="dear", max_cost_nano_usd=5 * CENT)
    assert result.outcome == "complete"
    (limit,) = seen
    assert 950 < limit < 1000  # $0.05 at $50 a million, less the prompt
    await run(alice, model="dear")
    assert seen[1] > limit


async def test_what_a_cap_does_not_pay_for_is_refused_in_words(
    alice: User, add_model: Any
) -> None:
    await dear(add_model)
    _, result = await run(alice, LONG, model="dear", max_cost_nano_usd=CENT)
    assert result.error is not None
    assert result.error.code == "budget_exceeded"
    assert "at most $0.01" in result.error.message
    assert "“dear” would cost at least $0.06" in result.error.message
    assert await closings() == []


async def test_a_cheaper_model_is_asked_where_one_is_set_up(
    alice: User, add_model: Any
) -> None:
    await dear(add_model, tier=3)
    await in_thread(add_model, "house", tier=1, is_local=True)
    events, result = await run(alice, LONG, tier=3, max_cost_nano_usd=CENT)
    assert models_of(events) == ["house"]
    assert notices_of(events) == ["budget"]
    assert result.outcome == "complete"


async def test_the_cap_is_for_all_attempts_together(
    alice: User, add_model: Any, set_chain: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = limits(monkeypatch)
    await dear(add_model, "first")
    await dear(add_model, "second")
    chain = await in_thread(lambda: list(Model.objects.order_by("name")))
    await in_thread(set_chain, "chat", *chain)
    worked = [UsageReported(Usage(1, 600)), UpstreamFailed("It broke off.")]
    with scripted.playing(first=worked, second=HELLO):
        events, result = await run(alice, role="chat", max_cost_nano_usd=5 * CENT)
    assert models_of(events) == ["first", "second"]
    assert result.outcome == "complete"
    # 600 tokens cost three cents, so that two are left.
    assert 350 < seen[1] < 400 < 950 < seen[0]


async def test_a_model_without_a_price_is_not_asked_under_a_cap(
    alice: User, add_model: Any
) -> None:
    await dear(
        add_model,
        input_price_nano_usd_per_mtok=None,
        output_price_nano_usd_per_mtok=None,
    )
    _, result = await run(alice, model="dear", max_cost_nano_usd=CENT)
    assert result.error is not None
    assert "what “dear” costs is not known" in result.error.message
