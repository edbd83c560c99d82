"""The engine of one machine: a loop that looks for tasks in the database.

It looks when something was queued in its own process, when a task has ended, soon after
another process has written to the database file, and once a second. A look that finds
nothing takes no lock.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
from collections.abc import Sequence
from typing import Final

from django.conf import settings
from django.db import Error as DatabaseError
from django.db import connection

from channels_app.jobs import leases
from channels_app.jobs.engines.base import WorkAt
from channels_app.models import QueuedTask
from channels_app.tasks import TaskSet
from routing.db_pool import finish_in_db_pool

logger = logging.getLogger(__name__)

EVERY_S: Final = 1.0
"""What another process queued begins at the latest after so long."""
WATCH_EVERY_S: Final = 0.1
"""How often the database file is asked whether somebody wrote; this reads nothing."""
FAILING_S: Final = 30.0
"""A database that goes on failing is worth a line in the log so often."""


class SqliteLoop:
    """Looks for tasks and works at several of them in one event loop."""

    def __init__(self) -> None:
        self._running = TaskSet()
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._look, self._taking = asyncio.Event(), asyncio.Lock()
        self._stopping = False
        self._next_line = 0.0
        self._wal = ""

    def announce(self, tasks: Sequence[QueuedTask]) -> None:
        """Do nothing: the rows themselves are what the loop looks for."""

    def wake(self) -> None:
        """Look at once, where this process has a loop that runs."""
        with self._lock:
            if self._loop is not None:
                self._loop.call_soon_threadsafe(self._look.set)

    def sweep(self) -> int:
        """Do nothing, as ``announce`` does."""
        return 0

    async def run(self, work_at: WorkAt, *, worker: str, concurrency: int) -> None:
        """Claim tasks and work at up to ``concurrency`` of them, until ``stop``."""
        with self._lock:
            self._loop = asyncio.get_running_loop()
            self._look, self._taking = asyncio.Event(), asyncio.Lock()
        self._stopping = False
        self._wal = f"{connection.settings_dict['NAME']}-wal"
        try:
            while not self._stopping:
                self._look.clear()
                seen = self._written()
                room = concurrency - len(self._running)
                async with self._taking:
                    more = await self._take(work_at, worker, room)
                if not more:
                    await self._wait(seen)
        finally:
            with self._lock:
                self._loop = None

    async def _take(self, work_at: WorkAt, worker: str, room: int) -> bool:
        """Claim and begin what there is room for; say whether there may be more."""
        limit = min(room, settings.CORTEX_QUEUE_BATCH)
        if limit <= 0 or self._stopping:
            return False
        try:
            tasks = await finish_in_db_pool(leases.claim, worker, limit)
        except DatabaseError as error:
            self._complain(error)
            return False
        for task in tasks:
            name = f"task {task.pk}"
            self._running.spawn(self._work(work_at, task), name)
        return bool(tasks)

    async def _work(self, work_at: WorkAt, task: QueuedTask) -> None:
        try:
            await work_at(task)
        finally:
            self._look.set()

    async def _wait(self, seen: tuple[int, int] | None) -> None:
        """Wait until there may be something to do; ``seen``: before the last look."""
        now = asyncio.get_running_loop().time
        deadline = now() + EVERY_S
        while (left_s := deadline - now()) > 0 and self._written() == seen:
            with contextlib.suppress(TimeoutError):
                patience_s = min(WATCH_EVERY_S, left_s)
                await asyncio.wait_for(self._look.wait(), patience_s)
                return

    def _written(self) -> tuple[int, int] | None:
        """Return what changes when somebody writes; ``None`` where nothing tells.

        Source: SQLite's page "Write-Ahead Logging": each change is appended to the WAL.
        """
        try:
            found = os.stat(self._wal)
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size

    def _complain(self, error: Exception) -> None:
        now = asyncio.get_running_loop().time()
        if now >= self._next_line:
            self._next_line = now + FAILING_S
            logger.warning("No tasks can be claimed: %s", error)

    async def stop(self, grace_s: float) -> None:
        """Claim nothing more; cancel what still runs after ``grace_s``."""
        self._stopping = True
        self._look.set()
        async with self._taking:  # what is being claimed counts as well
            pass
        await self._running.wait(grace_s)
        await self._running.end()
