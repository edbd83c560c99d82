"""Periods of budgets and people who change their time zone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from accounts.models import User
from ledger import chain
from ledger.allowances import standings_of
from ledger.errors import BudgetExceeded
from ledger.models import Budget, BudgetPeriod
from ledger.periods import next_start, start_of
from tests.support.ledger import book

pytestmark = pytest.mark.django_db
NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)
ONE_CALL = 1000 * 3000 + 100 * 15_000


def at(monkeypatch: pytest.MonkeyPatch, moment: datetime) -> None:
    """Set the clock."""
    monkeypatch.setattr(chain.timezone, "now", lambda: moment)


def move(user: User, zone: str) -> None:
    """Change the person's time zone, as their profile does."""
    user.time_zone = zone
    user.save()


def fits(user: User) -> bool:
    """Make a call that costs all of a period's budget; say whether it fitted."""
    try:
        book(user, input_tokens=1000, output_tokens=100)
    except BudgetExceeded:
        return False
    return True


@pytest.mark.parametrize("period", ["day", "week", "month"])
def test_moving_every_hour_starts_nothing_anew(
    alice: User, monkeypatch: pytest.MonkeyPatch, period: str
) -> None:
    Budget.objects.create(user=alice, period=period, limit_nano_usd=ONE_CALL)
    moments = []
    for hour in range(96):
        now = NOON + timedelta(hours=hour)
        at(monkeypatch, now)
        # Where it has just become midnight.
        east = (24 - now.hour) % 24
        offset = east if east <= 14 else east - 24
        move(alice, f"Etc/GMT{-offset:+d}")
        if fits(alice):
            moments.append(now)
    gaps = [later - one for one, later in zip(moments, moments[1:], strict=False)]
    assert len(moments) == (4 if period == "day" else 1)
    assert all(gap >= timedelta(days=1) for gap in gaps)


def test_a_period_runs_on_to_the_next_midnight_of_the_new_zone(
    alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    at(monkeypatch, NOON)
    Budget.objects.create(user=alice, period="day", limit_nano_usd=ONE_CALL)
    assert fits(alice)
    move(alice, "Europe/Berlin")
    (standing,) = standings_of(alice)
    assert standing.start == datetime(2026, 3, 4, tzinfo=UTC)
    assert standing.renews_at.isoformat() == "2026-03-06T00:00:00+01:00"
    at(monkeypatch, datetime(2026, 3, 5, 22, 59, tzinfo=UTC))
    assert not fits(alice)
    at(monkeypatch, datetime(2026, 3, 5, 23, 0, tzinfo=UTC))
    assert fits(alice)
    kept = BudgetPeriod.objects.get()
    assert (kept.zone, kept.end - kept.start) == ("Europe/Berlin", timedelta(days=1))


def test_moving_there_and_back_changes_nothing(
    alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    at(monkeypatch, NOON)
    Budget.objects.create(user=alice, period="day", limit_nano_usd=ONE_CALL)
    assert fits(alice)
    (before,) = standings_of(alice)
    move(alice, "Asia/Tokyo")
    move(alice, "UTC")
    (after,) = standings_of(alice)
    assert (after.start, after.renews_at) == (before.start, before.renews_at)


def test_a_midnight_that_comes_twice_begins_one_day() -> None:
    havana = ZoneInfo("America/Havana")  # on 1 November 2026 1:00 becomes 0:00 again
    first = datetime(2026, 11, 1, 4, 30, tzinfo=UTC)
    again = datetime(2026, 11, 1, 5, 30, tzinfo=UTC)
    begins = datetime(2026, 11, 1, 4, tzinfo=UTC)
    for now in (first, again, again + timedelta(hours=12)):
        start = start_of("day", now, havana)
        assert start.astimezone(UTC) == begins
        assert start.fold == 0
        assert next_start("day", start).astimezone(UTC) == begins + timedelta(hours=25)
