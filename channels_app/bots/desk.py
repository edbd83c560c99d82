"""Claims events for one event loop and sees that each is worked at to its end.

A desk is woken by whoever has received something, and asked by the worker for what
others left. It works at as many rooms as ``claims`` allows, refreshes its claims while
it works, and ends when nothing is due. What the work is stands in ``answering``.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from typing import Final

from django.db import Error as DatabaseError

from channels_app import turns
from channels_app.bots import claims
from channels_app.bots.claims import Claim
from channels_app.bots.inbox import STOP
from channels_app.tasks import TaskSet
from routing.db_pool import run_in_db_pool

logger = logging.getLogger(__name__)

LEFT_OVER_AFTER: Final = timedelta(seconds=15)
"""What has been due for so long was left by the process that received it."""
LOOK_AGAIN_S: Final = 5.0
FAILED_PAUSES_S: Final = (1, 5, 20, 60)
"""Pauses after attempts that failed by a fault of our own."""
SETTLE_S: Final = 1.0
"""How long the work that is cut off at the end of the process may take to notice."""
DATABASE_PAUSES_S: Final = (0.5, 1, 2, 5, 10)


class GivenBack(Exception):
    """Nothing was begun: the event is open for another process, as it was."""


class Desk:
    """The events that one event loop works at."""

    def __init__(self, work: Callable[[Claim], Awaitable[None]]) -> None:
        """Describe the desk.

        Args:
            work: Works at one event until it is closed. ``GivenBack`` leaves it to
                others at once, any other exception to a later attempt.
        """
        self._work_at = work
        self._tasks = TaskSet()
        self._claims: dict[int, Claim] = {}
        self._work: dict[int, asyncio.Task[None]] = {}
        self._asked = asyncio.Event()
        self._woken = self._left_over = self._closing = False
        self._server: asyncio.Task[None] | None = None
        self._begun = 0

    # --- asking -------------------------------------------------------------------

    def wake(self) -> None:
        """Look for events that are due, and return at once."""
        self._woken = True
        self._serve_soon()

    def _serve_soon(self) -> None:
        self._asked.set()
        if not self._closing and (self._server is None or self._server.done()):
            self._server = self._tasks.spawn(self._serve(), "desk of the bots")

    async def work_off(self) -> int:
        """Work at what others left until nothing is; return how many events it was.

        Looks again every few seconds meanwhile, so that a long answer holds up nobody.
        """
        before, over = self._begun, False
        while not (over or self._ending()):
            self._left_over = True
            self._serve_soon()
            if self._server is not None:
                await asyncio.wait({self._server}, timeout=LOOK_AGAIN_S)
                over = self._server.done()
        return self._begun - before

    def _ending(self) -> bool:
        """Say whether this process takes nothing any more."""
        return self._closing or turns.draining()

    # --- claiming -----------------------------------------------------------------

    async def _serve(self) -> None:
        """Claim events while there are some; keep the claims of those at work."""
        loop, failures = asyncio.get_running_loop(), 0
        refreshed_at = loop.time()
        while not self._closing:
            self._asked.clear()
            try:
                await self._claim()
                if loop.time() - refreshed_at >= claims.REFRESH_EVERY_S:
                    refreshed_at = loop.time()
                    await self._refresh()
            except DatabaseError as error:
                logger.warning("Events could not be claimed: %s", type(error).__name__)
                pause = min(failures, len(DATABASE_PAUSES_S) - 1)
                failures, self._woken = failures + 1, True
                await asyncio.sleep(DATABASE_PAUSES_S[pause])
                continue
            failures = 0
            if not (self._work or self._woken or self._left_over):
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(claims.REFRESH_EVERY_S):
                    await self._asked.wait()

    async def _claim(self) -> None:
        fresh, wanted = self._woken, self._woken or self._left_over
        self._woken = self._left_over = False
        if not wanted or self._ending():
            return
        busy = Counter(
            claim.channel_id for claim in self._claims.values() if claim.kind != STOP
        )
        waited = timedelta(0) if fresh else LEFT_OVER_AFTER
        for claim in await run_in_db_pool(claims.claim_due, busy, waited=waited):
            self._begin(claim, fresh)

    async def _refresh(self) -> None:
        if self._claims:
            lost = await run_in_db_pool(claims.refresh, list(self._claims.values()))
            for event_id in lost:
                if task := self._work.get(event_id):
                    task.cancel()

    def _begin(self, claim: Claim, fresh: bool) -> None:
        """Work at a claimed event in a task of its own.

        ``fresh``: events that come after it are woken for; what is worked off for
        others has to look for the next one itself.
        """
        self._begun += 1
        name = f"answer to event {claim.event_id}"
        task = self._tasks.spawn(self._see_through(claim, fresh), name)
        self._claims[claim.event_id], self._work[claim.event_id] = claim, task

        def ended(_: asyncio.Task[None]) -> None:
            if self._work.get(claim.event_id) is task:
                del self._work[claim.event_id], self._claims[claim.event_id]
            self._woken = self._woken or fresh
            self._asked.set()

        task.add_done_callback(ended)

    async def _see_through(self, claim: Claim, fresh: bool) -> None:
        """Work at one event to its end; failing that, leave it for later."""
        try:
            await self._work_at(claim)
        except GivenBack:
            await run_in_db_pool(claims.release, [claim], counts=False)
            return  # it is its room's first still, so nothing follows it
        except Exception:  # whatever it was, the event is tried again
            logger.exception("Event %d was not answered", claim.event_id)
            pause_s = FAILED_PAUSES_S[min(claim.attempt, len(FAILED_PAUSES_S)) - 1]
            await run_in_db_pool(claims.release, [claim], pause_s=pause_s)
            if fresh:  # who works for others comes by again, and takes nothing new
                asyncio.get_running_loop().call_later(pause_s, self.wake)
            return
        if not (fresh or self._ending()):
            # Who received the next one saw that this one was being worked at.
            following = await run_in_db_pool(
                claims.claim_next, claim.channel_id, claim.room_id
            )
            if following is not None:
                self._begin(following, fresh)

    # --- the end of the process ---------------------------------------------------

    async def close(self, grace_s: float) -> None:
        """Let what is nearly done be stored, and give back the rest."""
        self._closing = True
        self._asked.set()
        if self._work:
            await asyncio.wait(self._work.values(), timeout=grace_s)
        left = list(self._claims.values())
        await self._tasks.end(asyncio.get_running_loop().time() + SETTLE_S)
        if left:
            with suppress(DatabaseError):
                await run_in_db_pool(claims.release, left)
