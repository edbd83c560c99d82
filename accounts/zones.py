"""The time zone that a person lives in."""

from __future__ import annotations

import datetime
import zoneinfo

from accounts.models import User


def zone_of(user: User | None) -> datetime.tzinfo:
    """Return the person's time zone; UTC for nobody and for an unknown name."""
    return datetime.UTC if user is None else zone_named(user.time_zone)


def zone_named(name: str) -> datetime.tzinfo:
    """Return the time zone of this name; UTC for an unknown one."""
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return datetime.UTC
