"""The time zone that a person lives in, and those that can be chosen."""

from __future__ import annotations

import datetime
import functools
import zoneinfo
from typing import Final

from accounts.models import User

_NO_PLACES: Final = frozenset({"Factory", "localtime", "posixrules"})
"""Files beside the time zones that mean what a machine is set to, or nothing."""
_OTHER_READINGS: Final = ("posix/", "right/")
"""Folders of the same time zones again, one of them with leap seconds."""


@functools.cache
def zone_names() -> frozenset[str]:
    """Return the time zones to choose from: those that mean the same everywhere."""
    return frozenset(
        name
        for name in zoneinfo.available_timezones()  # reads a file for each
        if name not in _NO_PLACES and not name.startswith(_OTHER_READINGS)
    )


def zone_of(user: User | None) -> datetime.tzinfo:
    """Return the person's time zone; UTC for nobody and for an unknown name."""
    return datetime.UTC if user is None else zone_named(user.time_zone)


def zone_named(name: str) -> datetime.tzinfo:
    """Return the time zone of this name; UTC for an unknown one."""
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return datetime.UTC
