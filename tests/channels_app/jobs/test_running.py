"""What a worker does with the tasks it has claimed, in one event loop."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from typing import Any

import pytest
from django.db import IntegrityError, OperationalError, connection

from accounts.models import User
from channels_app.jobs import kinds, leases, queue, running
from channels_app.jobs.engines import sqlite_loop
from channels_app.jobs.engines.sqlite_loop import SqliteLoop
from channels_app.jobs.kinds import Done, TaskFailed
from channels_app.jobs.running import Runner
from channels_app.jobs.task_loop import TaskLoop
from channels_app.jobs.worker import Worker
from channels_app.models import QueuedTask
from routing.db_pool import run_in_db_pool
from tests.support.jobs import WORKER, add

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look often, so that tests wait little."""
    monkeypatch.setattr(running, "LOOK_EVERY_S", 0.05)
    monkeypatch.setattr(sqlite_loop, "EVERY_S", 0.1)


class Hands:
    """A kind of task whose work the test steers."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.ended: list[str] = []
        self.at_once = self.most_at_once = 0
        self.go_on = asyncio.Event()

    async def work(self, task: QueuedTask) -> Done:
        self.begun.append(task.text)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await self.go_on.wait()
        except asyncio.CancelledError:
            self.ended.append(task.text)
            raise
        finally:
            self.at_once -= 1
        return Done(f"did {task.text}")


@pytest.fixture
def hands(monkeypatch: pytest.MonkeyPatch) -> Hands:
    mine = Hands()
    monkeypatch.setitem(kinds.KINDS, "test", mine.work)
    return mine


class Looks:
    """Counts how often an engine has looked for tasks."""

    def __init__(self) -> None:
        self.count = 0

    async def one_more(self) -> None:
        """Wait until a look that begins from now on is over."""
        seen = self.count
        await until(lambda: self.count >= seen + 2)


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Looks:
    mine, real = Looks(), SqliteLoop._take

    async def counted(*values: Any) -> bool:
        more = await real(*values)
        mine.count += 1
        return more

    monkeypatch.setattr(SqliteLoop, "_take", counted)
    return mine


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(15):
        while not condition():
            await asyncio.sleep(0.01)


async def row(task: QueuedTask) -> QueuedTask:
    return await run_in_db_pool(QueuedTask.objects.get, pk=task.pk)


async def has_state(task: QueuedTask, state: str) -> QueuedTask:
    async with asyncio.timeout(15):
        while (found := await row(task)).state != state:
            await asyncio.sleep(0.02)
    return found


@asynccontextmanager
async def doing(concurrency: int = 4) -> AsyncIterator[TaskLoop]:
    loop = TaskLoop(engine=SqliteLoop(), worker=WORKER, concurrency=concurrency)
    task = asyncio.create_task(loop.run())
    try:
        yield loop
    finally:
        await loop.stop(0)
        await asyncio.wait_for(task, 10)


async def test_several_tasks_run_at_once_and_no_more_than_may(
    alice: User, hands: Hands, looks: Looks
) -> None:
    tasks = [await run_in_db_pool(add, alice, f"{number}") for number in range(5)]
    async with doing(3):
        await until(lambda: len(hands.begun) == 3)
        await looks.one_more()
        assert hands.begun == ["0", "1", "2"]
        hands.go_on.set()
        for task in tasks:
            done = await has_state(task, "done")
            assert done.result == f"did {task.text}"
    assert hands.most_at_once == 3


async def test_what_is_queued_in_this_process_begins_without_a_poll(
    alice: User, hands: Hands, looks: Looks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_loop, "EVERY_S", 3600)
    loop = TaskLoop(worker=WORKER)
    if not isinstance(loop._engine, SqliteLoop):
        pytest.skip("another engine has a contract test for this")
    task = asyncio.create_task(loop.run())
    await until(lambda: looks.count)
    await run_in_db_pool(add, alice, "now")
    await until(lambda: hands.begun == ["now"])
    hands.go_on.set()
    await loop.stop(5)
    await asyncio.wait_for(task, 10)


@pytest.mark.skipif(
    "connection.vendor != 'sqlite'", reason="elsewhere there is no file to watch"
)
async def test_what_another_process_queued_begins_without_a_poll(
    alice: User, hands: Hands, looks: Looks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_loop, "EVERY_S", 3600)
    monkeypatch.setattr(SqliteLoop, "wake", lambda self: None)
    async with doing():
        await until(lambda: looks.count)
        await run_in_db_pool(add, alice, "written")
        await until(lambda: hands.begun == ["written"])


async def test_what_its_owner_cancels_is_ended_and_settled(
    alice: User, hands: Hands
) -> None:
    task = await run_in_db_pool(add, alice, "long")
    other = await run_in_db_pool(add, alice, "other")
    async with doing():
        await until(lambda: len(hands.begun) == 2)
        await run_in_db_pool(queue.cancel, task)
        await has_state(task, "cancelled")
        assert hands.ended == ["long"]
        assert (await row(other)).state == "processing"


async def test_a_lost_lease_ends_the_work(
    alice: User, hands: Hands, caplog: pytest.LogCaptureFixture
) -> None:
    task = await run_in_db_pool(add, alice, "lost")

    def take_away() -> None:
        QueuedTask.objects.filter(pk=task.pk).update(attempts=7, worker="other")

    async with doing():
        await until(lambda: hands.begun)
        await run_in_db_pool(take_away)
        await until(lambda: hands.ended == ["lost"])
        await until(lambda: "ended too late" in caplog.text)
    found = await row(task)
    assert (found.state, found.attempts, found.worker) == ("processing", 7, "other")


async def test_leases_that_cannot_be_renewed_count_as_lost(
    alice: User, hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "RENEW_EVERY_S", 0.1)
    task = await run_in_db_pool(add, alice, "cut off")

    def gone(*_: object) -> None:
        raise OperationalError("the network is gone")

    async with doing() as loop:
        await until(lambda: hands.begun)
        (held,) = loop._runner._held
        claimed_at = held.renewed_at
        await until(lambda: held.renewed_at > claimed_at)
        assert hands.ended == []
        monkeypatch.setattr(leases, "renew", gone)
        monkeypatch.setattr(leases, "look", gone)
        monkeypatch.setattr(running, "LEASE_S", 0.3)
        await until(lambda: hands.ended[:1] == ["cut off"])
        # The same worker may take it again at once.
        async with asyncio.timeout(15):
            while (found := await row(task)).state != "pending" and found.attempts < 2:
                await asyncio.sleep(0.02)
        assert found.tries == (0 if found.state == "pending" else 1)


async def test_a_worker_that_ends_gives_back_what_runs(
    alice: User, hands: Hands
) -> None:
    tasks = [await run_in_db_pool(add, alice, f"{number}") for number in range(2)]
    async with doing():
        await until(lambda: len(hands.begun) == 2)
    for task in tasks:
        found = await row(task)
        assert (found.state, found.attempts, found.tries) == ("pending", 1, 0)
    hands.go_on.set()
    async with doing():
        assert (await has_state(tasks[0], "done")).attempts == 2


async def test_what_may_end_within_the_grace_does(alice: User, hands: Hands) -> None:
    task = await run_in_db_pool(add, alice, "short")
    engine = SqliteLoop()
    loop = TaskLoop(engine=engine, worker=WORKER)
    worker = Worker(every_s=3600, job=lambda: None, tasks=loop)
    run = asyncio.create_task(worker.run())
    await until(lambda: hands.begun)
    worker.stop()
    await until(lambda: engine._loop is None)  # it has looked for the last time
    later = await run_in_db_pool(add, alice, "later")
    hands.go_on.set()
    await asyncio.wait_for(run, 15)
    assert (await row(task)).state == "done"
    assert (await row(later)).attempts == 0


@pytest.mark.parametrize(
    ("error", "state", "code"),
    [
        (TaskFailed("refused", "No."), "failed", "refused"),
        (TaskFailed("upstream_timeout", "Later.", True), "pending", "upstream_timeout"),
        (RuntimeError("of the text"), "pending", "internal"),
        (asyncio.CancelledError(), "pending", "internal"),
    ],
)
async def test_failures_are_settled(
    alice: User,
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    state: str,
    code: str,
) -> None:
    async def fail(task: QueuedTask) -> Done:
        raise error

    monkeypatch.setitem(kinds.KINDS, "test", fail)
    await run_in_db_pool(add, alice)
    (task,) = await run_in_db_pool(leases.claim, WORKER, 1)
    await Runner(WORKER).work_at(task)
    found = await row(task)
    assert (found.state, found.error_code, found.tries) == (state, code, 1)
    assert "of the text" not in found.error


async def test_an_unknown_kind_fails(alice: User) -> None:
    await run_in_db_pool(add, alice, kind="from-the-future")
    (task,) = await run_in_db_pool(leases.claim, WORKER, 1)
    await Runner(WORKER).work_at(task)
    assert (await row(task)).state == "failed"


async def test_a_failure_that_may_pass_is_given_back_by_a_worker_that_ends(
    alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def busy(task: QueuedTask) -> Done:
        raise TaskFailed("busy", "The server stops.", True)

    monkeypatch.setitem(kinds.KINDS, "test", busy)
    await run_in_db_pool(add, alice)
    (task,) = await run_in_db_pool(leases.claim, WORKER, 1)
    runner = Runner(WORKER)
    runner.drain()
    await runner.work_at(task)
    assert (await row(task)).tries == 0


async def test_an_effect_that_always_fails_is_the_tasks_fault(
    alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise IntegrityError("there is one already")

    async def work(task: QueuedTask) -> Done:
        return Done("x", effect=broken)

    monkeypatch.setitem(kinds.KINDS, "test", work)
    await run_in_db_pool(add, alice)
    (task,) = await run_in_db_pool(leases.claim, WORKER, 1)
    await Runner(WORKER).work_at(task)
    found = await row(task)
    assert (found.state, found.error_code) == ("pending", "internal")


async def test_an_end_is_written_when_the_database_is_back(
    alice: User, hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = leases.settle_done, []

    def refuse(task: QueuedTask, done: Done) -> bool:
        calls.append(task)
        if len(calls) < 3:
            raise OperationalError("database is locked")
        return real(task, done)

    monkeypatch.setattr(leases, "settle_done", refuse)
    monkeypatch.setattr(running, "AGAIN_S", (0.01,))
    hands.go_on.set()
    task = await run_in_db_pool(add, alice, "x")
    async with doing():
        assert (await has_state(task, "done")).attempts == 1
    assert len(calls) == 3


@pytest.mark.skipif(
    "connection.vendor != 'sqlite'", reason="only SQLite is locked as a whole"
)
async def test_a_locked_database_ends_no_loop(alice: User, hands: Hands) -> None:
    hands.go_on.set()
    first = await run_in_db_pool(add, alice, "first")
    path = connection.settings_dict["NAME"]
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        async with doing():
            await has_state(first, "done")
            second = await run_in_db_pool(add, alice, "second", not_before=None)
            other.execute("BEGIN IMMEDIATE")
            await asyncio.sleep(3)  # longer than the time limit of a connection
            other.execute("ROLLBACK")
            assert (await has_state(second, "done")).state == "done"


async def test_work_that_ignores_its_end_holds_up_nobody(
    alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    stubborn = asyncio.Event()

    async def work(task: QueuedTask) -> Done:
        while not stubborn.is_set():
            try:
                await stubborn.wait()
            except asyncio.CancelledError:
                continue
        return Done("in the end")

    monkeypatch.setitem(kinds.KINDS, "test", work)
    task = await run_in_db_pool(add, alice)
    async with doing():
        await has_state(task, "processing")
        await run_in_db_pool(queue.cancel, task)
        await has_state(task, "cancelled")
    stubborn.set()


def test_names_of_workers_are_their_own() -> None:
    names = {running.worker_name() for _ in range(20)}
    assert len(names) == 20
    assert max(map(len, names)) <= 100
