"""What a clock that was ahead let wait, and is put right."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.models import User
from channels_app.jobs import engines, leases, queue, rescuing
from channels_app.jobs.engines import procrastinate_jobs
from channels_app.models import QueuedTask
from tests.support.jobs import WORKER, Clock, add, set_clock, take

pytestmark = pytest.mark.django_db
MONTH_S = 30 * 24 * 3600.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock that the test sets."""
    return set_clock(monkeypatch)


def test_what_was_queued_by_a_clock_far_ahead_waits_no_longer(
    alice: User, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock.pass_by(MONTH_S)
    tasks = [add(alice, text) for text in ("first", "second", "third")]
    clock.pass_by(-MONTH_S)
    assert leases.claim(WORKER, 10) == []
    announced: list[QueuedTask] = []
    monkeypatch.setattr(engines.engine(), "announce", announced.extend)

    assert rescuing.bring_back() == 3

    assert announced == tasks
    clock.pass_by(1)
    assert leases.claim(WORKER, 10) == tasks
    assert rescuing.bring_back() == 0


@pytest.mark.skipif("connection.vendor != 'postgresql'", reason="Jobs of PostgreSQL")
def test_what_is_brought_back_has_a_job_that_is_due(alice: User, clock: Clock) -> None:
    clock.pass_by(MONTH_S)
    task = add(alice)
    clock.pass_by(-MONTH_S)
    assert procrastinate_jobs.take(WORKER, 10) == []

    assert rescuing.bring_back() == 1
    assert procrastinate_jobs.take(WORKER, 10) == [task]


def test_what_is_wanted_later_stays_for_later(alice: User, clock: Clock) -> None:
    later = clock.now() + timedelta(days=60)
    add(alice, not_before=later)
    clock.pass_by(MONTH_S)
    add(alice, not_before=later)
    clock.pass_by(-MONTH_S)

    assert rescuing.bring_back() == 0
    assert set(QueuedTask.objects.values_list("not_before", flat=True)) == {later}


@pytest.mark.parametrize("begun_ahead", [True, False])
def test_what_is_tried_again_does_not_wait_for_a_clock_that_was_ahead(
    alice: User, clock: Clock, begun_ahead: bool
) -> None:
    add(alice)
    clock.pass_by(MONTH_S if begun_ahead else 0)
    task = take()
    clock.pass_by(0 if begun_ahead else MONTH_S)
    leases.settle_failed(task, "internal", "Again.", retryable=True)
    clock.pass_by(-MONTH_S)
    assert leases.claim(WORKER, 10) == []

    assert rescuing.bring_back() == 1
    clock.pass_by(1)
    assert take() == task


def test_pauses_between_attempts_stay(alice: User, clock: Clock) -> None:
    task = queue.enqueue(alice, queue.NewTask("Water the plants", kind="test"))
    for _ in range(leases.MAX_ATTEMPTS - 1):
        clock.pass_by(leases.LONGEST_BACKOFF_S * 2)
        leases.settle_failed(take(), "internal", "Again.", retryable=True)
        assert rescuing.bring_back() == 0
    task.refresh_from_db()
    assert task.state == "pending"


def test_an_idle_look_takes_no_lock(alice: User, clock: Clock) -> None:
    add(alice, not_before=clock.now() + timedelta(days=7))
    with CaptureQueriesContext(connection) as queries:
        assert rescuing.bring_back() == 0
    words = {query["sql"].split()[0] for query in queries.captured_queries}
    assert words == {"SELECT"}
