"""The spans of time on the pages about money: what is summed, and the chart's bars.

All spans begin at midnight in the person's time zone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta, tzinfo

from ledger.periods import start_of
from ledger.statistics import Totals

PERIODS = {
    "today": "Today",
    "week": "7 days",
    "month": "This month",
    "year": "12 months",
    "all": "All time",
}
DEFAULT_PERIOD = "month"
CHARTS = {"day": "30 days", "month": "By month"}
DEFAULT_CHART = "day"
CHART_DAYS = 30
CHART_MONTHS = 12


def chosen(value: str | None, choices: Mapping[str, str], default: str) -> str:
    """Return what an address asks for, or the default for anything unknown."""
    return value if value is not None and value in choices else default


def since_of(period: str, now: datetime, zone: tzinfo) -> datetime | None:
    """Return when one of ``PERIODS`` began; ``None`` for all time."""
    midnight = start_of("day", now, zone)
    if period == "today":
        return midnight
    if period == "week":
        return midnight - timedelta(days=6)
    if period == "month":
        return midnight.replace(day=1)
    if period == "year":
        first = _months_before(midnight.date(), CHART_MONTHS - 1)
        return midnight.replace(year=first.year, month=first.month, day=1)
    return None


@dataclass(frozen=True, slots=True)
class Bar:
    """What the calls of one day or month cost, as the chart and its table show it."""

    start: date
    label: str
    """Short, for the axis: ``12 Nov``."""
    calls: int = 0
    paid_nano_usd: int = 0
    notional_nano_usd: int = 0
    """What a subscription covered; on top of what was paid."""
    unknown_cost_calls: int = 0

    @property
    def is_unknown(self) -> bool:
        """Whether there were calls and no cost of them is known."""
        return self.unknown_cost_calls == self.calls > 0


def bars(by_date: Mapping[date, Totals], chart: str, today: date) -> list[Bar]:
    """Return the bars of one of ``CHARTS`` up to today, oldest first, without gaps.

    Args:
        by_date: Sums by day, at least of the chart's whole span.
        chart: ``day`` (the last 30) or ``month`` (the last 12).
        today: The day at the person's place.
    """
    starts = _starts(chart, today)
    parts: dict[date, list[Totals]] = {start: [] for start in starts}
    for day, sums in by_date.items():
        start = day.replace(day=1) if chart == "month" else day
        if start in parts:
            parts[start].append(sums)
    return [_bar(start, chart, sums) for start, sums in parts.items()]


def chart_since(chart: str, now: datetime, zone: tzinfo) -> datetime:
    """Return the midnight at which the chart's first bar begins."""
    midnight = start_of("day", now, zone)
    first = _starts(chart, midnight.date())[0]
    return midnight.replace(year=first.year, month=first.month, day=first.day)


def _starts(chart: str, today: date) -> list[date]:
    if chart == "month":
        return [_months_before(today, back) for back in range(CHART_MONTHS - 1, -1, -1)]
    return [today - timedelta(days=back) for back in range(CHART_DAYS - 1, -1, -1)]


def _months_before(day: date, months: int) -> date:
    """Return the first day of the month that lies so many months before."""
    year, month = divmod(day.year * 12 + day.month - 1 - months, 12)
    return date(year, month + 1, 1)


def _bar(start: date, chart: str, parts: list[Totals]) -> Bar:
    month = f"{start:%b}"
    label = f"{month} {start:%y}" if chart == "month" else f"{start.day} {month}"
    notional = sum(each.notional_nano_usd for each in parts)
    return Bar(
        start=start,
        label=label,
        calls=sum(each.calls for each in parts),
        paid_nano_usd=sum(each.cost_nano_usd for each in parts) - notional,
        notional_nano_usd=notional,
        unknown_cost_calls=sum(each.unknown_cost_calls for each in parts),
    )
