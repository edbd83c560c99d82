"""Cron expressions in a time zone: checked, told in words, and turned into moments.

Pure; reads no clock and no database. An expression has five fields, and belongs to a
time zone, because "at seven" means nothing without one. Where clocks are changed:

* An expression with certain hours means times of day. One that falls into the hour that
  is left out comes once, right after it; one that the clock shows twice comes once.
* An expression for every hour means hours that pass. It comes in each real one, also
  in both that have the same name.

Source: the manual page cron(8) of Debian, "Daylight Saving Time and other time
changes"; https://github.com/cuu508/cronsim, README.
"""

from __future__ import annotations

import functools
import re
import zoneinfo
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from typing import Final

from cronsim import CronSim, CronSimError
from django.core.exceptions import ValidationError

MIN_EVERY: Final = 5
"""Minutes between two runs, at least."""
MAX_CHARS: Final = 100
FIELDS: Final = ("minute", "hour", "day of the month", "month", "day of the week")
_HOURS: Final = frozenset(range(24))
_DAY_MINUTES: Final = 24 * 60
_SOME_MOMENT: Final = datetime(2026, 1, 1, tzinfo=UTC)
_LOOK_BACK: Final = (timedelta(days=1), timedelta(days=32), timedelta(days=366))
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


def check(cron: str, zone: str) -> None:
    """Refuse what cannot be a brief's time.

    Raises:
        ValidationError: Its dictionary names ``cron`` or ``time_zone``, each with one
            sentence.
    """
    faults: dict[str, str] = {}
    try:
        zone_called(zone)
    except ValueError as error:
        faults["time_zone"] = str(error)
    try:
        _refuse_bad_times(cron)
    except ValueError as error:
        faults["cron"] = str(error)
    if faults:
        raise ValidationError(faults)


def next_runs(cron: str, zone: str, after: datetime, n: int = 5) -> list[datetime]:
    """Return the next ``n`` moments later than ``after``, in UTC.

    Fewer where the expression does not come so often in the next fifty years.

    Raises:
        ValueError: The expression or the time zone is none.
    """
    return list(islice(_runs(cron, zone, after), n))


def last_run(cron: str, zone: str, since: datetime, until: datetime) -> datetime | None:
    """Return the last moment from ``since`` to ``until``, both included, in UTC.

    ``None`` where there is none. However long the span, few moments are looked at.

    Raises:
        ValueError: The expression or the time zone is none.
    """
    just_before = timedelta(seconds=1)
    for back in (*_LOOK_BACK, until - since):
        last = None
        for run in _runs(cron, zone, max(since, until - back) - just_before):
            if run > until:
                break
            last = run
        if last is not None or until - back <= since:
            return last
    return None


def in_words(cron: str, zone: str) -> str:
    """Return the expression in plain English: “Every day at 07:00 (Europe/Berlin)”.

    Raises:
        ValueError: The expression is none.
    """
    pattern = _Pattern.read(cron)
    words = _hours_in_words(pattern) or _times_in_words(pattern)
    return f"{words or _explained(cron)} ({zone})"


def zone_called(name: str) -> zoneinfo.ZoneInfo:
    """Return the IANA time zone of this name; raises ``ValueError`` with a sentence."""
    if not name.strip():
        raise ValueError("Choose a time zone.")
    if name not in _zone_names():
        raise ValueError(f"There is no time zone “{name[:64]}”.")
    return zoneinfo.ZoneInfo(name)


@functools.cache
def _zone_names() -> frozenset[str]:
    return frozenset(zoneinfo.available_timezones())  # reads a file for each


# --- reading ------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Pattern:
    """What an expression matches."""

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    """Of the month; a negative number counts from its end."""
    months: frozenset[int]
    weekdays: frozenset[object]
    """0 and 7 are Sunday; a pair is the nth of the month."""
    fields: tuple[str, ...]

    @classmethod
    def read(cls, cron: str) -> _Pattern:
        """Read an expression; raises ``ValueError`` with a sentence."""
        fields = tuple(cron.split())
        if len(cron) > MAX_CHARS:
            raise ValueError(f"At most {MAX_CHARS} characters fit.")
        if len(fields) != len(FIELDS):
            raise ValueError(
                "Write five fields: minute, hour, day of the month, month and "
                "day of the week, as in “0 7 * * *”."
            )
        try:
            read = CronSim(" ".join(fields), _SOME_MOMENT)
        except CronSimError as error:
            raise ValueError(_sentence(fields, error)) from None
        return cls(
            tuple(sorted(read.minutes)),
            tuple(sorted(read.hours)),
            frozenset(read.days),
            frozenset(read.months),
            frozenset(read.weekdays),
            fields,
        )

    @property
    def is_hourly(self) -> bool:
        """It comes in every hour."""
        return _HOURS.issubset(self.hours)

    @property
    def for_cronsim(self) -> str:
        """The same expression, so that stars say how changes of clocks are taken.

        cronsim, as cron does, takes a field for hours that pass if it begins with a
        star, whatever follows; here only ``is_hourly`` counts.
        """
        minutes = ",".join(map(str, self.minutes))
        hours = "*" if self.is_hourly else ",".join(map(str, self.hours))
        return " ".join((minutes, hours, *self.fields[2:]))


def _sentence(fields: tuple[str, ...], error: CronSimError) -> str:
    """Say which field is wrong."""
    names = ("minute", "hour", "day-of-month", "month", "day-of-week")
    for field, name, cronsims in zip(fields, FIELDS, names, strict=True):
        if not str(error).endswith(cronsims):
            continue
        if cronsims == "day-of-month" and _reads_alone(field):
            return f"No month that is named has a day {field}, so it would never come."
        return f"“{field}” is no {name}."
    return "This is no cron expression."


def _reads_alone(day: str) -> bool:
    """Say whether a day of the month is right by itself."""
    try:
        CronSim(f"0 0 {day} * *", _SOME_MOMENT)
    except CronSimError:
        return False
    return True


def _refuse_bad_times(cron: str) -> None:
    pattern = _Pattern.read(cron)
    times = [60 * hour + minute for hour in pattern.hours for minute in pattern.minutes]
    gaps = [later - sooner for sooner, later in pairwise(times)]
    # The last of a day and the first of the next.
    gaps.append(times[0] + _DAY_MINUTES - times[-1])
    if min(gaps) < MIN_EVERY:
        raise ValueError(f"A brief comes at most once every {MIN_EVERY} minutes.")
    if not next_runs(cron, "UTC", _SOME_MOMENT, 1):
        raise ValueError("There is no such day, so it would never come.")


def _runs(cron: str, zone: str, after: datetime) -> Iterator[datetime]:
    """Yield the moments later than ``after``, each once and in order."""
    pattern = _Pattern.read(cron)
    last = after
    local = after.astimezone(zone_called(zone))
    for run in CronSim(pattern.for_cronsim, local):
        moment = run.astimezone(UTC)
        # In an hour that comes twice it begins with times that have been already.
        if moment > last:
            last = moment
            yield moment


# --- in words -----------------------------------------------------------------


def _hours_in_words(pattern: _Pattern) -> str:
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


def _times_in_words(pattern: _Pattern) -> str:
    """Return “Every weekday at 08:30” and the like; empty where it is none of these."""
    times = [
        f"{hour:02}:{minute:02}" for hour in pattern.hours for minute in pattern.minutes
    ]
    if len(times) > _MOST_NAMED or not (days := _days_in_words(pattern)):
        return ""
    return f"{days} at {_and(times)}"


def _days_in_words(pattern: _Pattern) -> str:
    _, _, day, month, weekday = pattern.fields
    if weekday != "*":
        return _weekdays_in_words(pattern) if (day, month) == ("*", "*") else ""
    if day == "*":
        return "Every day" if month == "*" else ""
    return _dates_in_words(pattern)


def _weekdays_in_words(pattern: _Pattern) -> str:
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


def _dates_in_words(pattern: _Pattern) -> str:
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
        words = CronSim(cron, _SOME_MOMENT).explain()
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
