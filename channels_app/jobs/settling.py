"""Writes what comes of tasks and their leases, together where they wait together.

Ends that arrive at the same moment share one transaction: while one batch is being
written the next ones gather. Only one of a process is written at a time, so that its
renewals and ends never block each other.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from django.db import InterfaceError, OperationalError

from channels_app.jobs import leases
from channels_app.jobs.ends_together import together
from channels_app.jobs.kinds import Done
from channels_app.models import QueuedTask
from channels_app.tasks import TaskSet, answer_all
from routing.db_pool import run_in_db_pool

logger = logging.getLogger(__name__)

T = TypeVar("T")
Settlement = Callable[[], bool]
"""Writes an end; synchronous; ``False`` when the lease was lost. May be called again
after a failure."""


@dataclass(frozen=True, slots=True)
class DoneEnd:
    """The end of a task that was done; many of them share one statement."""

    task: QueuedTask
    result: Done

    def __call__(self) -> bool:
        """Write it alone."""
        return leases.settle_done(self.task, self.result)


BATCH: Final = 100
"""Most ends of one transaction."""
PASSES: Final = (OperationalError, InterfaceError)
"""Failures of a database that cannot be used at this moment."""


class Settler:
    """Writes for one event loop, one batch after the other."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[Settlement, asyncio.Future[bool]]] = deque()
        self._tasks = TaskSet()
        self._flushing = False
        self._writing = asyncio.Lock()

    async def settle(self, settlement: Settlement) -> bool:
        """Write an end and return what it says; raises what it raises."""
        done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append((settlement, done))
        if not self._flushing:
            self._flushing = True
            self._tasks.spawn(self._flush(), "settling of tasks")
        return await done

    async def write(self, function: Callable[[], T]) -> T:
        """Write something else, never at the same moment as an end."""
        async with self._writing:
            return await run_in_db_pool(function)

    async def _flush(self) -> None:
        try:
            while self._waiting:
                async with self._writing:
                    count = min(BATCH, len(self._waiting))
                    batch = [self._waiting.popleft() for _ in range(count)]
                    await self._settle(batch)
        finally:
            self._flushing = False

    @staticmethod
    async def _settle(batch: Sequence[tuple[Settlement, asyncio.Future[bool]]]) -> None:
        waiting = [done for _, done in batch]
        try:
            calls = [settlement for settlement, _ in batch]
            results = await run_in_db_pool(settle_together, calls)
        except BaseException as error:
            answer_all(waiting, [error] * len(batch))
            if not isinstance(error, Exception):
                raise
        else:
            answer_all(waiting, results)


def settle_together(calls: Sequence[Settlement]) -> Sequence[bool | BaseException]:
    """Write ends in one transaction; where one fails, each in one of its own."""
    try:
        with together():
            done = [call for call in calls if isinstance(call, DoneEnd)]
            ends = [(end.task, end.result) for end in done]
            written = iter(leases.settle_all_done(ends))
            return [
                next(written) if isinstance(call, DoneEnd) else call() for call in calls
            ]
    except Exception as error:  # told to whoever waits for that end
        if len(calls) == 1 or isinstance(error, PASSES):
            return [error] * len(calls)
    return [settle_together([call])[0] for call in calls]
