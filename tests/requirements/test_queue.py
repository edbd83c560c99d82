"""Work for later is never lost, done twice in its effects, or held by the dead.

R9, R10, R11, R12 and R14, with real worker processes that are killed and stopped.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from django.db import OperationalError, transaction

from accounts.models import User
from channels_app.jobs import leases, queue, rescuing, tick
from channels_app.jobs.engines import sqlite_loop
from channels_app.models import QueuedTask
from personas.models import Conversation, Persona
from tests.support.environment import SOAK
from tests.support.jobs import Workers, add
from tests.support.processes import wait_until

pytestmark = [pytest.mark.django_db(transaction=True)]

SOAKING = SOAK in os.environ
QUICK = {"TEST_LEASE_S": 1.2, "TEST_RENEW_S": 0.3, "TEST_TICK_S": 0.3}
RESCUED_WITHIN_S = 45


@dataclass(frozen=True)
class CrashRun:
    """How much is done while how many workers are killed how often."""

    workers: int
    tasks: int
    seconds: float
    kill_every_s: float
    longest_ms: int


RUN = CrashRun(4, 2000, 60, 1.0, 700) if SOAKING else CrashRun(3, 200, 4, 0.5, 150)


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[Callable[..., Workers]]:
    """Return a function that prepares workers with clocks of their own."""
    running: list[Workers] = []

    def prepare(**clocks: float) -> Workers:
        mine = Workers(tmp_path, **clocks)
        running.append(mine.__enter__())
        return mine

    yield prepare
    for each in running:
        each.__exit__()


def state_of(task: QueuedTask) -> str:
    return QueuedTask.objects.values_list("state", flat=True).get(pk=task.pk)


def attempts_of(workers: Workers, task: QueuedTask) -> list[int]:
    return [number for pk, number in workers.attempts() if pk == str(task.pk)]


# --- R9 ------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_r09_nothing_is_lost_and_nothing_has_its_effect_twice_while_workers_die(
    alice: User, bob: User, workers: Callable[..., Workers]
) -> None:
    dice = random.Random(9)
    running = workers(**QUICK, TEST_ATTEMPTS=1000, TEST_BACKOFF_S=0.1)
    for owner in (alice, bob):
        tasks = [
            queue.NewTask(str(dice.randint(1, RUN.longest_ms)), kind="note")
            for _ in range(RUN.tasks // 2)
        ]
        queue.enqueue_many(owner, tasks)
    for _ in range(RUN.workers):
        running.start()
    until, kills = time.monotonic() + RUN.seconds, 0
    while time.monotonic() < until:
        time.sleep(RUN.kill_every_s)
        running.kill(dice.choice(running.pids))
        running.start()
        kills += 1
    all_done = QueuedTask.objects.exclude(state="done").exists
    wait_until(lambda: not all_done(), within_s=120, what="the end of all tasks")

    rows = dict(QueuedTask.objects.values_list("pk", "attempts"))
    begun = Counter(pk for pk, _ in running.attempts())
    effects = running.effects()
    assert len(rows) == RUN.tasks and kills >= RUN.seconds / RUN.kill_every_s / 2
    assert set(begun) == {str(pk) for pk in rows}
    assert len(effects) == RUN.tasks
    assert dict(effects) == {str(pk): attempts for pk, attempts in rows.items()}
    # The run was one: attempts died, and were begun again.
    assert sum(begun.values()) > RUN.tasks
    assert max(rows.values()) > 1


# --- R10 -----------------------------------------------------------------------------


def test_r10_the_clocks_rescue_a_task_within_45_s() -> None:
    longest_s = leases.LEASE.total_seconds() + tick.EVERY_S + sqlite_loop.EVERY_S
    assert longest_s <= RESCUED_WITHIN_S - 3  # for a machine that is busy
    assert leases.LEASE.total_seconds() > 3 * leases.RENEW_EVERY_S


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_r10_a_task_of_a_killed_worker_goes_on_with_another(
    alice: User, workers: Callable[..., Workers]
) -> None:
    running = workers(**QUICK)
    first = running.start()
    task = add(alice, "60000", kind="note")
    wait_until(lambda: attempts_of(running, task) == [1])
    running.start()
    running.kill(first)
    wait_until(lambda: attempts_of(running, task) == [1, 2], within_s=20)


# --- R11 -----------------------------------------------------------------------------


def stop_between_writes(pid: int) -> None:
    """Let a worker stand still, as if its machine slept, while it locks nothing."""
    for _ in range(10):
        os.kill(pid, signal.SIGSTOP)
        with suppress(OperationalError), transaction.atomic():
            return
        os.kill(pid, signal.SIGCONT)
        time.sleep(0.05)
    raise AssertionError("The worker holds the database all the time.")


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_r11_the_end_of_a_worker_that_lost_its_task_changes_nothing(
    alice: User, workers: Callable[..., Workers]
) -> None:
    running = workers(**QUICK)
    first = running.start()
    task = add(alice, "1500", kind="note")
    wait_until(lambda: attempts_of(running, task) == [1])
    stop_between_writes(first)
    running.start()
    wait_until(lambda: attempts_of(running, task) == [1, 2], within_s=20)
    os.kill(first, signal.SIGCONT)
    wait_until(lambda: state_of(task) == "done", within_s=20)
    row = QueuedTask.objects.get(pk=task.pk)
    assert (row.result, row.attempts) == ("attempt 2", 2)
    wait_until(lambda: "ended too late" in running.log, what="the late end")
    row.refresh_from_db()
    assert (row.result, row.attempts) == ("attempt 2", 2)
    assert running.effects() == [(str(task.pk), 2)]


# --- R12 -----------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_r12_a_task_that_kills_its_workers_is_given_up_and_listed(
    alice: User, workers: Callable[..., Workers]
) -> None:
    running = workers(
        TEST_LEASE_S=0.5, TEST_RENEW_S=0.2, TEST_TICK_S=0.1, TEST_BACKOFF_S=0.1
    )
    poison = add(alice, kind="poison")

    def is_over() -> bool:
        if not any(map(running.is_alive, running.pids)):
            running.start()
        return state_of(poison) not in {"pending", "processing"}

    wait_until(is_over, within_s=50, what="the end of the poison")
    row = queue.tasks_visible_to(alice).get(state="dead")
    assert (row.pk, row.attempts) == (poison.pk, leases.MAX_ATTEMPTS)
    assert row.error.startswith(rescuing.LOST) and row.finished_at is not None
    assert len(running.pids) >= leases.MAX_ATTEMPTS
    good = add(alice, "1", kind="note")
    wait_until(lambda: state_of(good) == "done")


# --- R14 -----------------------------------------------------------------------------


def test_r14_a_task_exists_exactly_if_what_it_belongs_to_does(
    alice: User, persona: Persona
) -> None:
    def start_with_task(*, fails: bool) -> None:
        with transaction.atomic():
            made = Conversation.objects.create(owner=alice, persona=persona)
            add(alice, conversation=made)
            if fails:
                raise ZeroDivisionError

    with suppress(ZeroDivisionError):
        start_with_task(fails=True)
    assert not QueuedTask.objects.exists() and not Conversation.objects.exists()
    assert leases.claim("worker", 10) == []
    start_with_task(fails=False)
    (task,) = leases.claim("worker", 10)
    assert task.conversation_id == Conversation.objects.get().pk
