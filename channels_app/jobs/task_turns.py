"""Begins the turns of tasks where there is room for one more, and ends lost ones.

A task whose lease is lost may be somebody else's by then, so that its turn has to end
at once, also where the database is out of reach.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Final, TypeVar
from uuid import UUID

from channels_app import turns
from channels_app.bots.answering import BUSY_PAUSES_S
from channels_app.errors import TurnError
from channels_app.jobs.kinds import TaskFailed
from channels_app.live_turns import stop_local
from channels_app.models import QueuedTask
from channels_app.turn_requests import StartRequest

T = TypeVar("T")
ROOM_EVERY_S: Final = 1.0
"""Pause until it is looked again whether a person has room for one more turn."""


async def begun(start: Callable[[], Awaitable[T]]) -> T:
    """Return what ``start`` begins, which is called again until there is room for it.

    Many answers for one person end by themselves, so that they are waited for however
    long that takes; another one in the same conversation for some minutes.

    Raises:
        TaskFailed: It was refused, or the process takes no turns any more.
    """
    pauses = iter(BUSY_PAUSES_S)
    while True:
        try:
            return await start()
        except TurnError as error:
            pause_s = _pause_s(error, pauses)
            if pause_s is None or turns.draining():
                raise TaskFailed(error.code, error.message, error.retryable) from None
        await asyncio.sleep(pause_s)


def _pause_s(refusal: TurnError, pauses: Iterator[float]) -> float | None:
    if refusal.code == "too_many":
        return ROOM_EVERY_S
    return next(pauses, None) if refusal.code == "busy" else None


async def start_stored(task: QueuedTask, request: StartRequest) -> turns.StartedTurn:
    """Start a stored turn; where the lease is lost meanwhile it ends when it runs."""
    start = asyncio.ensure_future(turns.start_turn(task.owner_id, request))
    try:
        return await asyncio.shield(start)
    except asyncio.CancelledError:
        start.add_done_callback(_cut_off if task.lost else _began)
        raise


def _cut_off(start: asyncio.Future[turns.StartedTurn]) -> None:
    if _began(start) and (turn := start.result().turn) is not None:
        stop_local(turn, cut_off=True)


def _began(start: asyncio.Future[turns.StartedTurn]) -> bool:
    """Say whether there is a turn; a failure is nobody's any more."""
    return not start.cancelled() and start.exception() is None


@contextmanager
def cut_off_when_lost(task: QueuedTask, turn: UUID) -> Iterator[None]:
    """End a turn that this process writes when its task's lease is lost.

    The next attempt finds it cut off.
    """
    try:
        yield
    except asyncio.CancelledError:
        if task.lost:
            stop_local(turn, cut_off=True)
        raise
