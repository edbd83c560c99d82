"""Sums."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.db import connection

from accounts.models import User
from ledger import budgets, chain, entries, statistics
from ledger.models import Budget
from ledger.statistics import Totals
from ledger.types import Prices
from tests.support.ledger import book, make_caller, make_reservation

pytestmark = pytest.mark.django_db


def by(name: str, user: User | None = None) -> dict[Any, Totals]:
    """Return the sums by one column, asked for alone."""
    return statistics.breakdown(user, name).by(name)


def test_totals_of_nothing() -> None:
    assert statistics.totals() == Totals()
    assert statistics.totals().cost_usd == 0


def test_totals_count_closing_rows_and_keep_unknown_apart(
    alice: User, bob: User
) -> None:
    book(alice)
    book(alice, outcome="failed", output_tokens=None)
    book(alice, billing="notional")
    released = make_reservation(alice)
    entries.reserve(released)
    entries.release(released.attempt_id)
    entries.reserve(make_reservation(alice))
    book(bob)
    assert statistics.totals(alice) == Totals(
        calls=4,
        unknown_cost_calls=1,
        failed_calls=2,
        estimated_calls=0,
        cost_nano_usd=120_000,
        notional_nano_usd=60_000,
        input_tokens=30,
        output_tokens=4,
    )
    assert statistics.totals().calls == 5
    assert statistics.totals(alice).cost_usd == 0.00012


def test_tokens_that_nobody_counted_are_unknown(alice: User) -> None:
    book(alice, input_tokens=5, output_tokens=None)
    sums = statistics.totals(alice)
    assert (sums.input_tokens, sums.output_tokens) == (5, None)


def test_a_correction_changes_money_but_not_calls(alice: User) -> None:
    attempt = book(alice)
    entries.adjust(attempt, note="invoice", cost_nano_usd=40_000, output_tokens=1)
    sums = statistics.totals(alice)
    assert (sums.calls, sums.cost_nano_usd, sums.output_tokens) == (1, 100_000, 3)


def test_a_correction_makes_an_unknown_cost_known(alice: User) -> None:
    attempt = book(alice, prices=Prices())
    assert statistics.totals(alice).is_unknown
    assert statistics.totals(alice).cost_usd is None
    entries.adjust(attempt, note="invoice", cost_nano_usd=40_000)
    assert not statistics.totals(alice).is_unknown
    assert statistics.totals(alice).cost_usd == 0.00004


def test_groups(alice: User, bob: User) -> None:
    book(alice)
    book(alice, model_id="opus")
    book(bob, model_id="opus")
    assert {name: each.calls for name, each in statistics.by_model().items()} == {
        "haiku": 1,
        "opus": 2,
    }
    assert list(statistics.by_model(bob)) == ["opus"]
    by_user = by("user_name")
    assert {name: each.calls for name, each in by_user.items()} == {
        "alice": 2,
        "bob": 1,
    }


def test_by_date_uses_the_zone(alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    late = datetime(2026, 1, 31, 23, 30, tzinfo=UTC)
    monkeypatch.setattr(chain.timezone, "now", lambda: late)
    book(alice)
    berlin = ZoneInfo("Europe/Berlin")
    assert [day.isoformat() for day in statistics.by_date(alice)] == ["2026-01-31"]
    days = statistics.by_date(alice, zone=berlin)
    assert [day.isoformat() for day in days] == ["2026-02-01"]
    assert statistics.totals(alice, since=late + timedelta(seconds=1)) == Totals()


def test_summary_has_the_fields_of_the_api(alice: User) -> None:
    book(alice)
    book(alice, model_id="mystery", prices=Prices())
    summary = statistics.summary(alice)
    (day,) = summary.pop("by_date").values()
    assert day == {"calls": 2, "cost": 0.00006, "unknown_cost_calls": 1}
    assert summary == {
        "total_calls": 2,
        "total_cost_estimated_usd": 0.00006,
        "unknown_cost_calls": 1,
        "input_tokens": 20,
        "output_tokens": 4,
        "by_model": {
            "haiku": {"calls": 1, "cost": 0.00006, "unknown_cost_calls": 0},
            "mystery": {"calls": 1, "cost": None, "unknown_cost_calls": 1},
        },
    }


def test_groups_of_how_it_was_asked(alice: User, bob: User) -> None:
    book(alice, tier=1)
    book(alice, role="classify", tier=3, background=True)
    nobody = make_caller(alice, persona_id=None, persona_name="", channel="api")
    book(alice, caller=nobody)
    book(bob, role="distill")

    def calls(groups: dict[Any, Totals]) -> list[tuple[Any, int]]:
        return [(name, each.calls) for name, each in groups.items()]

    assert calls(by("persona_name", alice)) == [("", 1), ("inara", 2)]
    assert calls(by("role", alice)) == [("chat", 2), ("classify", 1)]
    assert calls(by("channel", alice)) == [("api", 1), ("web", 2)]
    tiers = statistics.breakdown(alice, "tier").by("tier")
    assert calls(tiers) == [(1, 1), (3, 1), (None, 1)]
    assert calls(by("role")) == [("chat", 2), ("classify", 1), ("distill", 1)]


@pytest.mark.parametrize(
    ("zone", "day"),
    [
        ("Europe/Berlin", date(2026, 2, 1)),
        ("America/New_York", date(2026, 1, 31)),
        ("Asia/Kathmandu", date(2026, 2, 1)),  # midnight is at 18:15
        ("Pacific/Marquesas", date(2026, 1, 31)),  # at 9:30
    ],
)
def test_days_begin_at_midnight_of_the_zone(
    alice: User, monkeypatch: pytest.MonkeyPatch, zone: str, day: date
) -> None:
    late = datetime(2026, 1, 31, 23, 20, tzinfo=UTC)
    for moment in (late, late.replace(hour=18, minute=14), late.replace(hour=9)):
        monkeypatch.setattr(chain.timezone, "now", lambda moment=moment: moment)
        book(alice)
    found = statistics.by_date(alice, zone=ZoneInfo(zone))
    expected: dict[date, int] = {}
    for row in statistics.rows_of(alice):
        local = row.created_at.astimezone(ZoneInfo(zone)).date()
        expected[local] = expected.get(local, 0) + 1
    assert {key: each.calls for key, each in found.items()} == expected
    assert max(found) == day


def test_a_breakdown_says_what_each_question_alone_says(alice: User, bob: User) -> None:
    for user in (alice, bob):
        book(user)
        book(user, model_id="opus", role="classify", output_tokens=None)
        book(user, model_id="mystery", prices=Prices(), input_tokens=None)
        attempt = book(user, model_id="mystery", prices=Prices(), outcome="failed")
        entries.adjust(attempt, note="invoice", cost_nano_usd=7)
    sums = statistics.breakdown(alice, "model_id", "role", "channel", "persona_name")
    assert sums.by("model_id") == statistics.by_model(alice)
    assert sums.by("role") == by("role", alice)
    assert sums.by("channel") == by("channel", alice)
    assert sums.by("persona_name") == by("persona_name", alice)
    assert sums.whole == statistics.totals(alice)
    assert sums.whole.unknown_cost_calls == 2
    assert statistics.breakdown(None, "user_name").by("user_name") == {
        "alice": statistics.totals(alice),
        "bob": statistics.totals(bob),
    }


def test_sums_stay_unknown_where_no_part_is_known(alice: User) -> None:
    book(alice, input_tokens=None)
    book(alice, input_tokens=None, model_id="opus")
    whole = statistics.breakdown(alice, "model_id").whole
    assert (whole.calls, whole.input_tokens, whole.output_tokens) == (2, None, 4)
    assert statistics.breakdown(
        alice, "model_id", since=chain.timezone.now()
    ).whole == (Totals())


def test_a_grant_is_neither_a_call_nor_a_cost(alice: User) -> None:
    Budget.objects.create(user=alice, period="day", limit_nano_usd=1)
    budgets.grant(alice, 5_000_000_000)
    assert statistics.totals() == Totals()
    assert by("user_name") == {}


def test_sums_of_a_period_are_read_through_an_index(alice: User) -> None:
    if connection.vendor != "sqlite":
        pytest.skip("PostgreSQL reads small tables whole.")
    since = datetime(2026, 1, 1, tzinfo=UTC)
    own = statistics.rows_of(alice, since=since).explain()
    assert "USING INDEX ledger_by_user_time (user_id=? AND created_at>?)" in own
    everybody = statistics.rows_of(since=since).explain()
    assert "USING INDEX ledger_by_kind (kind=? AND created_at>?)" in everybody
