"""Nextcloud Talk as one of the platforms: cutting, sending, the sign of work.

Talk gives no id for what a bot posts and lets it change nothing afterwards, so an
answer is posted when it is complete, and 👀 on the message shows until then that it was
seen. Nor does it recognise a repetition: what is sent once more says so.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final
from uuid import UUID

from channels_app.bots import splitting
from channels_app.bots.adapters import (
    ChannelInfo,
    Outgoing,
    Patience,
    TestStep,
    WorkSign,
)
from channels_app.bots.incoming import Incoming
from channels_app.deliveries import DeliveryError
from channels_app.nextcloud_talk import self_test
from channels_app.nextcloud_talk.client import Room
from channels_app.streams import TurnStream
from channels_app.turn_run import storable

logger = logging.getLogger(__name__)

SEEN: Final = "👀"
REACT_WITHIN_S: Final = 10.0
REMOVE_PAUSES_S: Final = (1.0, 4.0)
"""Pauses before 👀 is tried to be taken off once more."""
REMOVED_WITHIN_S: Final = 2.0
"""How long an answer waits for 👀 to be taken off."""
REPEATED: Final = "*(Sent again, because the first time may not have arrived.)*"


class TalkAdapter:
    """See ``channels_app.bots.adapters.Adapter``."""

    idempotent = False

    def split(self, text: str) -> list[str]:
        """Cut an answer into messages of at most 4,000 characters."""
        return splitting.split(text)

    async def send(self, channel: ChannelInfo, message: Outgoing) -> str:
        """Post one message; Talk tells no id, so the result is empty.

        Raises:
            DeliveryError: It was not sent, or may not have been.
        """
        text = storable(message.text).strip()
        if message.repeated:
            text = f"{REPEATED}\n\n{text}"
        room = Room(channel, message.room_id, signed_with=_signed_with(message.extra))
        await room.post(text, reply_to=message.reply_to, reference_id=message.id.hex)
        return ""

    def showing_work(
        self, channel: ChannelInfo, event: Incoming, key: UUID
    ) -> AbstractAsyncContextManager[WorkSign]:
        """Put 👀 on the message, and take it off when the context ends."""
        return _eyes(channel, event)

    async def self_test(self, channel: ChannelInfo, room_id: str) -> list[TestStep]:
        """See ``channels_app.nextcloud_talk.self_test``."""
        return await self_test.run(channel, room_id)


class _Eyes(Patience):
    """👀 on one message, put on and taken off beside the work.

    It is taken off when the answer is written and before that is noted: where Cortex
    ends after that, nobody would come back to the message.
    """

    def __init__(self, room: Room, message_id: str) -> None:
        self._room, self._message_id = room, message_id
        self._pauses_s: tuple[float, ...] = REMOVE_PAUSES_S
        self._putting_on = asyncio.create_task(
            self._quietly(room.react), name="sign of work"
        )
        self._taking_off: asyncio.Task[None] | None = None

    async def follow(self, stream: TurnStream) -> None:
        """Wait for the end of the answer, and a moment for 👀 to go."""
        await super().follow(stream)
        await asyncio.wait({self._removal()}, timeout=REMOVED_WITHIN_S)

    async def end(self) -> None:
        """Wait until 👀 is gone or cannot be taken off."""
        await self._removal()

    def hurry(self) -> None:
        """Try to take it off once only: the process ends."""
        self._pauses_s = ()

    def _removal(self) -> asyncio.Task[None]:
        if self._taking_off is None:
            self._taking_off = asyncio.create_task(
                self._take_off(), name="end of a sign of work"
            )
        return self._taking_off

    async def _take_off(self) -> None:
        # The one must have ended before the other begins, or it would stay.
        error = await self._putting_on
        if error is not None and not error.may_have_arrived:
            return
        tries = 0
        while error := await self._quietly(self._room.unreact):
            if not error.retryable or tries >= len(self._pauses_s):
                return
            await asyncio.sleep(self._pauses_s[tries])
            tries += 1

    async def _quietly(
        self, request: Callable[[str, str], Awaitable[None]]
    ) -> DeliveryError | None:
        """Send a request whose failure matters to nobody; return the failure."""
        try:
            await request(self._message_id, SEEN)
        except DeliveryError as error:
            logger.info("no sign of work: %s", error)
            return error
        return None


@asynccontextmanager
async def _eyes(channel: ChannelInfo, event: Incoming) -> AsyncIterator[WorkSign]:
    """Show the reaction while the context lasts, or until the answer is written."""
    if not event.reply_to:
        yield Patience()
        return
    room = Room(
        channel,
        event.room_id,
        signed_with=_signed_with(event.extra),
        timeout_s=REACT_WITHIN_S,
    )
    eyes = _Eyes(room, event.reply_to)
    try:
        yield eyes
    except asyncio.CancelledError:
        eyes.hurry()
        raise
    finally:
        await eyes.end()


def _signed_with(extra: dict[str, Any]) -> str:
    return str(extra.get("signed_with", "secret"))
