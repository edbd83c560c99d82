"""When a brief runs, as people choose it, and the cron expression that means the same.

Both ways lead to each other: what ``as_cron`` writes ``from_cron`` reads back, and an
expression that means one of the simple choices is shown as that choice, whoever wrote
it. Every other expression is an ``Advanced`` one.
"""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass
from typing import Any, Final

DAILY, WORKDAYS, WEEKLY, MONTHLY, HOURLY, ADVANCED = (
    "daily",
    "workdays",
    "weekly",
    "monthly",
    "hourly",
    "cron",
)
CHOICES: Final = (
    (DAILY, "Every day"),
    (WORKDAYS, "Monday to Friday"),
    (WEEKLY, "Certain weekdays"),
    (MONTHLY, "Once a month"),
    (HOURLY, "Every few hours"),
    (ADVANCED, "Advanced"),
)
WEEKDAYS: Final = (
    (1, "Monday"),
    (2, "Tuesday"),
    (3, "Wednesday"),
    (4, "Thursday"),
    (5, "Friday"),
    (6, "Saturday"),
    (0, "Sunday"),
)
"""Number in a cron expression and name, in the order of the page."""
LAST_DAY: Final = "L"
MONTH_DAYS: Final = (*map(str, range(1, 32)), LAST_DAY)
STEPS: Final = (1, 2, 3, 4, 6, 8, 12)
"""Every so many hours: those that come at the same hours of every day."""
_WORKDAYS: Final = (1, 2, 3, 4, 5)
_NAMES: Final = {name[:3].upper(): number for number, name in WEEKDAYS}
_NUMBER: Final = re.compile(r"\d{1,2}\Z", re.ASCII)
_DAY_RANGE: Final = re.compile(r"([0-7]|[A-Z]{3})(?:-([0-7]|[A-Z]{3}))?\Z")
_HOUR_STEP: Final = re.compile(r"(?:\*|(\d{1,2})-23)/(\d{1,2})\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Simple:
    """One of the choices that need no cron expression."""

    how: str = DAILY
    time: datetime.time = datetime.time(7, 0)
    """Of every few hours, one of the times."""
    weekdays: tuple[int, ...] = ()
    """Sorted as the page shows them; of ``weekly`` alone."""
    month_day: str = "1"
    """1 to 31, or ``L`` for the last one; of ``monthly`` alone."""
    hours: int = 4
    """How many hours lie between; of ``hourly`` alone."""


def as_cron(simple: Simple) -> str:
    """Return the expression that means a choice."""
    minute, hour = simple.time.minute, simple.time.hour
    if simple.how == WORKDAYS:
        return f"{minute} {hour} * * 1-5"
    if simple.how == WEEKLY:
        days = ",".join(map(str, sorted(simple.weekdays)))
        return f"{minute} {hour} * * {days}"
    if simple.how == MONTHLY:
        return f"{minute} {hour} {simple.month_day} * *"
    if simple.how == HOURLY:
        return f"{minute} {_hours(hour, simple.hours)} * * *"
    return f"{minute} {hour} * * *"


def in_fields(cron: str) -> dict[str, Any]:
    """Return what the fields of the form hold for an expression."""
    simple = from_cron(cron)
    if simple is None:
        return {"how": ADVANCED, "cron": cron}
    return {
        "how": simple.how,
        "time": simple.time,
        "weekdays": [str(day) for day in simple.weekdays],
        "month_day": simple.month_day,
        "hours": str(simple.hours),
        "cron": as_cron(simple),
    }


def _hours(hour: int, step: int) -> str:
    if step == 1:
        return "*"
    first = hour % step
    return f"{first}-23/{step}" if first else f"*/{step}"


def from_cron(cron: str) -> Simple | None:
    """Return the choice that an expression means; ``None`` = none of them."""
    fields = cron.upper().split()
    if len(fields) != 5 or fields[3] != "*":
        return None
    minute, hour, month_day, _, weekday = fields
    at = _number(minute, 59)
    if at is None:
        return None
    o_clock = _number(hour, 23)
    if o_clock is None:
        return _hourly(at, hour) if month_day == weekday == "*" else None
    time = datetime.time(o_clock, at)
    if weekday == "*":
        return _by_month_day(time, month_day)
    return _by_weekday(time, weekday) if month_day == "*" else None


def _hourly(minute: int, hour: str) -> Simple | None:
    if hour == "*":
        return Simple(HOURLY, datetime.time(0, minute), hours=1)
    found = _HOUR_STEP.match(hour)
    if found is None:
        return None
    first, step = int(found[1] or 0), int(found[2])
    if step not in STEPS or first >= step:
        return None
    return Simple(HOURLY, datetime.time(first, minute), hours=step)


def _by_month_day(time: datetime.time, month_day: str) -> Simple | None:
    if month_day == "*":
        return Simple(DAILY, time)
    if month_day != LAST_DAY:
        number = _number(month_day, 31)
        if not number:
            return None
        month_day = str(number)
    return Simple(MONTHLY, time, month_day=month_day)


def _by_weekday(time: datetime.time, weekday: str) -> Simple | None:
    days: set[int] = set()
    for part in weekday.split(","):
        found = _days(part)
        if found is None:
            return None
        days |= found
    if len(days) == len(WEEKDAYS):
        return Simple(DAILY, time)
    if days == set(_WORKDAYS):
        return Simple(WORKDAYS, time)
    chosen = tuple(number for number, _ in WEEKDAYS if number in days)
    return Simple(WEEKLY, time, weekdays=chosen)


def _days(part: str) -> set[int] | None:
    """Return the weekdays of ``1``, ``MON`` or ``1-5``; 7 is Sunday as 0 is."""
    found = _DAY_RANGE.match(part)
    if found is None:
        return None
    first, last = _day(found[1]), _day(found[2] or found[1])
    if first is None or last is None or last < first:
        return None
    return {number % 7 for number in range(first, last + 1)}


def _day(text: str) -> int | None:
    return int(text) if text.isdigit() else _NAMES.get(text)


def _number(text: str, most: int) -> int | None:
    if not _NUMBER.match(text):
        return None
    number = int(text)
    return number if number <= most else None
