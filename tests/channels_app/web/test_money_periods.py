"""The spans of time on the pages about money, in the person's time zone."""

from __future__ import annotations

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest

from channels_app.web.money_periods import (
    CHARTS,
    PERIODS,
    bars,
    chart_since,
    chosen,
    since_of,
)
from ledger.statistics import Totals

BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("period", "begins"),
    [
        ("today", datetime(2026, 3, 30, tzinfo=BERLIN)),
        ("week", datetime(2026, 3, 24, tzinfo=BERLIN)),
        ("month", datetime(2026, 3, 1, tzinfo=BERLIN)),
        ("year", datetime(2025, 4, 1, tzinfo=BERLIN)),
        ("all", None),
    ],
)
def test_periods_begin_at_midnight_there(period: str, begins: datetime | None) -> None:
    """Also half an hour after midnight on the day after the clocks went forward."""
    now = datetime(2026, 3, 29, 22, 30, tzinfo=UTC)
    assert since_of(period, now, BERLIN) == begins
    assert set(PERIODS) == {"today", "week", "month", "year", "all"}


def test_charts_end_today_there() -> None:
    now = datetime(2026, 3, 29, 22, 30, tzinfo=UTC)
    assert chart_since("day", now, BERLIN) == datetime(2026, 3, 1, tzinfo=BERLIN)
    assert chart_since("month", now, BERLIN) == datetime(2025, 4, 1, tzinfo=BERLIN)


def test_days_have_no_gaps_and_split_what_was_paid_from_what_was_covered() -> None:
    days = bars(
        {
            date(2026, 3, 1): Totals(calls=2, cost_nano_usd=9, notional_nano_usd=4),
            date(2026, 3, 2): Totals(calls=1, unknown_cost_calls=1),
            date(2026, 1, 2): Totals(calls=1, cost_nano_usd=1_000),
        },
        "day",
        date(2026, 3, 2),
    )
    assert len(days) == 30
    assert [day.start for day in days[:2]] == [date(2026, 2, 1), date(2026, 2, 2)]
    assert sum(day.calls for day in days) == 3
    first, last = days[-2:]
    assert (first.label, first.paid_nano_usd, first.notional_nano_usd) == (
        "1 Mar",
        5,
        4,
    )
    assert not first.is_unknown
    assert last.is_unknown
    assert not days[0].is_unknown


def test_months_add_their_days_up() -> None:
    months = bars(
        {
            date(2025, 12, 31): Totals(calls=1, cost_nano_usd=1),
            date(2026, 1, 1): Totals(calls=1, cost_nano_usd=2),
            date(2026, 1, 31): Totals(calls=1, cost_nano_usd=4, unknown_cost_calls=1),
        },
        "month",
        date(2026, 1, 31),
    )
    assert [month.label for month in months[:2]] == ["Feb 25", "Mar 25"]
    assert [month.paid_nano_usd for month in months[-2:]] == [1, 6]
    assert (months[-1].calls, months[-1].unknown_cost_calls) == (2, 1)
    assert len(months) == 12


def test_an_unknown_choice_is_the_default() -> None:
    assert chosen("month", CHARTS, "day") == "month"
    assert chosen("decade", CHARTS, "day") == chosen(None, CHARTS, "day") == "day"
