"""What is left of a period moves on to the next, and nothing else does."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.models import User
from ledger import budget_settings, chain, entries
from ledger.allowances import standings, standings_of
from ledger.budget_settings import Terms
from ledger.models import Budget
from ledger.tally import Tally
from ledger.types import Prices
from tests.support.ledger import PRICES, book

pytestmark = pytest.mark.django_db
FIRST = datetime(2026, 3, 2, 12, tzinfo=UTC)
LIMIT = 10_000_000
RESERVED = 1000 * 3000 + 100 * 15_000
COST = 60_000
"""What ``book`` books."""
TERMS = Terms(LIMIT, roll_over=True)


def at(monkeypatch: pytest.MonkeyPatch, moment: datetime) -> None:
    """Set the clock."""
    monkeypatch.setattr(chain.timezone, "now", lambda: moment)


def carried(user: User) -> int:
    """Return what rolled over into the person's only budget."""
    (standing,) = standings_of(user)
    return standing.carried


@pytest.fixture
def alice(alice: User, monkeypatch: pytest.MonkeyPatch) -> User:
    """Alice, here for a year already, with the clock at the first day."""
    alice.date_joined = FIRST - timedelta(days=365)
    alice.save()
    at(monkeypatch, FIRST)
    return alice


def after(monkeypatch: pytest.MonkeyPatch, **time: int) -> None:
    """Move the clock on from the first day."""
    at(monkeypatch, FIRST + timedelta(**time))


@pytest.mark.parametrize(
    "change",
    [
        {"limit_nano_usd": 40 * LIMIT},
        {"counts_notional": True},
    ],
)
def test_other_terms_pay_out_nothing_that_was_not_saved(
    alice: User, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
) -> None:
    budget_settings.set_budget("person", "day", TERMS, user=alice)
    after(monkeypatch, days=5)
    assert carried(alice) == LIMIT
    changed = replace(TERMS, **change)
    budget_settings.set_budget("person", "day", changed, user=alice)
    assert carried(alice) == 0
    after(monkeypatch, days=6)
    assert carried(alice) == changed.limit_nano_usd


def test_switching_it_on_pays_out_nothing(
    alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    without = replace(TERMS, roll_over=False)
    budget_settings.set_budget("person", "day", without, user=alice)
    after(monkeypatch, days=5)
    budget_settings.set_budget("person", "day", TERMS, user=alice)
    assert carried(alice) == 0


def test_what_was_saved_outlasts_a_change_of_how_strict_it_is(
    alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    budget_settings.set_budget("person", "day", TERMS, user=alice)
    after(monkeypatch, days=5)
    soft = replace(TERMS, hard=False)
    budget_settings.set_budget("person", "day", soft, user=alice)
    assert carried(alice) == LIMIT


def test_nobody_saves_before_they_are_here(
    alice: User, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    budget_settings.set_budget("person", "day", TERMS)
    after(monkeypatch, days=9)
    bob.date_joined = FIRST + timedelta(days=9)
    bob.save()
    assert (carried(alice), carried(bob)) == (LIMIT, 0)


def test_a_correction_of_yesterdays_call_counts_at_once(
    alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    budget_settings.set_budget("person", "day", TERMS, user=alice)
    attempt = book(alice, prices=Prices(), stand_in_prices=PRICES)
    after(monkeypatch, days=1)
    assert carried(alice) == LIMIT - RESERVED
    entries.adjust(attempt, note="invoice", cost_nano_usd=1000)
    assert carried(alice) == LIMIT


def test_a_row_that_was_stamped_before_midnight_and_came_after_it_counts(
    alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    budget_settings.set_budget("person", "day", TERMS, user=alice)
    after(monkeypatch, days=1)
    assert carried(alice) == LIMIT
    at(monkeypatch, FIRST.replace(hour=23, minute=59, second=59))
    book(alice)
    after(monkeypatch, days=1)
    assert carried(alice) == LIMIT - COST


@pytest.mark.parametrize("period", ["day", "month"])
def test_a_process_that_begins_asks_once_for_all_periods(
    alice: User, monkeypatch: pytest.MonkeyPatch, period: str
) -> None:
    Budget.objects.create(
        period=period,
        limit_nano_usd=LIMIT,
        roll_over=True,
        terms_since=FIRST - timedelta(days=900),
    )
    alice.date_joined = FIRST - timedelta(days=900)
    alice.save()
    book(alice)
    monkeypatch.setattr("ledger.allowances.TALLY", Tally())
    with CaptureQueriesContext(connection) as seen:
        assert carried(alice) == LIMIT
    assert len(seen) <= 8, [each["sql"][:90] for each in seen]


def test_many_people_are_summed_up_together(
    alice: User, bob: User, admin_user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    budget_settings.set_budget("person", "day", TERMS)
    for days, user in enumerate((alice, bob, admin_user)):
        user.date_joined = FIRST - timedelta(days=3 - days)
        user.save()
        for _ in range(days + 1):
            book(user)
    after(monkeypatch, days=1)
    monkeypatch.setattr("ledger.allowances.TALLY", Tally())
    together = [
        (Budget.objects.get(), user, user.pk) for user in (alice, bob, admin_user)
    ]
    with CaptureQueriesContext(connection) as seen:
        found = [each.carried for each in standings(together)]
    assert found == [LIMIT - COST, LIMIT - 2 * COST, LIMIT - 3 * COST]
    sums = [each for each in seen if "SUM(" in each["sql"]]
    assert len(sums) == 1
