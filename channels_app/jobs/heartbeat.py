"""The heartbeat: what is looked after every few minutes, on one machine at a time.

Each step first counts what there is to do, which is free; only where it found
something it works, and only that may call a model. So a heartbeat of an installation
where nothing happens costs nothing. A step that fails does not stop the others. Each
heartbeat leaves a row that says what was found, what was done, and what it cost.

To let it look after something else, write a ``BeatStep`` and put it into ``STEPS``.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from channels_app.jobs import beat_rows
from channels_app.jobs.beat_step import BeatStep, StepFailed
from channels_app.jobs.beat_steps import STEPS
from channels_app.jobs.exclusive import only_one
from channels_app.models import Beat
from routing.db_pool import finish_in_db_pool, run_in_db_pool

__all__ = ["STEPS", "BeatReport", "BeatStep", "StepFailed", "beat", "keep_beating"]

logger = logging.getLogger("cortex.heartbeat")

NAME: Final = "heartbeat"
ALIVE_EVERY_S: Final = 10.0
FIRST_AFTER_S: Final = 3.0
"""The worker's other clocks begin first."""
LOOK_EVERY_S: Final = 2.0
AT_FAULT: Final = "It failed by a fault of Cortex; the server's log says why."
TOO_SLOW: Final = "It took too long and was ended."


@dataclass(slots=True)
class BeatReport:
    """What one heartbeat did, by the names of its steps."""

    ran: bool = True
    """False while another one was running, or when it was not due any more."""
    found: dict[str, int] = field(default_factory=dict)
    done: dict[str, int] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    """A sentence for each step that failed."""
    model_calls: int = 0
    cost_nano_usd: int | None = 0
    """``None`` = unknown."""
    seconds: float = 0.0


async def beat(
    by_hand: bool = False,
    *,
    every_s: float | None = None,
    asked: bool = False,
    steps: Sequence[BeatStep] = STEPS,
) -> BeatReport:
    """Let every step look and work once, unless a heartbeat is running already.

    Args:
        by_hand: Somebody asked for it.
        every_s: Do nothing unless the last one is so long ago.
        asked: Do nothing unless somebody asked on the page and none has begun since.
        steps: Instead of the usual ones.

    A heartbeat that is cancelled ends at once and says so in its row.
    """
    stack = contextlib.ExitStack()
    try:
        if await finish_in_db_pool(stack.enter_context, only_one(NAME)):
            begun = await finish_in_db_pool(_begin, by_hand, every_s, asked)
            if begun is not None:
                return await _Beating(*begun).run(steps)
        return BeatReport(ran=False)
    finally:
        await finish_in_db_pool(stack.close)


def _begin(
    by_hand: bool, every_s: float | None, asked: bool
) -> tuple[Beat, int] | None:
    after = beat_rows.last_entry()
    row = beat_rows.begin(by_hand=by_hand, every_s=every_s, asked=asked)
    return None if row is None else (row, after)


class _Beating:
    """One heartbeat under way."""

    def __init__(self, row: Beat, after: int) -> None:
        self._row, self._after, self._given_up = row, after, False

    async def run(self, steps: Sequence[BeatStep]) -> BeatReport:
        """Go through the steps while the row is kept alive."""
        working = asyncio.create_task(self._work(steps))
        alive = asyncio.create_task(self._stay_alive(working))
        try:
            await working
        except asyncio.CancelledError:
            if not self._given_up:
                raise
            self._row.failed[beat_rows.WHOLE] = beat_rows.DIED
        finally:
            alive.cancel()
        return self._report()

    async def _work(self, steps: Sequence[BeatStep]) -> None:
        end = beat_rows.stop
        try:
            for step in steps:
                await self._take(step)
            end = beat_rows.finish
        finally:
            await finish_in_db_pool(end, self._row, self._after)

    async def _stay_alive(self, working: asyncio.Task[None]) -> None:
        """Refresh the row; one that another process closed ends the heartbeat."""
        while True:
            await asyncio.sleep(ALIVE_EVERY_S)
            try:
                if await run_in_db_pool(beat_rows.note, self._row.pk):
                    continue
            except Exception:  # the next sign of life may be written
                logger.exception("the heartbeat showed no sign of life")
                continue
            if not working.done():
                logger.error("the heartbeat was given up by another process")
                self._given_up = True
                working.cancel()
            return

    async def _take(self, step: BeatStep) -> None:
        row = self._row
        try:
            row.found[step.name] = found = await run_in_db_pool(step.find)
            if found:
                await self._note()
                async with asyncio.timeout(step.within_s):
                    row.done[step.name] = await step.work()
        except StepFailed as error:
            row.failed[step.name] = str(error)
            logger.error("the step %s of the heartbeat failed: %s", step.name, error)
        except TimeoutError:
            row.failed[step.name] = TOO_SLOW
            logger.exception("the step %s of the heartbeat took too long", step.name)
        except Exception:  # the other steps are taken all the same
            row.failed[step.name] = AT_FAULT
            logger.exception("the step %s of the heartbeat failed", step.name)
        else:
            if not found:
                return
            if row.done[step.name]:
                logger.info("%s: %d of %d", step.name, row.done[step.name], found)
        await self._note()

    async def _note(self) -> None:
        """Write how far it is, for those who watch."""
        row = self._row
        with contextlib.suppress(Exception):  # it is written again at the end
            await run_in_db_pool(
                beat_rows.note,
                row.pk,
                found=row.found,
                done=row.done,
                failed=row.failed,
            )

    def _report(self) -> BeatReport:
        row = self._row
        ended = row.finished_at or row.started_at
        return BeatReport(
            found=row.found,
            done=row.done,
            failed=row.failed,
            model_calls=row.model_calls,
            cost_nano_usd=row.cost_nano_usd,
            seconds=round((ended - row.started_at).total_seconds(), 3),
        )


async def keep_beating() -> None:
    """Beat whenever it is due or somebody asks for it, until it is cancelled."""
    await asyncio.sleep(FIRST_AFTER_S)
    # Whoever starts Cortex anew, as after a change, need not wait for long.
    every_s = min(beat_rows.every(), beat_rows.AGAIN_AFTER_S)
    while True:
        try:
            why = await run_in_db_pool(beat_rows.due, every_s)
            if why == "hand":
                await beat(by_hand=True, asked=True)
            elif why == "clock":
                await beat(every_s=every_s)
            if why is not None:
                every_s = beat_rows.every()
        except Exception:  # the next one may succeed
            logger.exception("the heartbeat failed")
        await asyncio.sleep(LOOK_EVERY_S)
