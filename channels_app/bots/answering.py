"""Answers what came in: has it judged, runs its turn, and hands over the answer.

Whoever receives an event wakes the desk of its process and goes on. What a process that
died has left is found by the worker (``process_left_over``): the same event finds the
turn it began by the turn's client id, so that an answer is neither lost nor made twice.
An answer that the end of Cortex cut off is asked for once more; if that one is cut off
too, what there is of it is sent, with a word that it breaks off.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from contextlib import suppress
from typing import Final
from uuid import UUID
from weakref import WeakKeyDictionary

from django.db import DatabaseError

from channels_app import turns
from channels_app.bots import claims, endings, judging, outbox
from channels_app.bots.asking import Ask
from channels_app.bots.claims import Claim
from channels_app.bots.desk import Desk, GivenBack
from channels_app.bots.judging import Said
from channels_app.bots.work_signs import ShownWork, shown_work
from channels_app.errors import TurnError
from channels_app.streams import TurnStream
from routing.db_pool import run_in_db_pool

logger = logging.getLogger(__name__)

BUSY_PAUSES_S: Final = (0.25, 0.5, 1, 2, 4, 8, 16, 30, 30, 30)
"""Pauses while another answer is written in the conversation; 2 minutes in all."""
BUSY: Final = frozenset({"busy", "too_many"})
REFUSED: Final = BUSY | {"bad_request", "too_long", "unauthenticated", "forbidden"}
"""Codes of a start that is not tried again any more."""
LOOK_EVERY_S: Final = 0.5
"""How often the row of an answer is read that another process writes."""
SYNC_KEPT: Final = 64
"""Answers kept for a response that asks for them a moment later."""


def wake(channel_id: int) -> None:
    """Let what came by a channel be answered in this process; returns at once.

    Call it in the event loop, after ``inbox.receive``.
    """
    _office().desk.wake()


async def go_on() -> None:
    """Let what came before this process began be answered; returns at once.

    After a restart nothing else wakes it before the next event, or the worker comes by.
    """
    try:
        if await run_in_db_pool(claims.some_are_due):
            _office().desk.wake()
    except DatabaseError as error:
        logger.warning("Nobody looked for events: %s", type(error).__name__)


async def answer_now(event_id: int, within_s: float) -> str | None:
    """Return the answer to an event, for the response that carries it.

    For events with ``Incoming.extra["sync"]``: nothing is sent for them. ``""`` = there
    is nothing to say; ``None`` = it was not ready in time, and then stands on the web
    page alone.
    """
    return await _office().answer(event_id, within_s)


async def process_left_over() -> int:
    """Answer what nobody works at, and return how many events there were.

    Returns when nothing is left; meanwhile it looks again every few seconds, so that a
    long answer holds up nobody. Cancelling it stops no answer: ``drain`` does.
    """
    return await _office().desk.work_off()


async def drain(grace_s: float = 1.5) -> None:
    """Store what is answered, and leave the rest to another process.

    Call it after ``turns.drain``; nothing is claimed any more.
    """
    office = _OFFICES.get(asyncio.get_running_loop())
    if office is not None:
        await office.desk.close(grace_s)


class _Office:
    """What answers in one event loop."""

    def __init__(self) -> None:
        self.desk = Desk(self._work_at)
        self._waiting: dict[int, asyncio.Future[str]] = {}
        self._said: OrderedDict[int, str] = OrderedDict()

    # --- answers that a response carries ------------------------------------------

    async def answer(self, event_id: int, within_s: float) -> str | None:
        """Wait for the words that answer one event."""
        if (said := self._said.pop(event_id, None)) is not None:
            return said
        new = asyncio.get_running_loop().create_future
        waiting = self._waiting.get(event_id) or self._waiting.setdefault(
            event_id, new()
        )
        self.desk.wake()
        try:
            async with asyncio.timeout(within_s):
                return await asyncio.shield(waiting)
        except TimeoutError:
            return None
        finally:
            self._waiting.pop(event_id, None)

    def _say(self, claim: Claim, text: str, *, is_sync: bool) -> None:
        """Let what was stored be sent, or give it to the response that waits for it."""
        if not is_sync:
            if text:
                outbox.wake(claim.channel_id)
            return
        waiting = self._waiting.get(claim.event_id)
        if waiting is not None and not waiting.done():
            waiting.set_result(text)
            return
        self._said[claim.event_id] = text
        while len(self._said) > SYNC_KEPT:
            self._said.popitem(last=False)

    # --- working ------------------------------------------------------------------

    async def _work_at(self, claim: Claim) -> None:
        verdict = await run_in_db_pool(judging.judge, claim)
        if isinstance(verdict, Said):
            await turns.stop_all(verdict.stop)
            self._say(claim, verdict.text, is_sync=verdict.is_sync)
        elif isinstance(verdict, Ask):
            await self._ask(claim, verdict)

    async def _ask(self, claim: Claim, ask: Ask) -> None:
        """Run the turn of an event, or find it, and close the event with its answer.

        Work is shown from now on: the turn may have to wait for another one.
        """
        async with shown_work(ask) as sign:
            try:
                turn, stream = await self._begun(claim, ask)
            except TurnError as error:
                if error.code not in REFUSED:
                    raise
                await self._refuse(claim, ask, sign, error)
                return
            # Without a stream another process may have left its sign there, which
            # goes with this one.
            if stream is not None:
                await sign.follow(stream)
            await self._finish(claim, ask, turn, sign)

    async def _begun(self, claim: Claim, ask: Ask) -> tuple[UUID, TurnStream | None]:
        """Return the turn of an event with its stream, and note that it has begun."""
        if ask.turn is not None:
            if ask.conversation is not None:
                await run_in_db_pool(
                    endings.note_start, claim, ask.room, ask.turn, ask.conversation
                )
            return ask.turn, await _stream_of(ask.user_id, ask.turn)
        started = await _start(ask)
        turn, conversation = started.turn, started.beginning.conversation
        assert turn is not None  # noqa: S101  an answer was asked for
        await run_in_db_pool(endings.note_start, claim, ask.room, turn, conversation)
        return turn, started.stream

    async def _refuse(
        self, claim: Claim, ask: Ask, sign: ShownWork, error: TurnError
    ) -> None:
        """Close an event whose turn cannot start; the reason takes the sign's place."""
        await sign.end()
        refused = await run_in_db_pool(
            endings.refuse,
            claim,
            ask.incoming,
            error.code,
            f"{endings.SORRY} {error.message}",
            external_id=sign.external_id,
        )
        await self._hand_over(claim, ask, sign, refused)

    async def _finish(
        self, claim: Claim, ask: Ask, turn: UUID, sign: ShownWork
    ) -> None:
        """Store the answer as soon as its row has ended, and let it be sent."""
        while True:
            ended = await run_in_db_pool(
                endings.finish,
                claim,
                ask.incoming,
                turn,
                alone=ask.alone,
                external_id=sign.external_id,
            )
            if ended is not None:
                break
            await asyncio.sleep(LOOK_EVERY_S)
        await self._hand_over(claim, ask, sign, ended)

    async def _hand_over(
        self, claim: Claim, ask: Ask, sign: ShownWork, ended: endings.Ended
    ) -> None:
        """Let the words that end an event be sent, or what stands for them go."""
        if ended.again:
            return
        self._say(claim, ended.text, is_sync=ask.is_sync)
        if not ended.text:
            await sign.withdraw()


_OFFICES: WeakKeyDictionary[asyncio.AbstractEventLoop, _Office] = WeakKeyDictionary()


def _office() -> _Office:
    loop = asyncio.get_running_loop()
    office = _OFFICES.get(loop)
    if office is None:
        office = _OFFICES[loop] = _Office()
    return office


async def _start(ask: Ask) -> turns.StartedTurn:
    """Start the turn, after the one that is being written in the conversation.

    Raises ``TurnError``, or ``GivenBack`` when the process takes no turns any more.
    """
    assert ask.request is not None  # noqa: S101  there is no turn yet
    for pause_s in (*BUSY_PAUSES_S, None):
        try:
            return await turns.start_turn(ask.user_id, ask.request)
        except TurnError as error:
            if turns.draining():
                raise GivenBack from None
            if pause_s is None or error.code not in BUSY:
                raise
            await asyncio.sleep(pause_s)
    raise AssertionError("unreachable")


async def _stream_of(user_id: int, turn: UUID) -> TurnStream | None:
    """Return the stream of a turn that was begun before, while it is kept."""
    with suppress(TurnError):
        return await turns.resume(user_id, turn)
    return None
