"""Starts, runs, stops and resumes turns: the one pipeline behind every door.

A turn is one answer. Its generation is a task of its own in the process where it was
started: sockets, responses and bots only read its stream, so closing one never ends
it. ``start_turn`` crosses into the database once (``turn_start``) and returns while
``turn_run`` does the rest. Belongs to one event loop; several processes meet in the
hub.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from dataclasses import dataclass
from typing import Any

from django.db import Error as DatabaseError

from channels_app import presence
from channels_app.errors import TurnError, internal_error
from channels_app.live_turns import (
    RUNNING,
    LiveTurn,
    add,
    close,
    hub,
    spawn,
    stop_local,
)
from channels_app.live_turns import refresh_alive as refresh_alive
from channels_app.streams import TurnStream
from channels_app.turn_control import resume as resume
from channels_app.turn_control import stop_all as stop_all
from channels_app.turn_control import stop_turn as stop_turn
from channels_app.turn_requests import StartRequest, UnstoredRequest
from channels_app.turn_run import prepare, run_to_the_end
from channels_app.turn_run import run_turn as run_turn
from channels_app.turn_start import Beginning, Call, begin
from channels_app.unstored import call_for
from routing.db_pool import run_in_db_pool
from routing.dispatcher import Dispatch

logger = logging.getLogger(__name__)

MAX_TURNS_PER_PERSON = 64
FIND_TRIES, FIND_EVERY_S = 10, 0.05
"""How long to look for the stream of a turn whose row says that it is being written."""
SETTLE_S = 3.0
"""How long stopped turns may take in all to settle when the process ends."""


@dataclass(frozen=True, slots=True)
class StartedTurn:
    """What ``start_turn`` gives to the door that asked."""

    beginning: Beginning
    stream: TurnStream | None
    """``None`` when no answer was wanted, or the turn is over and no longer kept."""

    @property
    def turn(self) -> uuid.UUID | None:
        """Id of the turn and of its answer."""
        return self.beginning.turn


_STARTING: dict[tuple[int, str], asyncio.Future[Any]] = {}
"""Starts that are being stored; a repeat at the same moment waits for the same one."""


class _Draining:
    """Whether this process takes no new turns any more."""

    now = False


def draining() -> bool:
    """Say whether this process takes no new turns any more."""
    return _Draining.now


def running_count() -> int:
    """Return how many turns run in this process."""
    return len(RUNNING)


# --- start --------------------------------------------------------------------


async def start_turn(user_id: int, request: StartRequest) -> StartedTurn:
    """Store the start of a turn and let its generation run in a task of its own.

    The stream begins with ``turn.started``. A repeated client id returns the turn it
    began before, with its stream while that is kept. Cancelling the caller does not
    undo a start.

    Raises:
        TurnError: Nothing was started and nothing stored. Besides the codes of
            ``begin``: ``too_many`` turns at once, ``busy`` while the server
            stops, ``internal`` when the database cannot be used.
    """
    key = (user_id, request.client_id)
    start = _STARTING.get(key)
    try:
        if start is None:
            _check_room(user_id)
            start = _STARTING[key] = asyncio.ensure_future(_start(user_id, request))
            start.add_done_callback(lambda _: _STARTING.pop(key))
        return await asyncio.shield(start)
    except asyncio.CancelledError:
        if start is not None:
            start.add_done_callback(_forget)
        raise
    except TurnError as error:
        error.client_id = request.client_id
        raise
    except DatabaseError:
        logger.exception("A turn could not be stored")
        raise internal_error(client_id=request.client_id) from None


def _forget(start: asyncio.Future[Any]) -> None:
    """Take note of a start whose caller has gone."""
    if not start.cancelled() and (error := start.exception()):
        logger.warning("A turn whose caller had gone did not start: %s", error)


async def _start(user_id: int, request: StartRequest) -> StartedTurn:
    beginning, dispatch = await run_in_db_pool(_store, user_id, request)
    if beginning.turn is None:
        note = presence.conversation_changed(user_id, beginning.conversation)
        spawn(note, "note of an edited message")
        return StartedTurn(beginning, None)
    if beginning.call is None:
        return StartedTurn(beginning, await _find(user_id, beginning.turn, beginning))
    stream = _launch(user_id, beginning.turn, beginning, beginning.call, dispatch)
    return StartedTurn(beginning, stream)


def _store(user_id: int, request: StartRequest) -> tuple[Beginning, Dispatch | None]:
    """Store the start and reserve the first attempt, in one crossing."""
    beginning = begin(user_id, request)
    if beginning.call is None:
        return beginning, None
    return beginning, prepare(beginning.call, beginning.conversation)


async def _find(
    user_id: int, turn: uuid.UUID, beginning: Beginning
) -> TurnStream | None:
    """Find the stream of a turn that had begun; another process may just begin it."""
    for _ in range(FIND_TRIES if beginning.generating else 1):
        stream = await hub().find(turn, user_id)
        if stream is not None:
            return stream
        await asyncio.sleep(FIND_EVERY_S)
    return None


async def start_unstored(user_id: int, request: UnstoredRequest) -> TurnStream:
    """Let an answer be written that nothing is kept of but the ledger's rows.

    The stream begins with ``turn.started`` and is the caller's alone: nobody else can
    find it, and when the caller is cancelled before it has the stream, the turn ends.
    Whoever stops reading stops the turn with ``stop_turn``.

    Raises:
        TurnError: Nothing was started. Besides the codes of ``unstored.call_for``
            those of ``start_turn``.
    """
    _check_room(user_id)
    turn = request.turn or uuid.uuid4()
    key = (user_id, str(turn))
    start = asyncio.ensure_future(_start_unstored(user_id, turn, request))
    _STARTING[key] = start
    start.add_done_callback(lambda _: _STARTING.pop(key))
    try:
        return await asyncio.shield(start)
    except asyncio.CancelledError:
        start.add_done_callback(_forget)
        start.add_done_callback(lambda _: stop_local(turn))
        raise
    except DatabaseError:
        logger.exception("A turn could not be begun")
        raise internal_error() from None


async def _start_unstored(
    user_id: int, turn: uuid.UUID, request: UnstoredRequest
) -> TurnStream:
    call, dispatch = await run_in_db_pool(_prepare_unstored, user_id, turn, request)
    stream = TurnStream(turn, user_id)
    stream.append("turn.started", persona=call.caller.persona_name or None)
    _run(LiveTurn(None, call, stream, dispatch))
    return stream


def _prepare_unstored(
    user_id: int, turn: uuid.UUID, request: UnstoredRequest
) -> tuple[Call, Dispatch | None]:
    """Read what the call needs and reserve the first attempt, in one crossing."""
    call = call_for(user_id, turn, request)
    return call, prepare(call, None)


def _check_room(user_id: int) -> None:
    if _Draining.now:
        raise TurnError("busy", "Cortex is restarting. Please try again in a moment.")
    mine = sum(live.user_id == user_id for live in RUNNING.values())
    mine += sum(starting == user_id for starting, _ in _STARTING)
    if mine >= MAX_TURNS_PER_PERSON:
        raise TurnError(
            "too_many", f"{mine} answers are being written for you already."
        )


def _launch(
    user_id: int,
    turn: uuid.UUID,
    beginning: Beginning,
    call: Call,
    dispatch: Dispatch | None,
) -> TurnStream:
    stream = hub().open(turn, user_id)
    stream.append(
        "turn.started",
        conversation=str(beginning.conversation),
        client_id=beginning.client_id,
        user_message=str(beginning.user_message),
        message=str(turn),
        persona=beginning.persona,
    )
    _run(LiveTurn(beginning, call, stream, dispatch))
    return stream


def _run(live: LiveTurn) -> None:
    live.task = spawn(run_to_the_end(live), f"turn {live.id}")
    add(live)


# --- the end of the process ---------------------------------------------------


async def drain(grace_s: float = 14) -> None:
    """Take no new turns, wait for the running ones, then stop the rest and settle.

    All is over after ``grace_s`` and ``SETTLE_S``, whatever hangs. What has begun to
    start when the process is asked to stop still runs; a start that the database
    does not let through in all that time begins nothing here.
    """
    _Draining.now = True
    stop_at = asyncio.get_running_loop().time() + grace_s
    await _wait_for_turns(stop_at)
    for live in list(RUNNING.values()):
        live.stop(cut_off=True)
    await _wait_for_turns(stop_at + SETTLE_S / 2)
    for task in _tasks_of_turns():
        task.cancel()
    await _wait_for_turns(stop_at + SETTLE_S * 0.8)
    await close(stop_at + SETTLE_S)


async def _wait_for_turns(deadline: float) -> None:
    """Wait until no turn runs or starts, or for the loop's time to be ``deadline``."""
    loop = asyncio.get_running_loop()
    while (left := deadline - loop.time()) > 0 and (tasks := _tasks_of_turns()):
        await asyncio.wait(tasks, timeout=left)


def _tasks_of_turns() -> list[asyncio.Future[Any]]:
    running = [live.task for live in RUNNING.values() if live.task]
    return [*_STARTING.values(), *running]
