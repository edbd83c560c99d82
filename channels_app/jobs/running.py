"""Works at the tasks that a worker has claimed, and keeps its leases.

Each task runs in a task of the event loop, which is cancelled when its owner cancels
it, when its lease is lost, or when the worker has to end; what runs must then end its
model call. One statement every five seconds renews all leases of the process, and one
query every second finds what was cancelled – only while something runs.
"""

from __future__ import annotations

import asyncio
import enum
import functools
import logging
import os
import secrets
import socket
from dataclasses import dataclass
from typing import Final

from django.db import Error as DatabaseError

from channels_app.jobs import leases
from channels_app.jobs.kinds import Done, TaskFailed, work_of
from channels_app.jobs.settling import PASSES, DoneEnd, Settlement, Settler
from channels_app.models import QueuedTask

logger = logging.getLogger("cortex.worker")

LOOK_EVERY_S: Final = 1.0
LEASE_S: Final = leases.LEASE.total_seconds()
END_TRIES: Final = 5
"""Libraries swallow a cancellation now and then, so it is repeated, once a second."""
AGAIN_S: Final = (0.1, 0.5, 1.0, 2.0, 5.0)
"""Pauses before an end is written again to a database that cannot be used; the last
one repeats."""
TRIES_AT_END: Final = 3
"""A worker that has to end leaves what it cannot write after so many tries to the
rescue by another one."""
OUR_FAULT: Final = "Something went wrong in Cortex; the log has the reason."


class Why(enum.Enum):
    """Why a task is ended before it is done."""

    CANCELLED = "cancelled by its owner"
    LOST = "the lease was lost"
    DRAINED = "the worker ends"


@dataclass(slots=True, eq=False)
class _Held:
    """A task that this process works at."""

    task: QueuedTask
    renewed_at: float
    """By the loop's clock."""
    work: asyncio.Task[Done]
    why: Why | None = None


def worker_name() -> str:
    """Return a name that no other worker has, now or later."""
    host = socket.gethostname()[:60]
    return f"{host}-{os.getpid()}-{secrets.token_hex(4)}"


class Runner:
    """Works at tasks in one event loop in the name of one worker."""

    def __init__(self, worker: str) -> None:
        """Work in the name of ``worker``, which claims the tasks."""
        self._worker = worker
        self._held: set[_Held] = set()
        self._settler = Settler()
        self._draining = False

    def __len__(self) -> int:
        return len(self._held)

    def drain(self) -> None:
        """From now on give back what could be tried again: the process ends."""
        self._draining = True

    async def work_at(self, task: QueuedTask) -> None:
        """Do a claimed task and settle it; cancelled, give it back."""
        work = asyncio.ensure_future(_do(task))
        held = _Held(task, asyncio.get_running_loop().time(), work)
        self._held.add(held)
        run = asyncio.create_task(self._run(held), name=f"settling of {task.pk}")
        try:
            while not run.done():
                try:
                    await asyncio.shield(run)
                except asyncio.CancelledError:
                    self._draining = True
                    self._end(held, Why.DRAINED)
        finally:
            self._held.discard(held)

    # --- one task ---------------------------------------------------------------

    async def _run(self, held: _Held) -> None:
        try:
            await self._wait_for(held)
            await self._write(held, self._end_of(held))
        except Exception:  # the lease will end and somebody else begin anew
            logger.exception("task %s could not be settled", held.task.pk)

    @staticmethod
    async def _wait_for(held: _Held) -> None:
        """Wait until the work is over, or does not end although it is cancelled."""
        tries = 0
        while not held.work.done():
            await asyncio.wait({held.work}, timeout=LOOK_EVERY_S)
            if held.why is None or held.work.done():
                continue
            tries += 1
            if tries > END_TRIES:
                logger.error("task %s does not end when cancelled", held.task.pk)
                return
            held.work.cancel()

    def _end_of(self, held: _Held) -> Settlement:
        """Return what writes how a task ended."""
        task, work, give_back = held.task, held.work, held.why is Why.DRAINED
        if not work.done() or work.cancelled():
            if held.why is Why.CANCELLED:
                return functools.partial(leases.settle_cancelled, task)
            if give_back or self._draining or held.why is Why.LOST:
                return functools.partial(leases.give_back, task)
            return _failure(task, TaskFailed("internal", OUR_FAULT, retryable=True))
        error = work.exception()
        if error is None:
            return DoneEnd(task, work.result())
        if held.why is Why.CANCELLED:
            return functools.partial(leases.settle_cancelled, task)
        if not isinstance(error, TaskFailed):
            logger.error("task %s failed", task.pk, exc_info=error)
            error = TaskFailed("internal", OUR_FAULT, retryable=True)
        if error.retryable and self._draining:
            return functools.partial(leases.give_back, task)
        return _failure(task, error)

    async def _write(self, held: _Held, settlement: Settlement) -> None:
        try:
            await self._write_out(held, settlement)
        except PASSES:
            raise
        except Exception:  # what the end should write is at fault, not the database
            logger.exception("the end of task %s failed", held.task.pk)
            fault = TaskFailed("internal", OUR_FAULT, retryable=True)
            await self._write_out(held, _failure(held.task, fault))

    async def _write_out(self, held: _Held, settlement: Settlement) -> None:
        """Write an end, again and again while the database cannot be used."""
        tries = 0
        while True:
            try:
                if not await self._settler.settle(settlement):
                    logger.warning("task %s ended too late", held.task.pk)
                return
            except PASSES as error:
                tries += 1
                if held.why is Why.LOST or (self._draining and tries >= TRIES_AT_END):
                    raise
                logger.warning("task %s is not settled yet: %s", held.task.pk, error)
                await asyncio.sleep(AGAIN_S[min(tries, len(AGAIN_S)) - 1])

    # --- all of them --------------------------------------------------------------

    async def keep(self) -> None:
        """Renew leases and end what was cancelled or lost, until it is cancelled."""
        expiring = asyncio.create_task(self._end_expired())
        try:
            await self._renew_and_look()
        finally:
            expiring.cancel()
            await asyncio.gather(expiring, return_exceptions=True)

    async def _end_expired(self) -> None:
        """End what was not renewed in time, also while the database does not answer.

        By then others work at it: a host that is cut off must not go on spending.
        """
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            now = asyncio.get_running_loop().time()
            for held in list(self._held):
                if now - held.renewed_at > LEASE_S:
                    self._end(held, Why.LOST)

    async def _renew_and_look(self) -> None:
        now = asyncio.get_running_loop().time
        renewed_at = now()
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            due = now() - renewed_at >= leases.RENEW_EVERY_S - LOOK_EVERY_S / 2
            if not self._held:
                continue
            try:
                await self._look(renew=due)
            except DatabaseError as error:
                logger.warning("The leases of tasks are not renewed: %s", error)
            else:
                renewed_at = now() if due else renewed_at

    async def _look(self, *, renew: bool) -> None:
        asked_at = asyncio.get_running_loop().time()
        mine = {held.task.pk: held for held in self._held if held.why is not Why.LOST}
        attempts = {pk: held.task.attempts for pk, held in mine.items()}
        work = (
            functools.partial(leases.renew, self._worker, attempts)
            if renew
            else functools.partial(leases.look, attempts)
        )
        found = await self._settler.write(work)
        for pk, held in mine.items():
            if pk in found.lost:
                self._end(held, Why.LOST)
            elif pk in found.cancelled:
                self._end(held, Why.CANCELLED)
            if renew and pk not in found.lost:
                held.renewed_at = asked_at

    @staticmethod
    def _end(held: _Held, why: Why) -> None:
        """End the work, if it is not over or being ended already."""
        if held.why is None and not held.work.done():
            logger.info("task %s is ended: %s", held.task.pk, why.value)
            held.why = why
            held.task.lost = why is Why.LOST
            held.work.cancel()


async def _do(task: QueuedTask) -> Done:
    return await work_of(task)(task)


def _failure(task: QueuedTask, error: TaskFailed) -> Settlement:
    return functools.partial(
        leases.settle_failed,
        task,
        error.code,
        error.sentence,
        retryable=error.retryable,
    )
