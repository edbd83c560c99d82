"""Cron expressions in a time zone: checked, told in words, and turned into moments.

Pure; reads no clock and no database. An expression has five fields, and belongs to a
time zone, because "at seven" means nothing without one. Where clocks are changed:

* An expression with certain hours means times of day. One that falls into the hour that
  is left out comes once, right after it; one that the clock shows twice comes once.
* An expression for every hour means hours that pass. It comes in each real one, also
  in both that have the same name. (Where clocks are changed by half an hour only, one
  distance may be half an hour longer.)

Source: the manual page cron(8) of Debian, "Daylight Saving Time and other time
changes"; https://github.com/cuu508/cronsim, README.
"""

from __future__ import annotations

import zoneinfo
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from typing import Final

from cronsim import CronSim
from django.core.exceptions import ValidationError

from accounts.zones import zone_names
from channels_app.jobs.cron_expression import MAX_CHARS as MAX_CHARS
from channels_app.jobs.cron_expression import SOME_MOMENT, Pattern
from channels_app.jobs.cron_words import in_words as in_words

MIN_EVERY: Final = 5
"""Minutes between two runs, at least."""
_DAY_MINUTES: Final = 24 * 60
_LOOK_BACK: Final = (timedelta(days=1), timedelta(days=32), timedelta(days=366))


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


def zone_called(name: str) -> zoneinfo.ZoneInfo:
    """Return the IANA time zone of this name; raises ``ValueError`` with a sentence."""
    if not name.strip():
        raise ValueError("Choose a time zone.")
    if name not in zone_names():
        raise ValueError(f"There is no time zone “{name[:64]}”.")
    return zoneinfo.ZoneInfo(name)


# --- reading ----------------------------------------------------------------


def _refuse_bad_times(cron: str) -> None:
    pattern = Pattern.read(cron)
    times = [60 * hour + minute for hour in pattern.hours for minute in pattern.minutes]
    gaps = [later - sooner for sooner, later in pairwise(times)]
    # The last of a day and the first of the next.
    gaps.append(times[0] + _DAY_MINUTES - times[-1])
    if min(gaps) < MIN_EVERY:
        raise ValueError(f"A brief comes at most once every {MIN_EVERY} minutes.")
    if not next_runs(cron, "UTC", SOME_MOMENT, 1):
        raise ValueError("There is no such day, so it would never come.")


def _runs(cron: str, zone: str, after: datetime) -> Iterator[datetime]:
    """Yield the moments later than ``after``, each once and in order."""
    pattern = Pattern.read(cron)
    last = after
    local = after.astimezone(zone_called(zone))
    for run in CronSim(pattern.for_cronsim, local):
        moment = run.astimezone(UTC)
        # In an hour that comes twice it begins with times that have been already.
        if moment > last:
            last = moment
            yield moment
