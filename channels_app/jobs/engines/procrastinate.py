"""The engine of several machines: Procrastinate brings tasks to workers by PostgreSQL.

Its worker listens (LISTEN/NOTIFY), looks once a second for what became due, and
outlives a database that is away: nothing here ends a task that runs, only the loss of
its lease does. What jobs have to do with rows is ``procrastinate_jobs``.

Source: https://procrastinate.readthedocs.io/en/stable/, "Worker", and the source of
procrastinate.worker and procrastinate.manager in version 3.10.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections.abc import Iterable, Sequence
from typing import Any, Final

import psycopg
from django.conf import settings
from django.db import DatabaseError
from procrastinate import App, PsycopgConnector
from procrastinate.contrib.django.utils import connector_params
from procrastinate.exceptions import ConnectorException
from procrastinate.jobs import Job, Status
from procrastinate.manager import JobManager, NotificationCallback
from procrastinate.worker import Worker

from channels_app.jobs import leases
from channels_app.jobs.engines import procrastinate_jobs
from channels_app.jobs.engines.base import WorkAt
from channels_app.jobs.engines.procrastinate_jobs import QUEUE, TASK
from channels_app.models import QueuedTask
from routing.db_pool import finish_in_db_pool

logger = logging.getLogger(__name__)

EVERY_S: Final = 1.0
"""What became due begins at the latest after so long, and so does a new look."""
HEARTBEAT_S: Final = 5.0
STALLED_S: Final = 30.0
"""A worker that was silent for so long is taken off the list of workers."""
CONNECTIONS: Final = 2
"""Of the library's worker, which only registers, sends heartbeats and listens."""
GATHER_S: Final = 0.005
"""A worker that is at work claims so much later, so that one claim, several ways to the
server and back, fills all places that become free at nearly the same moment."""
ANSWER_WITHIN_S: Final = 5.0
FAILING_S: Final = 30.0
"""A database that goes on failing is worth a line in the log so often."""
_FAILURES: Final = (DatabaseError, psycopg.Error, ConnectorException, OSError)


class ProcrastinateEngine:
    """Brings tasks to the workers of all machines on one PostgreSQL."""

    def __init__(self) -> None:
        self._worker: Worker | None = None
        self._serving: asyncio.Task[None] | None = None
        self._stopping = False

    def announce(self, tasks: Sequence[QueuedTask]) -> None:
        """Defer a job for each task, on the caller's connection."""
        procrastinate_jobs.defer(tasks)

    def wake(self) -> None:
        """Do nothing: PostgreSQL notifies the workers when the caller commits."""

    def sweep(self) -> int:
        """Announce what waits and has no job."""
        return procrastinate_jobs.sweep()

    async def run(self, work_at: WorkAt, *, worker: str, concurrency: int) -> None:
        """Work at up to ``concurrency`` tasks at once, until ``stop``."""
        self._stopping = False
        try:
            while not self._stopping:
                self._serving = asyncio.create_task(
                    self._serve(work_at, worker, concurrency)
                )
                await asyncio.wait([self._serving])
                if not self._stopping:
                    await asyncio.sleep(EVERY_S)
        finally:
            await self.stop(0.0)

    async def _serve(self, work_at: WorkAt, name: str, concurrency: int) -> None:
        """Run the library's worker; return when the database does not let it begin."""
        connector = PsycopgConnector(
            kwargs=connector_params(),
            min_size=1,
            max_size=CONNECTIONS,
            timeout=ANSWER_WITHIN_S,
        )
        app = App(connector=connector)
        app.job_manager = manager = ClaimingManager(connector, name, concurrency)

        @app.task(name=TASK)
        async def bring(task: str) -> None:
            await work_at(manager.claimed.pop(task))

        self._worker = Worker(
            app,
            queues=[QUEUE],
            name=name,
            concurrency=concurrency,
            fetch_job_polling_interval=EVERY_S,
            install_signal_handlers=False,
            update_heartbeat_interval=HEARTBEAT_S,
            stalled_worker_timeout=STALLED_S,
        )
        try:
            async with app.open_async():
                await self._worker.run()  # type: ignore[no-untyped-call]
        except _FAILURES as error:
            manager.complain(error)
        finally:
            # What is cancelled while it opens leaves the pool's own tasks behind.
            await connector.close_async()
            await manager.give_back()

    async def stop(self, grace_s: float) -> None:
        """Take nothing more; cancel what still runs after ``grace_s``."""
        self._stopping = True
        if self._serving is None:
            return
        if self._worker is not None:
            self._worker.shutdown_graceful_timeout = grace_s
        self._serving.cancel()
        await asyncio.wait([self._serving])


class ClaimingManager(JobManager):
    """Takes several jobs at once, each with its row, and survives failures.

    The library's worker ends when one of these methods raises, so none does. A job went
    when its row was claimed, so nothing is left to be written when it has finished.
    """

    def __init__(self, connector: Any, worker: str, concurrency: int) -> None:
        super().__init__(connector)
        self.claimed: dict[str, QueuedTask] = {}
        """Tasks that have not begun, by their ids."""
        self._worker = worker
        self._concurrency = self._free = concurrency
        self._next: list[Job] = []
        self._numbers = itertools.count(1)
        self._next_line = 0.0

    async def fetch_job(
        self, queues: Iterable[str] | None, worker_id: int
    ) -> Job | None:
        """Return a job whose row was claimed, or ``None`` when nothing is due."""
        if not self._next:
            if self._free < self._concurrency:
                await asyncio.sleep(GATHER_S)
            limit = max(1, min(self._free, settings.CORTEX_QUEUE_BATCH))
            try:
                tasks = await finish_in_db_pool(
                    procrastinate_jobs.take, self._worker, limit
                )
            except _FAILURES as error:
                self.complain(error)
                return None
            self.claimed |= {str(task.pk): task for task in tasks}
            self._next = [self._job(task) for task in reversed(tasks)]
        if not self._next:
            return None
        self._free -= 1
        return self._next.pop()

    def _job(self, task: QueuedTask) -> Job:
        return Job(
            id=next(self._numbers),
            queue=QUEUE,
            task_name=TASK,
            lock=None,
            queueing_lock=None,
            task_kwargs={"task": str(task.pk)},
        )

    async def finish_job(self, job: Job, status: Status, delete_job: bool) -> None:
        """Note that there is room for another one."""
        self._free += 1

    async def update_heartbeat(self, worker_id: int) -> None:
        """Say that this worker is alive, if the database listens."""
        with contextlib.suppress(*_FAILURES):
            await super().update_heartbeat(worker_id)

    async def listen_for_jobs(
        self,
        *,
        on_notification: NotificationCallback,
        queues: Iterable[str] | None = None,
    ) -> None:
        """Listen, and begin anew whenever the connection is lost."""
        while True:
            with contextlib.suppress(*_FAILURES):
                await super().listen_for_jobs(
                    on_notification=on_notification, queues=queues
                )
            await asyncio.sleep(EVERY_S)

    async def give_back(self) -> None:
        """Let others have what was claimed and has not begun."""
        left, self.claimed = list(self.claimed.values()), {}
        for task in left:
            with contextlib.suppress(*_FAILURES):  # its lease ends anyway
                await finish_in_db_pool(leases.give_back, task)

    def complain(self, error: Exception) -> None:
        """Log that the database does not answer, now and then."""
        now = asyncio.get_running_loop().time()
        if now >= self._next_line:
            self._next_line = now + FAILING_S
            logger.warning("No tasks can be claimed: %s", error)
