"""Carries deliveries out of this process: claimed in groups, sent side by side.

A courier works for one place (a channel, a webhook's address), so that a place that
hangs holds up nobody else. In each round one crossing into the database writes how
earlier attempts ended and claims the next ones. A courier ends when nothing is due;
whoever has something new wakes it. Couriers belong to one event loop.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final, Generic, TypeVar
from weakref import WeakKeyDictionary, WeakSet

from django.db import Error as DatabaseError

from channels_app.deliveries import SEND_WITHIN_S, DeliveryError
from routing.db_pool import run_in_db_pool

logger = logging.getLogger(__name__)

Job = TypeVar("Job")
Done = tuple[Job, "str | DeliveryError"]
"""A job with what the other side answered, or why it failed."""
Round = Callable[[int, list[Done[Job]], int], list[Job]]
"""``(place, ended, free) → jobs``: write what has ended, claim up to ``free`` more."""

TRIES: Final = 4
PAUSE_S: Final = 1.0


class Couriers(Generic[Job]):
    """The couriers of one kind of delivery, one for each place that has work."""

    def __init__(
        self,
        name: str,
        round_: Round[Job],
        send: Callable[[Job], Awaitable[str]],
        *,
        at_once: int,
    ) -> None:
        """Describe what they do.

        Args:
            name: What is carried, for the log.
            round_: One step in the database, run in the pool.
            send: Sends one job; raises ``DeliveryError``.
            at_once: So many may be under way to one place.
        """
        self.name, self.round, self.send, self.at_once = name, round_, send, at_once
        self._runs: WeakKeyDictionary[
            asyncio.AbstractEventLoop, dict[int, _Courier[Job]]
        ] = WeakKeyDictionary()
        _KINDS.add(self)

    def wake(self, place: int) -> None:
        """Let what is due at a place be carried, and return at once."""
        self._courier(place)

    async def deliver(self, place: int) -> int:
        """Carry what is due at a place; return how many arrived since it was idle.

        Cancelling the caller stops nothing that is under way.
        """
        return await asyncio.shield(self._courier(place).task)

    def _courier(self, place: int) -> _Courier[Job]:
        runs = self._runs.setdefault(asyncio.get_running_loop(), {})
        courier = runs.get(place)
        if courier is None or courier.task.done():
            # One that has just returned stands there until its callback runs.
            courier = runs[place] = _Courier(self, place)
            courier.task.add_done_callback(functools.partial(_forget, runs, place))
        courier.asked.set()
        return courier

    def running(self) -> list[_Courier[Job]]:
        """Return the couriers that are under way in this loop."""
        return list(self._runs.get(asyncio.get_running_loop(), {}).values())


def _forget(
    runs: dict[int, _Courier[Job]], place: int, ended: asyncio.Task[int]
) -> None:
    """Take a courier off its place, unless another one stands there already."""
    courier = runs.get(place)
    if courier is not None and courier.task is ended:
        del runs[place]


_KINDS: WeakSet[Couriers[Any]] = WeakSet()
_CLOSING: WeakSet[asyncio.AbstractEventLoop] = WeakSet()
"""Loops that end: what is still to be sent there is left to other processes."""


async def drain(grace_s: float) -> None:
    """Claim nothing more, let what is under way arrive, and cut off what takes longer.

    What is cut off is taken over by another process when its lease has ended.
    """
    _CLOSING.add(asyncio.get_running_loop())
    running = [courier for kind in _KINDS for courier in kind.running()]
    for courier in running:
        courier.asked.set()
    tasks = [courier.task for courier in running]
    if tasks:
        _, late = await asyncio.wait(tasks, timeout=grace_s)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)


class _Courier(Generic[Job]):
    """Works for one place until nothing is due there."""

    def __init__(self, kind: Couriers[Job], place: int) -> None:
        self._kind, self._place = kind, place
        self._under_way: dict[asyncio.Task[str], Job] = {}
        self.asked = asyncio.Event()
        self.task = asyncio.get_running_loop().create_task(
            self._run(), name=f"{kind.name} to {place}"
        )

    @property
    def _closing(self) -> bool:
        return asyncio.get_running_loop() in _CLOSING

    async def _run(self) -> int:
        try:
            return await self._carry()
        except Exception:  # others are still carried, and the rows are due again
            logger.exception("%s to %d stopped", self._kind.name, self._place)
            return 0
        finally:
            for task in self._under_way:
                task.cancel()

    async def _carry(self) -> int:
        arrived, ended = 0, list[Done[Job]]()
        while True:
            self.asked.clear()
            for job in await self._round(ended):
                self._under_way[asyncio.ensure_future(self._send(job))] = job
            if self._under_way:
                ended = await self._next()
                arrived += sum(isinstance(how, str) for _, how in ended)
            elif self._closing or not self.asked.is_set():
                return arrived
            else:
                ended = []

    async def _round(self, ended: list[Done[Job]]) -> list[Job]:
        """Cross into the database; what has ended must be written, so try again."""
        for attempt in range(1, TRIES + 1):
            free = self._kind.at_once - len(self._under_way)
            try:
                return await run_in_db_pool(
                    self._kind.round,
                    self._place,
                    ended,
                    0 if self._closing else free,
                )
            except DatabaseError:
                if attempt == TRIES:
                    raise
                await asyncio.sleep(PAUSE_S * attempt)
        raise AssertionError("unreachable")

    async def _next(self) -> list[Done[Job]]:
        """Wait until something has ended or somebody asks for a look."""
        asked = asyncio.ensure_future(self.asked.wait())
        try:
            await asyncio.wait(
                [asked, *self._under_way], return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            asked.cancel()
        over = [task for task in self._under_way if task.done()]
        return [(self._under_way.pop(task), _how(task)) for task in over]

    async def _send(self, job: Job) -> str:
        try:
            async with asyncio.timeout(SEND_WITHIN_S):
                return await self._kind.send(job)
        except TimeoutError:
            raise DeliveryError(
                "The other side did not answer in time.", may_have_arrived=True
            ) from None


def _how(task: asyncio.Task[str]) -> str | DeliveryError:
    """Return what a finished attempt brought; a fault of our own is tried again."""
    error = asyncio.CancelledError() if task.cancelled() else task.exception()
    if error is None:
        return task.result()
    if isinstance(error, DeliveryError):
        return error
    logger.error("A delivery failed by a fault of Cortex", exc_info=error)
    return DeliveryError(
        "Cortex could not send it; the server's log says why.",
        retryable=True,
        may_have_arrived=True,
    )
