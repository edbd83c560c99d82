"""Cron expressions in plain English: “Every weekday at 08:30 (Europe/Berlin)”.

Pure. What has no short sentence is told by cronsim.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

from cronsim import CronSim

from channels_app.jobs.cron_expression import SOME_MOMENT, Pattern

_WEEKDAYS: Final = (
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
)
_MONTHS: Final = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
_MOST_NAMED: Final = 4
"""Times or days that are named one by one in a sentence."""


def in_words(cron: str, zone: str) -> str:
    """Return the expression in plain English: “Every day at 07:00 (Europe/Berlin)”.

    Raises:
        ValueError: The expression is none.
    """
    pattern = Pattern.read(cron)
    words = _hours_in_words(pattern) or _times_in_words(pattern)
    return f"{words or _explained(cron)} ({zone})"


def _hours_in_words(pattern: Pattern) -> str:
    """Return “Every 15 minutes” and the like; empty where it is none of these."""
    if pattern.fields[2:] != ("*", "*", "*"):
        return ""
    minutes, hours = pattern.minutes, pattern.hours
    if pattern.is_hourly:
        if step := _step(minutes, 60):
            return f"Every {step} minutes"
        if len(minutes) == 1:
            return f"Every hour at minute {minutes[0]}" if minutes[0] else "Every hour"
    elif len(minutes) == 1 and len(hours) > _MOST_NAMED:
        first = hours[0]
        if step := _step(tuple(hour - first for hour in hours), 24):
            times = [f"{hour:02}:{minutes[0]:02}" for hour in hours[:2]]
            at = f", at {', '.join(times)} and so on"
            return f"Every {step} hours{'' if times[0] == '00:00' else at}"
    return ""


def _step(values: tuple[int, ...], of: int) -> int:
    """Return the even step with which values go round from 0; 0 = there is none."""
    step = of // len(values)
    if len(values) > 1 and values == tuple(range(0, of, step)):
        return step
    return 0


def _times_in_words(pattern: Pattern) -> str:
    """Return “Every weekday at 08:30” and the like; empty where it is none of these."""
    times = [
        f"{hour:02}:{minute:02}" for hour in pattern.hours for minute in pattern.minutes
    ]
    if len(times) > _MOST_NAMED or not (days := _days_in_words(pattern)):
        return ""
    return f"{days} at {_and(times)}"


def _days_in_words(pattern: Pattern) -> str:
    _, _, day, month, weekday = pattern.fields
    if weekday != "*":
        return _weekdays_in_words(pattern) if (day, month) == ("*", "*") else ""
    if day == "*":
        return "Every day" if month == "*" else ""
    return _dates_in_words(pattern)


def _weekdays_in_words(pattern: Pattern) -> str:
    numbers = {(day - 1) % 7 for day in pattern.weekdays if isinstance(day, int)}
    if any(not isinstance(day, int) for day in pattern.weekdays):
        return ""  # such as the second Tuesday of the month
    if numbers == set(range(5)):
        return "Every weekday"
    if len(numbers) == len(_WEEKDAYS):
        return "Every day"
    if len(numbers) > _MOST_NAMED:
        return ""
    return f"Every {_and([_WEEKDAYS[number] for number in sorted(numbers)])}"


def _dates_in_words(pattern: Pattern) -> str:
    days, months = sorted(pattern.days), sorted(pattern.months)
    if days == [CronSim.LAST] and len(months) == len(_MONTHS):
        return "On the last day of every month"
    if days[0] < 1 or len(days) > _MOST_NAMED:
        return ""
    if len(months) == len(_MONTHS):
        return f"On the {_and([_ordinal(day) for day in days])} of every month"
    if len(months) == len(days) == 1:
        return f"Every year on {days[0]} {_MONTHS[months[0] - 1]}"
    return ""


def _explained(cron: str) -> str:
    """Return what the library says of an expression."""
    try:
        words = CronSim(cron, SOME_MOMENT).explain()
    except (ValueError, IndexError, AssertionError):
        return f"By the expression {' '.join(cron.split())}"
    return re.sub(r"\b(\d+)th\b", lambda number: _ordinal(int(number[1])), words)


def _ordinal(number: int) -> str:
    ending = "th"
    if number not in {11, 12, 13}:
        ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def _and(words: Collection[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last
