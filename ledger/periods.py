"""Where a day and a month begin for a person: at midnight in their time zone."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from accounts.models import User


def zone_of(user: User | None) -> tzinfo:
    """Return the person's time zone; UTC for nobody and for an unknown name."""
    if user is None:
        return UTC
    try:
        return ZoneInfo(user.time_zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return UTC


def start_of(period: str, now: datetime, zone: tzinfo) -> datetime:
    """Return when the ``day`` or ``month`` that contains ``now`` began there."""
    midnight = now.astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight.replace(day=1) if period == "month" else midnight
