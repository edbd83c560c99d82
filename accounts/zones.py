"""The time zone that a person lives in."""

from __future__ import annotations

import datetime
import zoneinfo

from accounts.models import User


def zone_of(user: User | None) -> datetime.tzinfo:
    """Return the person's time zone; UTC for nobody and for an unknown name."""
    if user is None:
        return datetime.UTC
    try:
        return zoneinfo.ZoneInfo(user.time_zone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return datetime.UTC
