"""Memory: what waited for a review long enough passes, personas that are due distil.

One persona after the other, and one process at a time, also beside the command
``manage.py memory distil``: the same messages are never paid for twice. Only what has
begun within ``WORK_S`` is worked at; the next heartbeat goes on.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import AsyncIterator
from typing import Final

from django.utils import timezone

from channels_app.jobs.beat_step import BeatStep, StepFailed
from channels_app.jobs.exclusive import only_one
from personas.memory import runs, triggers
from personas.memory.distilling import distil
from personas.models import MemoryRun
from routing.db_pool import finish_in_db_pool, run_in_db_pool

logger = logging.getLogger("cortex.memory")

NAME: Final = "memory"
FAULT: Final = "{faults} could not distil by a fault of Cortex; the log says why."
WORK_S: Final = 300.0
WITHIN_S: Final = 1800.0
"""A persona that has begun may take several calls."""


def find() -> int:
    """Count the runs whose time for a review is over, and the personas that are due."""
    now = timezone.now()
    over = MemoryRun.objects.filter(
        state=MemoryRun.State.WAITING, passes_at__lte=now
    ).exclude(persona__memory_settings__enabled=False)
    return over.count() + len(triggers.due(now))


async def work() -> int:
    """Let runs pass and personas distil; return how many of both.

    Raises:
        StepFailed: A persona could not by a fault of Cortex; the others did.
    """
    faults = 0
    done = await run_in_db_pool(runs.pass_due, timezone.now())
    async with alone() as mine:
        if not mine:
            return done
        end = time.monotonic() + WORK_S
        for persona_id in await run_in_db_pool(triggers.due, timezone.now()):
            if time.monotonic() > end:
                break
            try:
                await distil(persona_id)
            except Exception:  # the next persona distils all the same
                logger.exception("persona %d could not distil", persona_id)
                faults += 1
            else:
                done += 1
    if faults:
        raise StepFailed(
            FAULT.format(faults="1 persona" if faults == 1 else f"{faults} personas")
        )
    return done


@contextlib.asynccontextmanager
async def alone() -> AsyncIterator[bool]:
    """Yield whether nobody else distils, on this machine or another one."""
    stack = contextlib.ExitStack()
    try:
        yield await finish_in_db_pool(stack.enter_context, only_one(NAME))
    finally:
        await finish_in_db_pool(stack.close)


STEP: Final = BeatStep(NAME, "Memories of personas", find, work, within_s=WITHIN_S)
