"""Starts, runs, stops and resumes turns: the one pipeline behind every door.

A turn is one answer. Its generation is a task of its own in the process where it was
started: sockets, responses and bots only read its stream, so closing one never ends
it. ``start_turn`` crosses into the database once and returns; ``run_turn`` makes the
model call and fills the stream; whatever happens, a started turn ends with exactly one
``turn.finished`` and its row leaves the state ``generating``. Belongs to one event
loop; several processes meet in the hub.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import uuid
from dataclasses import dataclass, replace

from django.db import Error as DatabaseError

from channels_app import presence, turn_rows
from channels_app.errors import TurnError, internal_error
from channels_app.live_turns import RUNNING, LiveTurn, add, close, hub, spawn
from channels_app.live_turns import refresh_alive as refresh_alive
from channels_app.streams import TurnStream
from channels_app.turn_requests import StartRequest
from channels_app.turn_rows import Beginning, Call, Ending
from channels_app.turn_rows import interrupt_abandoned as interrupt_abandoned
from personas.context import build_prompt
from routing import dispatcher
from routing.backends.base import TextDelta, ThinkingDelta
from routing.db_pool import run_in_db_pool
from routing.dispatcher import Dispatch, DispatchResult, Routed

logger = logging.getLogger(__name__)

MAX_ANSWER_CHARS = 8_000_000
MAX_TURNS_PER_PERSON = 64
END_TRIES = 4
"""How often the end of a turn is offered to a database that refuses it."""
STOP_PATIENCE_S = 3.0
"""How long stopped turns may take to settle when the process ends."""


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


class _Draining:
    """Whether this process takes no new turns any more."""

    now = False


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
            ``turn_rows.begin``: ``too_many`` turns at once, ``busy`` while the server
            stops, ``internal`` when the database cannot be used.
    """
    start = asyncio.ensure_future(_start(user_id, request))
    try:
        return await asyncio.shield(start)
    except asyncio.CancelledError:
        start.add_done_callback(_forget)
        raise
    except TurnError as error:
        error.client_id = request.client_id
        raise
    except DatabaseError:
        logger.exception("A turn could not be stored")
        raise internal_error(client_id=request.client_id) from None


def _forget(start: asyncio.Future[StartedTurn]) -> None:
    """Take note of a start whose caller has gone."""
    if not start.cancelled() and (error := start.exception()):
        logger.warning("A turn whose caller had gone did not start: %s", error)


async def _start(user_id: int, request: StartRequest) -> StartedTurn:
    _check_room(user_id)
    beginning = await run_in_db_pool(turn_rows.begin, user_id, request)
    if beginning.turn is None:
        _announce(user_id, beginning)
        return StartedTurn(beginning, None)
    if beginning.call is None:
        return StartedTurn(beginning, await hub().find(beginning.turn, user_id))
    stream = _launch(user_id, beginning.turn, beginning, beginning.call)
    _announce(user_id, beginning)
    return StartedTurn(beginning, stream)


def _check_room(user_id: int) -> None:
    if _Draining.now:
        raise TurnError("busy", "Cortex is restarting. Please try again in a moment.")
    mine = sum(live.user_id == user_id for live in RUNNING.values())
    if mine >= MAX_TURNS_PER_PERSON:
        raise TurnError(
            "too_many", f"{mine} answers are being written for you already."
        )


def _launch(
    user_id: int, turn: uuid.UUID, beginning: Beginning, call: Call
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
    live = LiveTurn(turn, call, stream)
    live.task = spawn(_run_to_the_end(live), f"turn {turn}")
    add(live)
    return stream


def _announce(user_id: int, beginning: Beginning) -> None:
    spawn(
        presence.conversation_changed(
            user_id,
            beginning.conversation,
            title=beginning.title,
            turn=beginning.turn,
        ),
        "note of a changed conversation",
    )


# --- run ----------------------------------------------------------------------


async def _run_to_the_end(live: LiveTurn) -> None:
    """Run a turn, save its end and send ``turn.finished``, whatever happens."""
    ending = Ending(
        "interrupted", "", error_code="internal", error_message="Cortex was stopped."
    )
    try:
        ending = await run_turn(live)
    except Exception:
        logger.exception("Turn %s failed", live.id)
        error = internal_error()
        outcome = "incomplete" if live.chars else "failed"
        ending = Ending(outcome, "", error_code=error.code, error_message=error.message)
    finally:
        # A cancelled task still finishes its turn; the shield lets it.
        await asyncio.shield(spawn(_finish(live, ending), f"end of turn {live.id}"))


async def run_turn(live: LiveTurn) -> Ending:
    """Make the model call of a turn and put what comes into its stream.

    Returns how it ended, without the text, which stands in the stream.
    """
    call = live.call
    live.stream.append("turn.stage", stage="routing")
    async with dispatcher.stream(
        functools.partial(build_prompt, call.material),
        caller=call.caller,
        user=call.user,
        role=call.role,
        model=call.model,
        tier=call.tier,
        private=call.private,
        preview=call.preview,
    ) as dispatch:
        live.dispatch = dispatch
        if live.stop_asked:
            dispatch.stop()
        await _relay(live, dispatch)
    return _ending(live, dispatch.result)


async def _relay(live: LiveTurn, dispatch: Dispatch) -> None:
    stream, stage = live.stream, "routing"
    async for event in dispatch:
        if isinstance(event, TextDelta):
            if stage != "writing":
                stage = _enter(stream, "writing")
            text = storable(event.text)
            live.chars += len(text)
            stream.append_text("turn.delta", text)
            if live.chars > MAX_ANSWER_CHARS:
                dispatch.stop()
        elif isinstance(event, ThinkingDelta):
            if stage != "thinking":
                stage = _enter(stream, "thinking")
            stream.append_text("turn.thinking", storable(event.text))
        elif isinstance(event, Routed):
            stream.append(
                "turn.routed",
                model=event.model,
                tier=event.tier,
                reason=event.reason,
                attempt=event.attempt,
                fallback=event.fallback,
            )
            stage = _enter(stream, "waiting")


def _enter(stream: TurnStream, stage: str) -> str:
    stream.append("turn.stage", stage=stage)
    return stage


def storable(text: str) -> str:
    """Replace what no database and no socket takes: NUL and half characters."""
    if "\0" in text:
        text = text.replace("\0", "\ufffd")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def _ending(live: LiveTurn, result: DispatchResult) -> Ending:
    error = result.error
    ending = Ending(
        outcome=result.outcome,
        text="",
        model=result.model or "",
        tier=result.tier,
        reason=result.reason or "",
        attempts=result.attempts,
        usage=result.usage,
        cost_nano_usd=result.cost_nano_usd,
        estimated=result.estimated,
        error_code=error.code if error else "",
        error_message=error.message if error else "",
    )
    if live.chars > MAX_ANSWER_CHARS:
        ending = replace(
            ending,
            outcome="incomplete",
            error_code="too_long",
            error_message="The answer became too long and was ended.",
        )
    return ending


async def _finish(live: LiveTurn, ending: Ending) -> None:
    """Save how a turn ended, then say so: who reads the message now finds it whole."""
    try:
        await _save_end(live.id, replace(ending, text=live.text))
    except Exception:
        logger.exception("The end of turn %s could not be saved", live.id)
    finally:
        RUNNING.pop(live.id, None)
        live.stream.append(
            "turn.finished", **turn_rows.finished_fields(live.id, ending)
        )
        hub().finish(live.stream)


async def _save_end(turn: uuid.UUID, ending: Ending) -> None:
    for attempt in range(1, END_TRIES + 1):
        try:
            await run_in_db_pool(turn_rows.end, turn, ending)
        except DatabaseError:
            if attempt == END_TRIES:
                raise
            await asyncio.sleep(attempt)
        else:
            return


# --- stop and resume ----------------------------------------------------------


async def stop_turn(user_id: int, turn: uuid.UUID) -> None:
    """Stop a person's turn wherever it runs; one that is over stays as it is.

    Raises ``TurnError``: ``not_found``, or ``turn_gone`` when no process has it.
    """
    live = RUNNING.get(turn)
    if live is not None and live.user_id == user_id:
        live.stop()
        return
    state = await run_in_db_pool(turn_rows.state_for_user, user_id, turn)
    if state == "generating" and not await hub().request_stop(turn):
        raise TurnError(
            "turn_gone",
            "The process that wrote this answer is gone.",
            turn=str(turn),
        )


async def resume(user_id: int, turn: uuid.UUID) -> TurnStream:
    """Return the stream of a person's turn, to be read from any number on.

    Raises ``TurnError``: ``not_found``, or ``turn_gone`` when it is kept no longer;
    then the message itself has the text.
    """
    stream = hub().local(turn)
    if stream is not None and stream.owner_id == user_id:
        return stream
    await run_in_db_pool(turn_rows.state_for_user, user_id, turn)
    stream = await hub().find(turn, user_id)
    if stream is None:
        raise TurnError(
            "turn_gone",
            "This answer can no longer be replayed; the message has its text.",
            turn=str(turn),
        )
    return stream


# --- the end of the process ---------------------------------------------------


async def drain(grace_s: float = 20) -> None:
    """Take no new turns, wait for the running ones, then stop the rest and settle."""
    _Draining.now = True
    await _wait_for_turns(grace_s)
    for live in list(RUNNING.values()):
        live.stop()
    await _wait_for_turns(STOP_PATIENCE_S)
    for live in list(RUNNING.values()):
        if live.task is not None:
            live.task.cancel()
    await _wait_for_turns(STOP_PATIENCE_S)
    await close()


async def _wait_for_turns(seconds: float) -> None:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while (left := deadline - loop.time()) > 0:
        tasks = [live.task for live in RUNNING.values() if live.task]
        if not tasks:
            return
        await asyncio.wait(tasks, timeout=left)
