"""Tasks that run by themselves: kept from being collected, logged when they fail.

And the answers of one that works for many who wait.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

logger = logging.getLogger(__name__)

T = TypeVar("T")

CANCEL_TRIES = 5
CANCEL_PATIENCE_S = 1.0


class TaskSet:
    """The tasks of one owner. Nobody awaits them, so the set must hold them."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Run something in a task of its own and log what it raises."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def cancel(self) -> None:
        """Ask all tasks to end, but not the one that asks."""
        for task in self._others():
            task.cancel()

    async def wait(self, seconds: float) -> None:
        """Wait so long for the end of all tasks, and cancel none."""
        if others := self._others():
            await asyncio.wait(others, timeout=max(0.0, seconds))

    async def end(self, deadline: float | None = None) -> None:
        """Cancel all tasks and wait for their end, until the loop's time is so late.

        Libraries swallow a cancellation now and then, so it is repeated.
        """
        now = asyncio.get_running_loop().time
        latest = now() + CANCEL_TRIES * CANCEL_PATIENCE_S
        deadline = latest if deadline is None else min(deadline, latest)
        for _ in range(CANCEL_TRIES):
            self.cancel()
            left = self._others()
            if not left:
                return
            patience_s = min(CANCEL_PATIENCE_S, deadline - now())
            await asyncio.wait(left, timeout=max(0.0, patience_s))

    def _others(self) -> set[asyncio.Task[None]]:
        return self._tasks - {asyncio.current_task()}

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            logger.error("%s failed", task.get_name(), exc_info=error)


def answer_all(
    waiting: Iterable[asyncio.Future[T]], results: Iterable[T | BaseException]
) -> None:
    """Give each who waits what came of it; those who have gone are passed over."""
    for future, result in zip(waiting, results, strict=True):
        if future.done():
            continue
        if isinstance(result, asyncio.CancelledError):
            future.cancel()
        elif isinstance(result, BaseException):
            future.set_exception(result)
        else:
            future.set_result(result)
