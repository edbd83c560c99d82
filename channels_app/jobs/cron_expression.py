"""A cron expression, read: what it matches, and what is wrong with one that is none."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from cronsim import CronSim, CronSimError

MAX_CHARS: Final = 100
FIELDS: Final = ("minute", "hour", "day of the month", "month", "day of the week")
SOME_MOMENT: Final = datetime(2026, 1, 1, tzinfo=UTC)
"""For questions that no moment matters to."""
_HOURS: Final = frozenset(range(24))


@dataclass(frozen=True, slots=True)
class Pattern:
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
    def read(cls, cron: str) -> Pattern:
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
            read = CronSim(" ".join(fields), SOME_MOMENT)
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
        CronSim(f"0 0 {day} * *", SOME_MOMENT)
    except CronSimError:
        return False
    return True
