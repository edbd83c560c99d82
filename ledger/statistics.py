"""Sums over the ledger: calls, tokens and money, per person or for everybody.

Calls are closing rows, one per attempt, failed ones included. Money is what they cost
plus later corrections. A call whose cost is unknown is counted apart and never as zero.
Nothing here shows a text.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, tzinfo
from typing import Any

from django.db.models import Count, DateField, Exists, F, OuterRef, Q, QuerySet, Sum
from django.db.models.functions import TruncDate, TruncMonth

from accounts.models import User
from ledger.models import LedgerEntry
from ledger.money import NANO_PER_USD
from ledger.open_attempts import CLOSINGS

_COUNTED = (*CLOSINGS, LedgerEntry.Kind.ADJUST)
_CLOSING = Q(kind__in=CLOSINGS)
_CORRECTED = Exists(
    LedgerEntry.objects.filter(
        attempt_id=OuterRef("attempt_id"), kind=LedgerEntry.Kind.ADJUST
    )
)
_SUMS = {
    "sum_calls": Count("id", filter=_CLOSING),
    "sum_unknown_cost_calls": Count(
        "id", filter=_CLOSING & Q(cost_nano_usd=None) & ~Q(_CORRECTED)
    ),
    "sum_failed_calls": Count("id", filter=_CLOSING & ~Q(outcome="complete")),
    "sum_estimated_calls": Count("id", filter=_CLOSING & Q(estimated=True)),
    "sum_cost_nano_usd": Sum("cost_nano_usd", default=0),
    "sum_notional_nano_usd": Sum(
        "cost_nano_usd", filter=Q(billing="notional"), default=0
    ),
    "sum_input_tokens": Sum("input_tokens"),
    "sum_output_tokens": Sum("output_tokens"),
}


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

    @property
    def is_unknown(self) -> bool:
        """Whether no cost at all is known although there were calls."""
        return self.calls > 0 and self.unknown_cost_calls == self.calls

    @property
    def cost_usd(self) -> float | None:
        """The known costs in dollars; ``None`` when none of them is known."""
        return None if self.is_unknown else self.cost_nano_usd / NANO_PER_USD


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
    return _totals(rows_of(user, since=since).aggregate(**_SUMS))


def by_model(
    user: User | None = None, *, since: datetime | None = None
) -> dict[str, Totals]:
    """Return sums by the name that people know a model by, in the order of names."""
    rows = rows_of(user, since=since).values(key=F("model_id"))
    return {row["key"]: _totals(row) for row in _grouped(rows)}


def by_persona(
    user: User | None = None, *, since: datetime | None = None
) -> dict[str, Totals]:
    """Return sums by the persona's name; ``""`` = calls for no persona."""
    rows = rows_of(user, since=since).values(key=F("persona_name"))
    return {row["key"]: _totals(row) for row in _grouped(rows)}


def by_role(
    user: User | None = None, *, since: datetime | None = None
) -> dict[str, Totals]:
    """Return sums by model role: chat, distill, classify …"""
    rows = rows_of(user, since=since).values(key=F("role"))
    return {row["key"]: _totals(row) for row in _grouped(rows)}


def by_channel(
    user: User | None = None, *, since: datetime | None = None
) -> dict[str, Totals]:
    """Return sums by the way in: web, api, schedule … and ``import``."""
    rows = rows_of(user, since=since).values(key=F("channel"))
    return {row["key"]: _totals(row) for row in _grouped(rows)}


def by_tier(
    user: User | None = None, *, since: datetime | None = None
) -> dict[int | None, Totals]:
    """Return sums by the tier of the model, 1 to 3; ``None`` last = not known."""
    rows = rows_of(user, since=since).values(key=F("tier"))
    found = {row["key"]: _totals(row) for row in _grouped(rows)}
    unknown = found.pop(None, None)  # databases sort NULL differently
    return found if unknown is None else {**found, None: unknown}


def by_user(*, since: datetime | None = None) -> dict[str, Totals]:
    """Return sums by user name, in the order of names; for administrators."""
    rows = rows_of(since=since).values(key=F("user_name"))
    return {row["key"]: _totals(row) for row in _grouped(rows)}


def by_date(
    user: User | None = None, *, since: datetime | None = None, zone: tzinfo = UTC
) -> dict[date, Totals]:
    """Return sums by the day on which calls ended in ``zone``, oldest first."""
    day = TruncDate("created_at", tzinfo=zone)
    rows = rows_of(user, since=since).annotate(key=day).values("key")
    return {row["key"]: _totals(row) for row in _grouped(rows)}


def by_month(
    user: User | None = None, *, since: datetime | None = None, zone: tzinfo = UTC
) -> dict[date, Totals]:
    """Return sums by the first day of the month in ``zone``, oldest first."""
    month = TruncMonth("created_at", output_field=DateField(), tzinfo=zone)
    rows = rows_of(user, since=since).annotate(key=month).values("key")
    return {row["key"]: _totals(row) for row in _grouped(rows)}


def _totals(row: dict[str, Any]) -> Totals:
    if not row["sum_calls"]:
        row = {name: row[name] or 0 for name in _SUMS}
    return Totals(**{name.removeprefix("sum_"): row[name] for name in _SUMS})


def _grouped(rows: QuerySet[LedgerEntry, Any]) -> list[dict[str, Any]]:
    return list(rows.annotate(**_SUMS).order_by("key"))


def summary(user: User | None = None) -> dict[str, Any]:
    """Return the figures of ``/ledger/stats`` and ``manage.py ledger stats``.

    Shape (costs in dollars, null when no cost is known)::

        {"total_calls": 3, "total_cost_estimated_usd": 0.0125, "unknown_cost_calls": 0,
         "by_model": {"haiku": {"calls": 3, "cost": 0.0125, "unknown_cost_calls": 0}},
         "by_date": {"2026-01-31": {"calls": 3, "cost": 0.0125, …}}, …}
    """
    whole = totals(user)
    return {
        "total_calls": whole.calls,
        "total_cost_estimated_usd": whole.cost_usd,
        "unknown_cost_calls": whole.unknown_cost_calls,
        "input_tokens": whole.input_tokens,
        "output_tokens": whole.output_tokens,
        "by_model": {name: _brief(each) for name, each in by_model(user).items()},
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
