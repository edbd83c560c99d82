"""The pipeline of one running turn: model call, stream, last state of the row.

``prepare`` reserves the first attempt in the crossing that stored the turn;
``run_turn`` makes the call through the dispatcher and fills the stream;
``run_to_the_end`` wraps it so that, whatever happens, the row leaves the state
``generating`` and the stream ends with exactly one ``turn.finished``.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from dataclasses import replace

from django.db import Error as DatabaseError

from channels_app import turn_rows
from channels_app.errors import internal_error
from channels_app.live_turns import RUNNING, LiveTurn, hub, spawn
from channels_app.streams import TurnStream
from channels_app.turn_rows import Ending
from channels_app.turn_start import Call
from channels_app.webhooks import budget_news
from routing import dispatcher
from routing.backends.base import TextDelta, ThinkingDelta, ToolCall
from routing.db_pool import run_in_db_pool
from routing.dispatcher import Dispatch
from routing.events import DispatchResult, Notice, Routed

logger = logging.getLogger(__name__)

MAX_ANSWER_CHARS = 8_000_000
"""What a model may write in one turn, its thinking included."""
END_TRIES = 4
"""How often the end of a turn is offered to a database that refuses it."""
END_PAUSE_S = 1.0
CUT_OFF = Ending(
    "interrupted",
    "",
    error_code="internal",
    error_message="Cortex stopped while this answer was being written.",
)
"""How an answer ends whose process ends before it."""


def prepare(call: Call, conversation: uuid.UUID | None) -> Dispatch | None:
    """Plan a turn's call and reserve its first attempt, in the database pool.

    Never raises: the turn is stored, and what stands in the way is its end, told when
    it runs. ``None`` after a fault of our own.
    """
    try:
        dispatch = _dispatch_for(call, conversation)
        dispatch.prepare()
    except Exception:
        logger.exception("A call could not be prepared")
        return None
    return dispatch


def _dispatch_for(call: Call, conversation: uuid.UUID | None) -> Dispatch:
    return dispatcher.stream(
        call.build,
        caller=call.caller,
        user=call.user,
        role=call.role,
        model=call.model,
        tier=call.tier,
        private=call.private,
        preview=call.preview,
        max_output_tokens=call.max_output_tokens,
        needs=call.needs,
        thread_id=conversation,
        policy="asked" if call.asked else "policy",
        redo_of=call.redo_of,
        background=call.background,
        max_cost_nano_usd=call.max_cost_nano_usd,
    )


async def run_to_the_end(live: LiveTurn) -> None:
    """Run a turn, save its end and send ``turn.finished``, whatever happens."""
    ending = CUT_OFF
    try:
        ending = await run_turn(live)
    except asyncio.CancelledError:
        live.cut_off = live.cut_off or not live.stop_asked
        result: DispatchResult | None = getattr(live.dispatch, "result", None)
        if result is not None and result.attempts:
            ending = _ending(live, result)
        raise
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
    live.stream.append("turn.stage", stage="routing")
    if live.dispatch is None:
        live.dispatch = _dispatch_for(live.call, live.conversation)
    async with live.dispatch as dispatch:
        if live.stop_asked:
            dispatch.stop()
        told = await _relay(live, dispatch)
    for notice in dispatch.result.notices:
        if notice not in told:
            _tell(live.stream, notice)
    for warning in dispatch.result.budget_warnings:
        await budget_news.announce(live.user_id, warning)
    return _ending(live, dispatch.result)


async def _relay(live: LiveTurn, dispatch: Dispatch) -> list[Notice]:
    """Put the events of a dispatch into the stream; return the notices among them."""
    stream, stage, told = live.stream, "routing", []
    async for event in dispatch:
        if isinstance(event, TextDelta):
            if stage != "writing":
                stage = _enter(stream, "writing")
            text = storable(event.text)
            live.grow(text)
            stream.append_text("turn.delta", text)
        elif isinstance(event, ThinkingDelta):
            if stage != "thinking":
                stage = _enter(stream, "thinking")
            stream.append_text("turn.thinking", storable(event.text))
        elif isinstance(event, ToolCall):
            stage = _enter(stream, "tool")
            _pass_on(stream, event)
        elif isinstance(event, Routed):
            _note_route(live, event)
            stage = _enter(stream, "waiting")
            live.announce()
        elif isinstance(event, Notice):
            _tell(stream, event)
            told.append(event)
        if stream.chars > MAX_ANSWER_CHARS:
            dispatch.stop()
    return told


def _note_route(live: LiveTurn, event: Routed) -> None:
    live.asked = event.model if event.continues else ""
    live.stream.append(
        "turn.routed",
        model=event.model,
        tier=event.tier,
        reason=event.reason,
        attempt=event.attempt,
        fallback=event.fallback,
        continues=event.continues,
    )


def _pass_on(stream: TurnStream, call: ToolCall) -> None:
    """Give a tool call to whoever offered the tool.

    ``raw`` holds arguments that are no JSON object, as the model wrote them.
    """
    raw = {"raw": storable(call.raw)} if call.error else {}
    stream.append(
        "turn.tool_call", id=call.id, name=call.name, arguments=call.arguments, **raw
    )


def _tell(stream: TurnStream, notice: Notice) -> None:
    stream.append("turn.notice", code=notice.code, text=notice.text)


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
    if live.cut_off and ending.outcome == CUT_OFF.outcome and not ending.error_code:
        return replace(
            ending,
            error_code=CUT_OFF.error_code,
            error_message=CUT_OFF.error_message,
        )
    if live.stream.chars > MAX_ANSWER_CHARS:
        ending = replace(
            ending,
            outcome="incomplete",
            error_code="too_long",
            error_message="The answer became too long and was ended.",
        )
    return ending


async def _finish(live: LiveTurn, ending: Ending) -> None:
    """Save how a turn ended, then say so: who reads the message now finds it whole.

    Of a turn without a row nothing is kept, not even its stream.
    """
    live.announce()
    try:
        if live.stored:
            whole = replace(ending, text=live.text, seams=tuple(live.seams))
            await _save_end(live.id, whole)
    except Exception:
        logger.exception("The end of turn %s could not be saved", live.id)
    finally:
        RUNNING.pop(live.id, None)
        fields = turn_rows.finished_fields(live.id, ending)
        live.stream.append("turn.finished", **fields)
        if live.stored:
            hub().finish(live.stream)
        else:
            live.stream.finish()


async def _save_end(turn: uuid.UUID, ending: Ending) -> None:
    for attempt in range(1, END_TRIES + 1):
        try:
            await run_in_db_pool(turn_rows.end, turn, ending)
        except DatabaseError:
            if attempt == END_TRIES:
                raise
            await asyncio.sleep(END_PAUSE_S * attempt)
        else:
            return
