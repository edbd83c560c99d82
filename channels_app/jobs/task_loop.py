"""The part of a worker that does tasks: an engine brings them, a runner does them."""

from __future__ import annotations

import asyncio
import logging

from django.conf import settings

from channels_app.jobs import engines, rescuing
from channels_app.jobs.engines.base import Engine
from channels_app.jobs.running import Runner, worker_name
from routing.db_pool import run_in_db_pool

logger = logging.getLogger("cortex.worker")

RESCUE_EVERY_S = 10.0
"""As often as the tick, which one process runs for all: should that one hang while it
does, tasks are rescued by the others all the same."""
AGAIN_S = 1.0
"""An engine that failed is started again after so long."""


class TaskLoop:
    """Does tasks in this process until it is stopped."""

    def __init__(
        self,
        *,
        engine: Engine | None = None,
        worker: str = "",
        concurrency: int | None = None,
    ) -> None:
        """Describe the loop; ``run`` starts it. Defaults are those of the settings."""
        self._engine = engine or engines.engine()
        self._worker = worker or worker_name()
        self._concurrency = concurrency or settings.CORTEX_WORKER_CONCURRENCY
        self._runner = Runner(self._worker)
        self._stopped = asyncio.Event()

    async def run(self) -> None:
        """Bring tasks and do them; whatever fails, until ``stop``."""
        beside = [asyncio.create_task(self._keep())]
        beside.append(asyncio.create_task(self._rescue()))
        try:
            while not self._stopped.is_set():
                await self._bring()
        finally:
            for each in beside:
                each.cancel()
            await asyncio.gather(*beside, return_exceptions=True)

    async def _bring(self) -> None:
        try:
            await self._engine.run(
                self._runner.work_at,
                worker=self._worker,
                concurrency=self._concurrency,
            )
        except Exception:  # no fault of an engine may end the worker
            logger.exception("the engine of the queue failed")
            await asyncio.sleep(AGAIN_S)

    async def _keep(self) -> None:
        while True:
            try:
                await self._runner.keep()
            except Exception:  # leases are worth another try in any case
                logger.exception("the leases of tasks could not be kept")
                await asyncio.sleep(AGAIN_S)

    @staticmethod
    async def _rescue() -> None:
        while True:
            await asyncio.sleep(RESCUE_EVERY_S)
            try:
                await run_in_db_pool(rescuing.rescue)
            except Exception:  # the next one may succeed
                logger.exception("tasks of other workers could not be rescued")

    async def stop(self, grace_s: float) -> None:
        """Begin nothing more; give back what does not end within ``grace_s``."""
        self._stopped.set()
        self._runner.drain()
        try:
            await self._engine.stop(grace_s)
        except Exception:  # other parts of the worker have to end as well
            logger.exception("the engine of the queue did not stop")
