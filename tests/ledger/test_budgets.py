"""Budgets."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from accounts.models import User
from accounts.zones import zone_of
from ledger import budgets, chain, entries
from ledger.errors import BudgetExceeded
from ledger.models import Budget, LedgerEntry, LedgerPreview
from ledger.periods import start_of
from ledger.types import Prices, Settlement
from tests.support.ledger import book, make_reservation

pytestmark = pytest.mark.django_db

RESERVED = 1000 * 3000 + 100 * 15_000
"""What ``make_reservation`` reserves, in nano-dollars."""


def set_budget(
    user: User | None, calls: float, period: str = "day", **more: bool
) -> None:
    """Allow so many calls of ``make_reservation``."""
    Budget.objects.create(
        user=user, period=period, limit_nano_usd=int(RESERVED * calls), **more
    )


def test_without_a_budget_everything_fits(alice: User) -> None:
    for _ in range(3):
        entries.reserve(make_reservation(alice))
    assert budgets.left_nano_usd(alice) is None


def test_open_reservations_count(alice: User) -> None:
    set_budget(alice, 2)
    entries.reserve(make_reservation(alice))
    entries.reserve(make_reservation(alice))
    assert budgets.left_nano_usd(alice) == 0
    with pytest.raises(BudgetExceeded) as refusal:
        entries.reserve(make_reservation(alice, preview="Hello"))
    assert refusal.value.code == "budget_exceeded"
    sentence = str(refusal.value)
    assert sentence.startswith(
        "Your budget for today (0.009 USD) does not cover this call: 0 USD are left "
        "and it may cost up to 0.0045 USD. It starts anew on "
    )
    assert sentence.endswith(
        " at 00:00 (UTC); until then you can ask for more on the page “Money”."
    )
    assert LedgerEntry.objects.count() == 2
    assert not LedgerPreview.objects.exists()


def test_a_closed_call_counts_with_its_cost_only(alice: User) -> None:
    set_budget(alice, 1.5)
    book(alice, input_tokens=10, output_tokens=2)
    assert budgets.left_nano_usd(alice) == int(RESERVED * 1.5) - 60_000
    entries.reserve(make_reservation(alice))


def test_a_released_call_counts_nothing(alice: User) -> None:
    set_budget(alice, 1)
    reservation = make_reservation(alice)
    entries.reserve(reservation)
    entries.release(reservation.attempt_id)
    entries.reserve(make_reservation(alice))


def test_a_correction_counts(alice: User) -> None:
    set_budget(alice, 1)
    attempt = book(alice)
    entries.adjust(attempt, note="refund", cost_nano_usd=-60_000)
    assert budgets.left_nano_usd(alice) == RESERVED


def test_ones_own_budget_goes_before_the_default(alice: User, bob: User) -> None:
    set_budget(None, 1)
    set_budget(alice, 2)
    for user, calls in ((alice, 2), (bob, 1)):
        for _ in range(calls):
            entries.reserve(make_reservation(user))
        with pytest.raises(BudgetExceeded):
            entries.reserve(make_reservation(user))


def test_every_period_must_have_room(alice: User) -> None:
    set_budget(None, 1, "month")
    set_budget(alice, 5, "day")
    entries.reserve(make_reservation(alice))
    with pytest.raises(BudgetExceeded, match="Your budget for this month"):
        entries.reserve(make_reservation(alice))


def test_a_subscription_counts_only_when_switched_on(alice: User, bob: User) -> None:
    set_budget(alice, 1)
    set_budget(bob, 1, counts_notional=True)
    for user in (alice, bob):
        entries.reserve(make_reservation(user, billing="notional"))
    entries.reserve(make_reservation(alice, billing="notional"))
    assert budgets.left_nano_usd(alice) == RESERVED
    with pytest.raises(BudgetExceeded):
        entries.reserve(make_reservation(bob, billing="notional"))


def test_local_calls_are_not_stopped(alice: User) -> None:
    set_budget(alice, 0)
    entries.reserve(make_reservation(alice, billing="local", prices=Prices.local()))
    entries.reserve(make_reservation(alice, billing="local", prices=Prices()))
    with pytest.raises(BudgetExceeded):
        entries.reserve(make_reservation(alice))


def test_calls_of_nobody_have_no_budget() -> None:
    set_budget(None, 0)
    reservation = make_reservation()
    nobody = type(reservation.caller)(user_id=None, user_name="")
    entries.reserve(make_reservation(caller=nobody))


def test_yesterday_does_not_count(alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    set_budget(alice, 1)
    now = chain.timezone.now()
    monkeypatch.setattr(chain.timezone, "now", lambda: now - timedelta(days=2))
    reservation = make_reservation(alice)
    entries.reserve(reservation)
    entries.settle(
        reservation.attempt_id,
        Settlement("complete", 1, input_tokens=1000, output_tokens=100),
    )
    monkeypatch.undo()
    entries.reserve(make_reservation(alice))


def test_a_day_begins_at_midnight_of_the_person(alice: User) -> None:
    alice.time_zone = "Pacific/Auckland"
    zone = zone_of(alice)
    now = datetime(2026, 2, 1, 11, 30, tzinfo=UTC)  # 00:30 on 2 February there
    assert start_of("day", now, zone) == datetime(2026, 2, 1, 11, tzinfo=UTC)
    assert start_of("month", now, zone) == datetime(2026, 1, 31, 11, tzinfo=UTC)
