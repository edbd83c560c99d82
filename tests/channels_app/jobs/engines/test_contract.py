"""What every engine does: the same tests on SQLite's loop and on Procrastinate.

The run on SQLite tries the one, the run on PostgreSQL the other.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta

import pytest
from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone

from accounts.models import User
from channels_app.jobs import engines, leases, queue, rescuing
from channels_app.jobs.engines.base import Engine
from channels_app.jobs.kinds import Done, TaskFailed
from channels_app.models import QueuedTask
from routing.db_pool import run_in_db_pool
from tests.channels_app.jobs.engines.conftest import Hall, database_gone, until


class Gate:
    """Work that waits until it may go on, and tells how much of it runs at once."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.running = self.most = self.cancelled = 0

    async def __call__(self, task: QueuedTask) -> Done:
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1
        return Done("well done")

    async def until_running(self, count: int = 1) -> None:
        async def enough() -> bool:
            return self.running == count

        await until(enough)


@pytest.fixture
async def gate(hall: Hall) -> Gate:
    gate = Gate()
    hall.works(gate)
    return gate


def expire_and_rescue() -> int:
    """Take all running tasks away, as a tick does when leases were not renewed."""
    past = timezone.now() - timedelta(seconds=1)
    QueuedTask.objects.filter(state="processing").update(lease_until=past)
    return rescuing.rescue()


async def test_the_engine_is_that_of_the_database(hall: Hall) -> None:
    wanted = {"sqlite": "SqliteLoop", "postgresql": "ProcrastinateEngine"}
    assert type(engines.engine()).__name__ == wanted[connection.vendor]


async def test_a_task_is_done_when_its_transaction_was_committed(hall: Hall) -> None:
    def queue_two() -> None:
        with transaction.atomic():
            queue.enqueue(hall.owner, queue.NewTask("kept", kind="test"))
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            queue.enqueue(hall.owner, queue.NewTask("rolled back", kind="test"))
            raise ZeroDivisionError

    hall.start()
    await run_in_db_pool(queue_two)
    (row,) = await hall.until_over()
    assert (row.state, row.result, row.attempts) == ("done", "well done", 1)
    assert hall.begun == ["kept"]


async def test_a_task_waits_for_its_time(hall: Hall) -> None:
    at = timezone.now() + timedelta(seconds=1.5)
    hall.start()
    await hall.add("later", not_before=at)
    await hall.add("now")
    rows = await hall.until_over()
    assert hall.begun == ["now", "later"]
    (later,) = [row for row in rows if row.text == "later"]
    assert later.started_at and later.started_at >= at


async def test_as_many_run_at_once_as_the_worker_may_have(
    hall: Hall, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "CORTEX_QUEUE_BATCH", 2)
    hall.start(concurrency=3)
    await hall.add_many(8)
    await gate.until_running(3)
    first = (await hall.rows())[0]
    await run_in_db_pool(queue.cancel, first)

    async def its_place_is_taken() -> bool:
        return len(hall.begun) == 4

    await until(its_place_is_taken)
    states = Counter(row.state for row in await hall.rows())
    assert states == {"cancelled": 1, "processing": 3, "pending": 4}
    gate.open.set()
    assert Counter(row.state for row in await hall.until_over())["done"] == 7
    assert gate.most == 3
    assert sorted(hall.begun) == [str(n) for n in range(8)]


async def listening() -> bool:
    """Say whether a worker hears at once what is queued."""

    def look() -> bool:
        if connection.vendor != "postgresql":
            return True
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT FROM pg_stat_activity WHERE query LIKE 'LISTEN%%' "
                "AND state = 'idle' AND datname = current_database()"
            )
            return cursor.fetchone() is not None

    return await run_in_db_pool(look)


async def test_what_is_queued_begins_without_waiting_for_the_next_look(
    rare_looks: None, hall: Hall
) -> None:
    hall.start()
    await until(listening)
    for n in range(6):
        await hall.add(f"{n}")
        await hall.until_over()
    assert len(hall.begun) == 6


async def test_a_task_whose_worker_died_is_done_by_another_one(hall: Hall) -> None:
    task = await hall.add("held")
    dead = await run_in_db_pool(leases.claim_this, "dead", task.pk)
    assert dead
    hall.start()
    await hall.add("free")

    async def free_is_done() -> bool:
        return (await hall.rows())[1].state == "done"

    await until(free_is_done)
    assert (await hall.rows())[0].worker == "dead"
    assert await run_in_db_pool(expire_and_rescue) == 1
    row = (await hall.until_over())[0]
    assert (row.state, row.attempts) == ("done", 2)
    assert not await run_in_db_pool(leases.settle_done, dead, Done("too late"))
    assert (await hall.rows())[0].result == "well done"


async def test_work_whose_lease_was_lost_is_ended_and_changes_nothing(
    hall: Hall,
) -> None:
    ended, late = asyncio.Event(), asyncio.Event()

    async def work(task: QueuedTask) -> Done:
        if task.attempts == 2:
            return Done("second")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.set()
            await late.wait()
        return Done("first")

    hall.works(work)
    loop = hall.start()
    await hall.add()

    async def runs() -> bool:
        return (await hall.row()).state == "processing"

    await until(runs)
    hall.start()
    assert await run_in_db_pool(expire_and_rescue) == 1
    (row,) = await hall.until_over()
    await asyncio.wait_for(ended.wait(), 10)
    late.set()
    await hall.stop(loop, 5)
    assert [row.result, (await hall.row()).result] == ["second", "second"]


async def test_a_cancelled_task_is_ended_or_never_begun(hall: Hall, gate: Gate) -> None:
    hall.start(concurrency=1)
    await hall.add("running")
    await gate.until_running()
    await hall.add("waiting")
    for row in await hall.rows():
        await run_in_db_pool(queue.cancel, row)
    rows = await hall.until_over()
    assert [row.state for row in rows] == ["cancelled", "cancelled"]
    assert (hall.begun, gate.cancelled) == (["running"], 1)
    gate.open.set()
    await hall.add("next")
    await hall.until_over()
    assert hall.begun == ["running", "next"]


async def test_what_failed_for_now_is_tried_again_and_what_failed_is_repeated(
    hall: Hall, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "BACKOFF_S", 0.2)

    async def work(task: QueuedTask) -> Done:
        if task.attempts < 4:
            retryable = task.attempts < 3
            raise TaskFailed("internal", "Not this time.", retryable=retryable)
        return Done("at last")

    hall.works(work)
    hall.start()
    await hall.add()
    (row,) = await hall.until_over()
    assert (row.state, row.attempts) == ("failed", 3)
    await run_in_db_pool(queue.retry, row)
    (row,) = await hall.until_over()
    assert (row.state, row.attempts, row.result) == ("done", 4, "at last")


async def test_a_worker_that_stops_lets_end_what_can_and_gives_back_the_rest(
    hall: Hall, gate: Gate
) -> None:
    loop = hall.start()
    await hall.add("quick")
    await gate.until_running()
    asyncio.get_running_loop().call_later(0.3, gate.open.set)
    await hall.stop(loop, 10)
    assert (await hall.row()).state == "done"
    gate.open.clear()
    other = hall.start()
    await hall.add("slow")
    await gate.until_running()
    await hall.stop(other, 0.1)
    row = (await hall.rows())[1]
    assert (row.state, row.attempts, row.tries) == ("pending", 1, 0)
    assert gate.cancelled == 1
    gate.open.set()
    hall.start()
    rows = await hall.until_over()
    assert [row.state for row in rows] == ["done", "done"]


async def test_a_stopped_worker_takes_nothing_more(hall: Hall) -> None:
    loop = hall.start()
    await hall.add("before")
    await hall.until_over()
    await hall.stop(loop)
    await hall.add("after")
    hall.start()
    before, after = await hall.until_over()
    assert hall.by == {before.worker: 1, after.worker: 1}


async def test_a_database_that_is_gone_for_seconds_ends_nothing(
    connection_may_end: None, hall: Hall, gate: Gate
) -> None:
    hall.start()
    await hall.add("runs meanwhile")
    await gate.until_running()
    with database_gone():
        await asyncio.sleep(1.0)
        gate.open.set()
        await asyncio.sleep(2.5)
    await hall.add("queued afterwards")
    rows = await hall.until_over()
    assert [(row.state, row.attempts) for row in rows] == [("done", 1), ("done", 1)]
    assert gate.cancelled == 0


async def test_two_workers_share_without_doing_anything_twice(hall: Hall) -> None:
    both = asyncio.Event()

    async def work(task: QueuedTask) -> Done:
        if len(hall.by) == 2:
            both.set()
        await both.wait()
        return Done(task.worker)

    hall.works(work)
    hall.start(concurrency=2)
    hall.start(concurrency=2)
    await hall.add_many(40)
    rows = await hall.until_over()
    assert {(row.state, row.attempts) for row in rows} == {("done", 1)}
    assert sorted(hall.begun, key=int) == [str(n) for n in range(40)]
    assert {row.result for row in rows} == set(hall.by)


async def test_one_persons_many_tasks_do_not_hold_up_another_one(
    hall: Hall, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "CORTEX_QUEUE_BATCH", 1)
    await hall.add_many(10)
    await hall.add("bob's", owner=bob)
    hall.start(concurrency=1)
    await hall.until_over()
    assert "bob's" in hall.begun[:2]
    assert [text for text in hall.begun if text != "bob's"] == [
        str(n) for n in range(10)
    ]


async def test_one_persons_many_tasks_for_later_do_not_hold_up_another_one(
    hall: Hall, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "CORTEX_QUEUE_BATCH", 1)
    at = timezone.now() + timedelta(seconds=2)
    for n in range(6):
        await hall.add(str(n), not_before=at + timedelta(milliseconds=n))

    async def all_due() -> bool:
        return timezone.now() > at + timedelta(milliseconds=6)

    await until(all_due)
    await hall.add("6")
    await hall.add("bob's", owner=bob)
    hall.start(concurrency=1)
    await hall.until_over()
    assert "bob's" in hall.begun[:2]
    assert [text for text in hall.begun if text != "bob's"] == [
        str(n) for n in range(7)
    ]


async def test_what_is_announced_twice_is_done_once(hall: Hall) -> None:
    engine: Engine = engines.engine()
    task = await hall.add()

    def announce_again() -> None:
        with transaction.atomic():
            engine.announce([task, task])
        engine.wake()

    await run_in_db_pool(announce_again)
    hall.start()
    await hall.until_over()
    await run_in_db_pool(announce_again)
    await hall.add("next")
    await hall.until_over()
    assert hall.begun == ["task", "next"]


async def test_a_worker_that_starts_without_a_database_begins_when_it_is_there(
    connection_may_end: None, hall: Hall
) -> None:
    await hall.add()
    with database_gone():
        hall.start()
        await asyncio.sleep(0.5)
    (row,) = await hall.until_over()
    assert row.state == "done"
