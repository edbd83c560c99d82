"""Which period of a budget a person is in, however often they change their time zone.

A person's days, weeks and months follow their own zone. The first call in a period
keeps its bounds, and a change of zone counts only from the end of what is kept: the
period then runs on to the next midnight (Monday, first of the month) in the new zone.
So none is ever shorter than a whole one, and nobody starts anew by moving.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, tzinfo
from typing import NamedTuple

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from accounts.models import User
from accounts.zones import zone_named, zone_of
from ledger import chain
from ledger.models import BudgetPeriod
from ledger.periods import next_start, start_of

Kept = Mapping[tuple[int, str], BudgetPeriod]
"""The periods that are kept, by person and ``day``, ``week`` or ``month``."""


class Span(NamedTuple):
    """A period: its bounds, and whether they are kept already."""

    start: datetime
    """In the zone whose midnight it is."""
    end: datetime
    """In the zone whose midnight it is; the next period begins then."""
    is_kept: bool


def kept_for(user_ids: Iterable[int]) -> Kept:
    """Return the kept periods of these people."""
    rows = BudgetPeriod.objects.filter(user_id__in=set(user_ids))
    return {(row.user_id, row.period): row for row in rows}


def span_of(period: str, zone: tzinfo, kept: BudgetPeriod | None = None) -> Span:
    """Return the period that it is now, for somebody who lives in ``zone``."""
    now = timezone.now()
    if kept is not None:
        end = start_of(period, kept.end, zone)
        if end < kept.end:
            end = next_start(period, end)
        if now < end:
            return Span(kept.start.astimezone(zone_named(kept.zone)), end, True)
    start = start_of(period, now, zone)
    return Span(start, next_start(period, start), False)


def ended() -> QuerySet[BudgetPeriod]:
    """Return the kept periods that are over."""
    return BudgetPeriod.objects.filter(end__lte=timezone.now())


def begin_new() -> int:
    """Keep the present period for everybody whose last one is over; return how many.

    From then on a change of zone counts only when this one has ended too, as if there
    had been a call.
    """
    with transaction.atomic():
        chain.lock()
        rows = list(ended().select_for_update())
        people = User.objects.in_bulk({row.user_id for row in rows})
        for row in rows:
            zone = zone_of(people.get(row.user_id))
            keep(row.user_id, row.period, span_of(row.period, zone, row))
    return len(rows)


def keep(user_id: int, period: str, span: Span) -> None:
    """Keep the bounds of a period; under the chain's lock, with the call it is for."""
    BudgetPeriod.objects.update_or_create(
        user_id=user_id,
        period=period,
        defaults={
            "start": span.start,
            "end": span.end,
            "zone": str(span.start.tzinfo),
        },
    )
