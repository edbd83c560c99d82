"""Sums over the ledger: calls, tokens and money, per person or for everybody.

Calls are closing rows, one per attempt, failed ones included. Money is what they cost
plus later corrections. A call whose cost is unknown is counted apart and never as zero.
Nothing here shows a text.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Any

from django.db.models import CharField, Count, Q, QuerySet, Sum
from django.db.models.functions import Cast, Substr, TruncDate

from accounts.models import User
from ledger.models import LedgerEntry
from ledger.money import NANO_PER_USD
from ledger.open_attempts import CLOSINGS

_COUNTED = (*CLOSINGS, LedgerEntry.Kind.ADJUST)
_CLOSING = Q(kind__in=CLOSINGS)
_SUMS = {
    "sum_calls": Count("id", filter=_CLOSING),
    "sum_unknown_cost_calls": Count("id", filter=_CLOSING & Q(cost_nano_usd=None)),
    "sum_failed_calls": Count("id", filter=_CLOSING & ~Q(outcome="complete")),
    "sum_estimated_calls": Count("id", filter=_CLOSING & Q(estimated=True)),
    "sum_cost_nano_usd": Sum("cost_nano_usd", default=0),
    "sum_notional_nano_usd": Sum(
        "cost_nano_usd", filter=Q(billing="notional"), default=0
    ),
    "sum_input_tokens": Sum("input_tokens"),
    "sum_output_tokens": Sum("output_tokens"),
    "sum_cache_read_tokens": Sum("cache_read_tokens", default=0),
    "sum_cache_write_tokens": Sum("cache_write_tokens", default=0),
}
_NAMES = [name.removeprefix("sum_") for name in _SUMS]
_OFFSETS_SINCE = 2015
"""From this year on it is looked whether a zone is off by parts of an hour."""


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over some closing rows and their corrections."""

    calls: int = 0
    unknown_cost_calls: int = 0
    """Calls whose cost is unknown; they are missing from ``cost_nano_usd``."""
    failed_calls: int = 0
    """Calls that did not end by themselves: incomplete, interrupted or failed."""
    estimated_calls: int = 0
    cost_nano_usd: int = 0
    """Sum of the known costs, notional ones included."""
    notional_nano_usd: int = 0
    """The part that a subscription covers."""
    input_tokens: int | None = 0
    """Sum of the known counts, cache included; ``None`` when none is known."""
    output_tokens: int | None = 0
    cache_read_tokens: int = 0
    """The known part of ``input_tokens`` that was read from a cache."""
    cache_write_tokens: int = 0

    @property
    def is_unknown(self) -> bool:
        """Whether no cost at all is known although there were calls."""
        return self.calls > 0 and self.unknown_cost_calls == self.calls

    @property
    def cost_usd(self) -> float | None:
        """The known costs in dollars; ``None`` when none of them is known."""
        return None if self.is_unknown else self.cost_nano_usd / NANO_PER_USD


def add_up(parts: Collection[Totals]) -> Totals:
    """Return several sums as one."""
    known = {
        name: [count for each in parts if (count := getattr(each, name)) is not None]
        for name in _NAMES
    }
    calls = sum(known["calls"])
    added = {name: sum(counts) for name, counts in known.items()}
    for name in ("input_tokens", "output_tokens"):
        counted = [each for each in parts if each.calls or getattr(each, name)]
        if calls and all(getattr(each, name) is None for each in counted):
            added[name] = None
    return Totals(**added)


@dataclass(frozen=True, slots=True)
class Breakdown:
    """Sums by several things at once, from which each is told without asking again."""

    names: tuple[str, ...]
    """Columns of the ledger."""
    cells: Mapping[tuple[Any, ...], Totals]
    """Sums by the values of these columns."""

    def by(self, name: str) -> dict[Any, Totals]:
        """Return the sums by one of the columns, in the order of its values."""
        at = self.names.index(name)
        parts: dict[Any, list[Totals]] = {}
        for values, sums in self.cells.items():
            parts.setdefault(values[at], []).append(sums)
        in_order = sorted(parts, key=lambda value: (value is None, value))
        return {value: add_up(parts[value]) for value in in_order}

    @property
    def whole(self) -> Totals:
        """The sums of everything."""
        return add_up(self.cells.values())


def breakdown(
    user: User | None = None, *names: str, since: datetime | None = None
) -> Breakdown:
    """Return the sums by all of these columns, with one pass over the rows."""
    return Breakdown(names, _grouped(rows_of(user, since=since), *names))


def rows_of(
    user: User | None = None, *, since: datetime | None = None
) -> QuerySet[LedgerEntry]:
    """Return closing rows and corrections of a person, or of everybody."""
    rows = LedgerEntry.objects.filter(kind__in=_COUNTED).order_by()
    if user is not None:
        rows = rows.filter(user_id=user.pk)
    return rows if since is None else rows.filter(created_at__gte=since)


def totals(user: User | None = None, *, since: datetime | None = None) -> Totals:
    """Return the sums of a person, or of everybody."""
    return breakdown(user, since=since).whole


def by_model(
    user: User | None = None, *, since: datetime | None = None
) -> dict[str, Totals]:
    """Return sums by the name that people know a model by, in the order of names."""
    return breakdown(user, "model_id", since=since).by("model_id")


def by_date(
    user: User | None = None, *, since: datetime | None = None, zone: tzinfo = UTC
) -> dict[date, Totals]:
    """Return sums by the day on which calls ended in ``zone``, oldest first.

    Where midnight is always at a full hour of UTC the database only groups by hours:
    SQLite would call a function of Python for every row to find its day.
    """
    rows = rows_of(user, since=since)
    if not _is_off_by_whole_hours(zone):
        days = rows.annotate(day=TruncDate("created_at", tzinfo=zone))
        found = {day: sums for (day,), sums in _grouped(days, "day").items()}
        return dict(sorted(found.items()))
    text = Cast("created_at", CharField())  # both databases write it in UTC
    hours = _grouped(rows.annotate(hour=Substr(text, 1, 13)), "hour")
    parts: dict[date, list[Totals]] = {}
    for (hour,), sums in sorted(hours.items()):
        moment = datetime.strptime(f"{hour}+0000", "%Y-%m-%d %H%z")
        parts.setdefault(moment.astimezone(zone).date(), []).append(sums)
    return {day: add_up(sums) for day, sums in parts.items()}


@functools.lru_cache(maxsize=64)
def _is_off_by_whole_hours(zone: tzinfo) -> bool:
    years = range(_OFFSETS_SINCE, datetime.now(UTC).year + 2)
    moments = [
        datetime(year, month, 1, tzinfo=zone) for year in years for month in (1, 7)
    ]
    offsets = [moment.utcoffset() or timedelta() for moment in moments]
    return all(offset % timedelta(hours=1) == timedelta() for offset in offsets)


def _grouped(rows: QuerySet[LedgerEntry], *names: str) -> dict[tuple[Any, ...], Totals]:
    """Return the sums by these columns.

    What a correction made known is counted apart, from the few corrections: asking it
    of every row would take several times as long.
    """
    known: dict[tuple[Any, ...], int] = {}
    corrected = rows.filter(
        kind__in=CLOSINGS,
        cost_nano_usd=None,
        attempt_id__in=LedgerEntry.objects.filter(kind=LedgerEntry.Kind.ADJUST)
        .order_by()
        .values("attempt_id"),
    )
    for *values, count in _by(corrected, names, {"count": Count("id")}):
        known[tuple(values)] = count
    found = {}
    for row in _by(rows, names, _SUMS):
        cell, sums = row[: len(names)], list(row[len(names) :])
        found[cell] = _totals(sums, known.get(cell, 0))
    return found


def _by(
    rows: QuerySet[LedgerEntry], names: Sequence[str], sums: Mapping[str, Any]
) -> list[tuple[Any, ...]]:
    """Return the values of the columns and then the sums."""
    if not names:
        found = rows.aggregate(**sums)
        return [tuple(found[name] for name in sums)]
    return list(rows.values(*names).annotate(**sums).values_list(*names, *sums))


def _totals(sums: list[Any], corrected: int) -> Totals:
    found = dict(zip(_NAMES, sums, strict=True))
    found["unknown_cost_calls"] -= corrected
    if not found["calls"]:
        found = {name: count or 0 for name, count in found.items()}
    return Totals(**found)


def summary(user: User | None = None) -> dict[str, Any]:
    """Return the figures of ``/ledger/stats`` and ``manage.py ledger stats``.

    Shape (costs in dollars, null when no cost is known)::

        {"total_calls": 3, "total_cost_estimated_usd": 0.0125, "unknown_cost_calls": 0,
         "by_model": {"haiku": {"calls": 3, "cost": 0.0125, "unknown_cost_calls": 0}},
         "by_date": {"2026-01-31": {"calls": 3, "cost": 0.0125, …}}, …}
    """
    models = breakdown(user, "model_id")
    whole = models.whole
    return {
        "total_calls": whole.calls,
        "total_cost_estimated_usd": whole.cost_usd,
        "unknown_cost_calls": whole.unknown_cost_calls,
        "input_tokens": whole.input_tokens,
        "output_tokens": whole.output_tokens,
        "by_model": {
            name: _brief(each) for name, each in models.by("model_id").items()
        },
        "by_date": {
            day.isoformat(): _brief(each) for day, each in by_date(user).items()
        },
    }


def _brief(sums: Totals) -> dict[str, Any]:
    return {
        "calls": sums.calls,
        "cost": sums.cost_usd,
        "unknown_cost_calls": sums.unknown_cost_calls,
    }
