"""Cron expressions: what they mean in a time zone, also where clocks are changed."""

from __future__ import annotations

import functools
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from django.core.exceptions import ValidationError
from hypothesis import given, settings
from hypothesis import strategies as st

from channels_app.jobs.cron import check, in_words, last_run, next_runs

BERLIN, NEW_YORK = "Europe/Berlin", "America/New_York"
HALF_HOUR = "Australia/Lord_Howe"
"""Clocks change by half an hour, so that an hour that passes has no certain minutes:
only times of day are compared there."""
ZONES = (BERLIN, NEW_YORK, "Africa/Cairo", "America/Santiago", HALF_HOUR)


def local(cron: str, zone: str, after: str, n: int) -> list[str]:
    """Return the next runs as the clock on the wall and its distance from UTC say."""
    runs = next_runs(cron, zone, datetime.fromisoformat(after).astimezone(UTC), n)
    assert all(run.tzinfo is UTC for run in runs)
    return [run.astimezone(ZoneInfo(zone)).strftime("%m-%d %H:%M%z") for run in runs]


# --- where clocks are changed ---------------------------------------------------


@pytest.mark.parametrize(
    ("cron", "zone", "after", "runs"),
    [
        # Left out: 02:00 to 03:00 on 28 March 2027, and on 14 March in New York.
        (
            "30 2 * * *",
            BERLIN,
            "2027-03-27T12:00+01:00",
            ["03-28 03:00+0200", "03-29 02:30+0200"],
        ),
        (
            "30 2 * * *",
            NEW_YORK,
            "2027-03-13T12:00-05:00",
            ["03-14 03:00-0400", "03-15 02:30-0400"],
        ),
        # Several in the hour left out come once all the same.
        (
            "*/20 2,3 * * *",
            BERLIN,
            "2027-03-28T00:00+01:00",
            ["03-28 03:00+0200", "03-28 03:20+0200", "03-28 03:40+0200"],
        ),
        (
            "*/30 2 * * *",
            BERLIN,
            "2026-10-24T12:00+02:00",
            ["10-25 02:00+0200", "10-25 02:30+0200", "10-26 02:00+0100"],
        ),
        # Twice: 02:00 to 03:00 on 25 October 2026, 01:00 to 02:00 on 1 November.
        (
            "30 2 * * *",
            BERLIN,
            "2026-10-24T12:00+02:00",
            ["10-25 02:30+0200", "10-26 02:30+0100"],
        ),
        (
            "30 1 * * *",
            NEW_YORK,
            "2026-10-31T12:00-04:00",
            ["11-01 01:30-0400", "11-02 01:30-0500"],
        ),
        # Asked in the second of the two hours, when it has been already.
        (
            "45 2 * * *",
            BERLIN,
            "2026-10-25T02:30+01:00",
            ["10-26 02:45+0100"],
        ),
        # What comes every hour comes in every real hour.
        (
            "0 * * * *",
            BERLIN,
            "2027-03-28T00:30+01:00",
            ["03-28 01:00+0100", "03-28 03:00+0200", "03-28 04:00+0200"],
        ),
        (
            "0 0-23 * * *",
            BERLIN,
            "2026-10-25T01:30+02:00",
            ["10-25 02:00+0200", "10-25 02:00+0100", "10-25 03:00+0100"],
        ),
        (
            "*/30 * * * *",
            NEW_YORK,
            "2026-11-01T01:00-04:00",
            ["11-01 01:30-0400", "11-01 01:00-0500", "11-01 01:30-0500"],
        ),
        # Every other hour means times of day.
        (
            "0 */2 * * *",
            BERLIN,
            "2027-03-28T00:30+01:00",
            ["03-28 03:00+0200", "03-28 04:00+0200", "03-28 06:00+0200"],
        ),
        # Seven in the morning stays seven in the morning.
        (
            "0 7 * * *",
            BERLIN,
            "2026-10-24T12:00+02:00",
            ["10-25 07:00+0100", "10-26 07:00+0100"],
        ),
        (
            "0 7 * * *",
            NEW_YORK,
            "2027-03-13T12:00-05:00",
            ["03-14 07:00-0400", "03-15 07:00-0400"],
        ),
        # A change at midnight leaves out the beginning of a day.
        (
            "0 0 * * *",
            "Africa/Cairo",
            "2026-04-23T12:00+02:00",
            ["04-24 01:00+0300", "04-25 00:00+0300"],
        ),
        # A change by half an hour.
        (
            "15 2 * * *",
            HALF_HOUR,
            "2026-10-03T12:00+10:30",
            ["10-04 02:30+1100", "10-05 02:15+1100"],
        ),
    ],
)
def test_each_time_comes_once(
    cron: str, zone: str, after: str, runs: list[str]
) -> None:
    assert local(cron, zone, after, len(runs)) == runs


SPAN = timedelta(days=4)


@functools.cache
def changes_of_clocks() -> tuple[tuple[str, datetime], ...]:
    """Return the beginnings of spans in 2026 and 2027 with a change in them."""
    found = []
    for zone in ZONES:
        info = ZoneInfo(zone)
        for day in range(2 * 365):
            noon = datetime(2026, 1, 2, 12, tzinfo=UTC) + timedelta(days=day)
            before = (noon - timedelta(days=1)).astimezone(info).utcoffset()
            if noon.astimezone(info).utcoffset() != before:
                found.append((zone, noon - timedelta(days=2)))
    assert len(found) >= 4 * len(ZONES)
    return tuple(found)


@functools.cache
def minutes_of(
    zone: str, begin: datetime
) -> list[tuple[datetime, datetime, list[datetime]]]:
    """Return every real minute after ``begin``.

    Each with what the clock on the wall shows then, and what it left out right before.
    """
    rows, info, minute = [], ZoneInfo(zone), timedelta(minutes=1)
    wall = begin.astimezone(info).replace(tzinfo=None)
    for number in range(1, int(SPAN / minute) + 1):
        moment = begin + number * minute
        shown = moment.astimezone(info)
        expected, wall = wall + minute, shown.replace(tzinfo=None)
        steps = max(0, int((wall - expected) / minute))
        left_out = [expected + step * minute for step in range(steps)]
        rows.append((moment, wall.replace(fold=shown.fold), left_out))
    return rows


def field(first: int, last: int, most: int) -> st.SearchStrategy[list[int]]:
    numbers = st.integers(first, last)
    return st.lists(numbers, min_size=1, max_size=most, unique=True)


def written(values: list[int] | None) -> str:
    return "*" if values is None else ",".join(map(str, values))


def day_matches(day: date, days: list[int] | None, weekdays: list[int] | None) -> bool:
    """Say whether cron would run on a day: either matches where both are given."""
    by_date = days is None or day.day in days
    by_weekday = weekdays is None or day.isoweekday() % 7 in weekdays
    if days is not None and weekdays is not None:
        return by_date or by_weekday
    return by_date and by_weekday


@settings(max_examples=100, deadline=None)
@given(
    change=st.sampled_from(changes_of_clocks()),
    minutes=field(0, 59, 4),
    hours=st.one_of(st.none(), field(0, 3, 3), field(0, 23, 5)),
    days=st.one_of(st.none(), field(1, 31, 20)),
    weekdays=st.one_of(st.none(), field(0, 6, 4)),
)
def test_runs_are_those_that_counting_every_minute_finds(
    change: tuple[str, datetime],
    minutes: list[int],
    hours: list[int] | None,
    days: list[int] | None,
    weekdays: list[int] | None,
) -> None:
    zone, begin = change
    if zone == HALF_HOUR and hours is None:
        hours = [2]
    cron = f"{written(minutes)} {written(hours)} {written(days)} * {written(weekdays)}"

    def matches(wall: datetime) -> bool:
        if wall.minute not in minutes or (hours and wall.hour not in hours):
            return False
        return day_matches(wall.date(), days, weekdays)

    expected = [
        moment
        for moment, shown, left_out in minutes_of(zone, begin)
        if (matches(shown) and (hours is None or not shown.fold))
        or (hours is not None and any(map(matches, left_out)))
    ]

    found = next_runs(cron, zone, begin, len(expected) + 1)
    assert [run for run in found if run <= begin + SPAN] == expected


# --- looking back -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("cron", "since", "until", "last"),
    [
        ("*/5 * * * *", "2020-01-01T00:00", "2026-06-01T12:04", "2026-06-01T12:00"),
        ("0 7 * * *", "2026-05-01T07:00", "2026-06-01T06:59", "2026-05-31T07:00"),
        ("0 7 * * *", "2026-06-01T07:00", "2026-06-01T07:00", "2026-06-01T07:00"),
        ("0 7 * * *", "2026-06-01T07:01", "2026-06-01T12:00", None),
        ("0 7 1 * *", "2026-01-01T07:00", "2026-06-20T12:00", "2026-06-01T07:00"),
        ("0 7 29 2 *", "2024-02-29T07:00", "2026-06-20T12:00", "2024-02-29T07:00"),
        ("0 7 24 12 *", "2020-12-24T07:00", "2026-06-20T12:00", "2025-12-24T07:00"),
    ],
)
def test_the_last_run_that_was_missed(
    cron: str, since: str, until: str, last: str | None
) -> None:
    def moment(text: str) -> datetime:
        return datetime.fromisoformat(text).replace(tzinfo=UTC)

    found = last_run(cron, "UTC", moment(since), moment(until))

    assert found == (None if last is None else moment(last))


def test_a_leap_day_comes_every_four_years() -> None:
    runs = next_runs("0 9 29 2 *", "UTC", datetime(2026, 1, 1, tzinfo=UTC), 3)

    assert [run.year for run in runs] == [2028, 2032, 2036]


# --- what is refused --------------------------------------------------------------


@pytest.mark.parametrize(
    ("cron", "sentence"),
    [
        ("", "Write five fields"),
        ("@daily", "Write five fields"),
        ("@reboot", "Write five fields"),
        ("0 0 7 * * *", "Write five fields"),
        ("0 7 * *", "Write five fields"),
        ("0 7 * * *" + " " * 100, "At most 100 characters fit."),
        ("60 7 * * *", "“60” is no minute."),
        ("0 25 * * *", "“25” is no hour."),
        ("0 7 0 * *", "“0” is no day of the month."),
        ("0 7 * 13 *", "“13” is no month."),
        ("0 7 * * 8", "“8” is no day of the week."),
        ("0 7 30 2 *", "No month that is named has a day 30, so it would never come."),
        ("0 7 31 4,6 *", "No month that is named has a day 31"),
        ("* * * * *", "at most once every 5 minutes"),
        ("*/4 * * * *", "at most once every 5 minutes"),
        ("0,3 7 * * *", "at most once every 5 minutes"),
        ("0,58 * * * *", "at most once every 5 minutes"),
        ("0,57 0,23 * * *", "at most once every 5 minutes"),
    ],
)
def test_what_cannot_be_a_time_is_refused_with_a_sentence(
    cron: str, sentence: str
) -> None:
    with pytest.raises(ValidationError) as refused:
        check(cron, BERLIN)

    assert list(refused.value.message_dict) == ["cron"]
    assert sentence in refused.value.message_dict["cron"][0]


NO_ZONES = ("", " ", "Mars/Olympus", "../etc/passwd", "+02:00")
OF_THE_MACHINE = ("localtime", "posixrules", "Factory", "posix/UTC", "right/UTC")


@pytest.mark.parametrize("zone", NO_ZONES + OF_THE_MACHINE)
def test_a_time_zone_must_be_one(zone: str) -> None:
    with pytest.raises(ValidationError) as refused:
        check("0 7 * * *", zone)

    assert list(refused.value.message_dict) == ["time_zone"]


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="0123456789*/,-#LWMONFRI ²", max_size=24))
def test_nothing_that_is_typed_breaks_it(typed: str) -> None:
    for cron in (typed, f"{typed} 7 * * *", f"0 7 {typed} * *", f"0 7 * * {typed}"):
        try:
            check(cron, BERLIN)
        except ValidationError:
            continue
        assert in_words(cron, BERLIN).endswith(" (Europe/Berlin)")
        assert next_runs(cron, BERLIN, datetime(2026, 1, 1, tzinfo=UTC), 1)


# --- in words ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cron", "words"),
    [
        ("0 7 * * *", "Every day at 07:00"),
        ("0 7,19 * * *", "Every day at 07:00 and 19:00"),
        ("30 8 * * 1-5", "Every weekday at 08:30"),
        ("30 8 * * MON-FRI", "Every weekday at 08:30"),
        ("0 18 * * 1,4", "Every Monday and Thursday at 18:00"),
        ("0 10 * * 0,6", "Every Saturday and Sunday at 10:00"),
        ("0 10 * * 7", "Every Sunday at 10:00"),
        ("0 9 1 * *", "On the 1st of every month at 09:00"),
        ("0 9 1,22 * *", "On the 1st and 22nd of every month at 09:00"),
        ("0 9 11,12,13 * *", "On the 11th, 12th and 13th of every month at 09:00"),
        ("0 9 L * *", "On the last day of every month at 09:00"),
        ("0 18 24 12 *", "Every year on 24 December at 18:00"),
        ("*/15 * * * *", "Every 15 minutes"),
        ("0 * * * *", "Every hour"),
        ("20 * * * *", "Every hour at minute 20"),
        ("0 */2 * * *", "Every 2 hours"),
        ("30 3-23/4 * * *", "Every 4 hours, at 03:30, 07:30 and so on"),
        ("0 */8 * * *", "Every day at 00:00, 08:00 and 16:00"),
        ("0 9 * * MON#1", "At 09:00 on the first Monday of the month"),
        ("0 9 22 1-6 *", "At 09:00 on the 22nd day of every month from January"),
    ],
)
def test_an_expression_in_words(cron: str, words: str) -> None:
    said = in_words(cron, BERLIN)

    assert said.startswith(words)
    assert said.endswith(" (Europe/Berlin)")
