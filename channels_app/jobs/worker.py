"""The worker process: one event loop for everything that happens without a request.

Runs the tick every ten seconds. Stops after the tick that is running when a signal
comes or its supervisor dies.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Callable

from channels_app.jobs import tick
from channels_app.server import lifeline
from routing.db_pool import run_in_db_pool

logger = logging.getLogger("cortex.worker")


class Worker:
    """Runs the clocks of one process until it is asked to stop."""

    def __init__(
        self, *, every_s: float = tick.EVERY_S, job: Callable[[], object] = tick.tick
    ) -> None:
        """Describe the worker; ``run`` starts it.

        Args:
            every_s: Seconds between the starts of two ticks.
            job: The tick, run in the database pool.
        """
        self._every_s = every_s
        self._job = job
        self._stop = asyncio.Event()

    async def run(self) -> None:
        """Tick at once and then regularly; return when ``stop`` was called."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, self.stop)
        lifeline.watch(loop, self.stop)
        while not self._stop.is_set():
            started = loop.time()
            await self._tick()
            left_s = max(0.0, self._every_s - (loop.time() - started))
            try:
                await asyncio.wait_for(self._stop.wait(), left_s)
            except TimeoutError:
                continue

    async def _tick(self) -> None:
        try:
            await run_in_db_pool(self._job)
        except Exception:
            logger.exception("the tick failed")

    def stop(self) -> None:
        """End ``run`` after the tick that is running."""
        self._stop.set()
