"""Choices of times and cron expressions lead to each other."""

from __future__ import annotations

from datetime import UTC, datetime, time

import pytest

from channels_app.jobs import cron
from channels_app.web.brief_times import (
    MONTH_DAYS,
    STEPS,
    Simple,
    as_cron,
    from_cron,
)

HALF_SEVEN = time(7, 30)
SOME_MOMENT = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("simple", "expression"),
    [
        (Simple("daily", HALF_SEVEN), "30 7 * * *"),
        (Simple("workdays", HALF_SEVEN), "30 7 * * 1-5"),
        (Simple("weekly", HALF_SEVEN, (2, 6, 0)), "30 7 * * 0,2,6"),
        (Simple("monthly", HALF_SEVEN, month_day="15"), "30 7 15 * *"),
        (Simple("monthly", HALF_SEVEN, month_day="L"), "30 7 L * *"),
        (Simple("hourly", time(3, 30), hours=4), "30 3-23/4 * * *"),
        (Simple("hourly", time(0, 30), hours=6), "30 */6 * * *"),
        (Simple("hourly", time(0, 5), hours=1), "5 * * * *"),
    ],
)
def test_a_choice_is_written_and_read_back(simple: Simple, expression: str) -> None:
    assert as_cron(simple) == expression
    assert from_cron(expression) == simple
    cron.check(expression, "Europe/Berlin")


@pytest.mark.parametrize(
    ("expression", "simple"),
    [
        ("00 07 * * mon-fri", Simple("workdays", time(7, 0))),
        ("0 7 * * 1,2,3,4,5", Simple("workdays", time(7, 0))),
        ("0 7 * * 0-6", Simple("daily", time(7, 0))),
        ("0 7 * * 7", Simple("weekly", time(7, 0), (0,))),
        ("0 7 * * SAT,SUN", Simple("weekly", time(7, 0), (6, 0))),
        ("0 7 * * 5-7", Simple("weekly", time(7, 0), (5, 6, 0))),
        ("0 0-23/3 * * *", Simple("hourly", time(0, 0), hours=3)),
        ("  0   7  01  *  * ", Simple("monthly", time(7, 0), month_day="1")),
    ],
)
def test_what_others_wrote_opens_as_the_choice_it_means(
    expression: str, simple: Simple
) -> None:
    assert from_cron(expression) == simple
    # And what the form then saves comes at the same moments.
    after = SOME_MOMENT
    zone = "America/New_York"
    assert cron.next_runs(expression, zone, after, 40) == cron.next_runs(
        as_cron(simple), zone, after, 40
    )


@pytest.mark.parametrize(
    "expression",
    [
        *("*/15 * * * *", "0 7,19 * * *", "0 7 1,15 * *", "0 7 * 6 *"),
        *("0 7 1 * 1", "0 */5 * * *", "0 5-23/4 * * *", "0 8-18/2 * * *"),
        *("0 7 * * 1#2", "0 7 * * 5L", "0 7 LW * *", "0 7 * * FRI-MON"),
        *("", "x", "0 24 * * *", "60 7 * * *", "0 7 0 * *", "0 7 * *"),
        *("0 7 * * 8", "0 7 * * 1-", "@daily", "0 7 * * * *", "٣ 7 * * *"),
    ],
)
def test_everything_else_is_advanced(expression: str) -> None:
    assert from_cron(expression) is None


def test_all_that_the_page_offers_can_be_a_brief() -> None:
    for step in STEPS:
        for hour in range(24):
            chosen = Simple("hourly", time(hour, 59), hours=step)
            expression = as_cron(chosen)
            cron.check(expression, "UTC")
            read = from_cron(expression)
            assert read is not None
            assert as_cron(read) == expression
            hours = {
                run.hour for run in cron.next_runs(expression, "UTC", SOME_MOMENT, 24)
            }
            assert hour in hours
    for day in MONTH_DAYS:
        cron.check(as_cron(Simple("monthly", HALF_SEVEN, month_day=day)), "UTC")
