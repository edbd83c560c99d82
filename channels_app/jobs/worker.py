"""The worker process: one event loop for everything that happens without a request.

Runs the tick every ten seconds, and beside it, so that none waits for another, the
tasks of the queue, the chores every other second and the heartbeat every few minutes.
When a signal comes or its supervisor dies it begins nothing more, breaks a heartbeat
off, lets running tasks, turns and deliveries end for a while, and stops.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Awaitable, Callable, Mapping

from channels_app import couriers, turns
from channels_app.bots import answering
from channels_app.jobs import chores, tick
from channels_app.jobs.recall import service as recall_service
from channels_app.jobs.task_loop import TaskLoop
from channels_app.server import lifeline
from routing import net
from routing.db_pool import run_in_db_pool

logger = logging.getLogger("cortex.worker")

GRACE_S = 8.0
"""Answers that are being written when the worker is asked to stop get this long."""
TASK_GRACE_S = GRACE_S - 1.0
"""Tasks get this long: they are given back before the turns they wait for are ended."""
SEND_GRACE_S = 1.5
"""Answers get this long to be stored then, and as long to be sent.

The supervisor ends everything after 20 s; with ``turns.SETTLE_S`` all this takes 14 s,
and the rest is for a database that is slow and a machine that is busy.
"""


class Worker:
    """Runs the clocks of one process until it is asked to stop."""

    def __init__(
        self,
        *,
        every_s: float = tick.EVERY_S,
        job: Callable[[], object] = tick.tick,
        heartbeat: Callable[[], Awaitable[None]] | None = None,
        look_after: Mapping[str, chores.Chore] | None = None,
        tasks: TaskLoop | None = None,
    ) -> None:
        """Describe the worker; ``run`` starts it.

        Args:
            every_s: Seconds between the starts of two ticks.
            job: The tick, run in the database pool.
            heartbeat: Beats again and again until it is cancelled. ``None`` = never.
            look_after: Chores to be done every other second, by name.
            tasks: Does the tasks of the queue. ``None`` = nobody does.
        """
        self._every_s = every_s
        self._job = job
        self._heartbeat = heartbeat
        self._chores = look_after or {}
        self._tasks = tasks
        self._stop = asyncio.Event()

    async def run(self) -> None:
        """Tick at once and then regularly; return when ``stop`` was called."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, self.stop)
        lifeline.watch(loop, self.stop)
        beating = asyncio.create_task(self._beat())
        doing = asyncio.create_task(self._do_tasks())
        working = [
            asyncio.create_task(self._look_after(name, chore))
            for name, chore in self._chores.items()
        ]
        while not self._stop.is_set():
            started = loop.time()
            await self._tick()
            await self._pause(self._every_s - (loop.time() - started))
        beating.cancel()
        await self._end(doing, [beating, *working])

    async def _do_tasks(self) -> None:
        """Do tasks until ``stop``; what runs then may go on for a while."""
        if self._tasks is None:
            return
        running = asyncio.create_task(self._tasks.run())
        await self._stop.wait()
        await self._tasks.stop(TASK_GRACE_S)
        await running

    async def _beat(self) -> None:
        """Have a second, slower clock beside the tick's."""
        if self._heartbeat is not None:
            await self._heartbeat()

    async def _look_after(self, name: str, chore: chores.Chore) -> None:
        """Do a chore at once and then again and again."""
        while not self._stop.is_set():
            try:
                await chore()
            except Exception:  # no chore's fault may end the worker
                logger.exception("looking after %s failed", name)
            await self._pause(chores.EVERY_S)

    @staticmethod
    async def _end(
        doing: asyncio.Task[None], working: list[asyncio.Task[None]]
    ) -> None:
        """Let what runs end for a while, then cut it off."""
        await asyncio.gather(
            turns.drain(GRACE_S),
            asyncio.wait({doing}, timeout=GRACE_S + turns.SETTLE_S),
        )
        await answering.drain(SEND_GRACE_S)
        await couriers.drain(SEND_GRACE_S)
        for task in (doing, *working):
            task.cancel()
        await asyncio.gather(doing, *working, return_exceptions=True)
        await recall_service.close()
        await net.close()

    async def _pause(self, seconds: float) -> None:
        """Wait so long, or until ``stop``."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), max(0.0, seconds))

    async def _tick(self) -> None:
        try:
            await run_in_db_pool(self._job)
        except Exception:  # nor a tick's
            logger.exception("the tick failed")

    def stop(self) -> None:
        """End ``run`` after the tick that is running."""
        self._stop.set()
