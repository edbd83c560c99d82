"""Where a day, a week and a month begin: at midnight in somebody's time zone.

A person's periods follow their own time zone; those of a shared budget follow the
installation's (``TIME_ZONE``). A week begins on Monday.
"""

from __future__ import annotations

from datetime import datetime, timedelta, tzinfo


def start_of(period: str, now: datetime, zone: tzinfo) -> datetime:
    """Return when the ``day``, ``week`` or ``month`` that contains ``now`` began."""
    local = now.astimezone(zone)
    # The first midnight, where clocks that are put back make two of them.
    midnight = local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    if period == "week":
        return midnight - timedelta(days=midnight.weekday())
    return midnight.replace(day=1) if period == "month" else midnight


def next_start(period: str, start: datetime) -> datetime:
    """Return when the period ends that began at ``start``, as ``start_of`` gave it."""
    if period == "month":
        return (start + timedelta(days=31)).replace(day=1)
    return start + timedelta(days=7 if period == "week" else 1)


def previous_start(period: str, start: datetime) -> datetime:
    """Return when the period before the one that began at ``start`` began."""
    if period == "month":
        return (start - timedelta(days=1)).replace(day=1)
    return start - timedelta(days=7 if period == "week" else 1)
