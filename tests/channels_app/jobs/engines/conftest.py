"""Workers inside a test, and a database that can be gone for a while."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pytest
from django.db import OperationalError, connection
from procrastinate.contrib.django.utils import connector_params

from accounts.models import User
from channels_app.jobs import engines, kinds, queue
from channels_app.jobs.engines import sqlite_loop
from channels_app.jobs.kinds import Done, Work
from channels_app.jobs.task_loop import TaskLoop
from channels_app.models import QueuedTask
from routing.db_pool import run_in_db_pool

ENDS_WITHIN_S = 20.0
OVER = {"done", "failed", "dead", "cancelled"}


@dataclass
class Hall:
    """Workers of one test, the tasks they were given and what they did."""

    owner: User
    monkeypatch: pytest.MonkeyPatch
    loops: dict[TaskLoop, asyncio.Task[None]] = field(default_factory=dict)
    begun: list[str] = field(default_factory=list)
    """Texts of the tasks whose work began, in that order."""
    by: dict[str, int] = field(default_factory=dict)
    """How many tasks each worker did."""

    def works(self, work: Work | None = None) -> None:
        """Let tasks of the kind "test" be done by ``work``, at once without it."""

        async def noted(task: QueuedTask) -> Done:
            self.begun.append(task.text)
            self.by[task.worker] = self.by.get(task.worker, 0) + 1
            return await work(task) if work else Done("well done")

        self.monkeypatch.setitem(kinds.KINDS, "test", noted)

    def start(self, concurrency: int = 4) -> TaskLoop:
        """Start a worker; the first one hears what this process queues."""
        engine = type(engines.engine())() if self.loops else None
        loop = TaskLoop(engine=engine, concurrency=concurrency)
        self.loops[loop] = asyncio.create_task(loop.run())
        return loop

    async def stop(self, loop: TaskLoop, grace_s: float = 0.0) -> None:
        """Stop a worker as a signal would."""
        running = self.loops.pop(loop)
        await loop.stop(grace_s)
        await asyncio.wait_for(running, ENDS_WITHIN_S)

    async def add(self, text: str = "task", **fields: Any) -> QueuedTask:
        """Queue a task."""
        owner = fields.pop("owner", self.owner)
        new = queue.NewTask(text, kind="test", **fields)
        return await run_in_db_pool(queue.enqueue, owner, new)

    async def add_many(self, count: int, owner: User | None = None) -> None:
        """Queue many tasks at once; their texts are their numbers."""
        new = [queue.NewTask(str(n), kind="test") for n in range(count)]
        await run_in_db_pool(queue.enqueue_many, owner or self.owner, new)

    async def rows(self) -> list[QueuedTask]:
        """Return all tasks as they are, the oldest first."""
        rows = QueuedTask.objects.order_by("created_at", "not_before", "pk")
        return await run_in_db_pool(lambda: list(rows.all()))

    async def row(self) -> QueuedTask:
        """Return the one task."""
        (row,) = await self.rows()
        return row

    async def until_over(self) -> list[QueuedTask]:
        """Wait until no task is open, and return all."""

        async def over() -> bool:
            try:
                return {row.state for row in await self.rows()} <= OVER
            except OperationalError:  # a server may end a connection late
                return False

        await until(over)
        return await self.rows()


async def until(condition: Callable[[], Awaitable[Any]]) -> None:
    """Wait until ``condition`` is true."""
    async with asyncio.timeout(ENDS_WITHIN_S):
        while not await condition():
            await asyncio.sleep(0.02)


@pytest.fixture
async def hall(
    transactional_db: None, alice: User, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Hall]:
    """Alice's tasks and workers that are stopped at the end."""
    hall = Hall(alice, monkeypatch)
    hall.works()
    yield hall
    for loop in list(hall.loops):
        await hall.stop(loop)


@pytest.fixture
def rare_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let workers look of their own accord only every minute."""
    monkeypatch.setattr(sqlite_loop, "EVERY_S", 60.0)
    if connection.vendor == "postgresql":
        monkeypatch.setattr("channels_app.jobs.engines.procrastinate.EVERY_S", 60.0)


@pytest.fixture
def connection_may_end(transactional_db: None) -> Iterator[None]:
    """Give the test's own thread a new connection before the tables are emptied."""
    yield
    connection.close()


@contextmanager
def database_gone() -> Iterator[None]:
    """Let nobody use the database: locked on SQLite, without connections elsewhere."""
    gone = _locked if connection.vendor == "sqlite" else _without_connections
    with gone(str(connection.settings_dict["NAME"])):
        yield


@contextmanager
def _locked(name: str) -> Iterator[None]:
    with contextlib.closing(sqlite3.connect(name, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield
        other.execute("ROLLBACK")


@contextmanager
def _without_connections(name: str) -> Iterator[None]:
    allow = f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS'
    parameters = {**connector_params(), "dbname": "postgres"}
    with psycopg.connect(**parameters, autocommit=True) as other:
        other.execute(f"{allow} false")
        try:
            other.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = %s",
                [name],
            )
            yield
        finally:
            other.execute(f"{allow} true")
