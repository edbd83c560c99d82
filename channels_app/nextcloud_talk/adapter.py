"""Nextcloud Talk as one of the platforms: cutting, sending, the sign of work.

Talk gives no id for what a bot posts and lets it change nothing afterwards, so an
answer is posted when it is complete, and 👀 on the message shows until then that it was
seen. Nor does it recognise a repetition: what is sent once more says so.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Final
from uuid import UUID

from channels_app.bots import splitting
from channels_app.bots.adapters import ChannelInfo, Outgoing, TestStep, WorkSign
from channels_app.bots.incoming import Incoming
from channels_app.deliveries import DeliveryError
from channels_app.nextcloud_talk import self_test
from channels_app.nextcloud_talk.client import Room
from channels_app.nextcloud_talk.events import clean
from channels_app.streams import TurnStream

logger = logging.getLogger(__name__)

SEEN: Final = "👀"
REACT_WITHIN_S: Final = 10.0
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
        text = clean(message.text).strip()
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


class _Patience:
    """Talk cannot show a growing answer."""

    async def follow(self, stream: TurnStream) -> None:
        """Wait for the end of the answer."""
        async for _ in stream.read():
            pass


@asynccontextmanager
async def _eyes(channel: ChannelInfo, event: Incoming) -> AsyncIterator[WorkSign]:
    """Show the reaction beside the work: nobody waits for it before the answer."""
    if not event.reply_to:
        yield _Patience()
        return
    room = Room(
        channel,
        event.room_id,
        signed_with=_signed_with(event.extra),
        timeout_s=REACT_WITHIN_S,
    )
    putting_on = asyncio.create_task(
        _quietly(room.react(event.reply_to, SEEN)), name="sign of work"
    )
    try:
        yield _Patience()
    finally:
        # The one must have ended before the other begins, or it would stay.
        if await putting_on:
            await _quietly(room.unreact(event.reply_to, SEEN))


async def _quietly(request: Coroutine[Any, Any, None]) -> bool:
    """Await a request whose failure matters to nobody; say whether it had an effect."""
    try:
        await request
    except DeliveryError as error:
        logger.info("no sign of work: %s", error)
        return error.may_have_arrived
    return True


def _signed_with(extra: dict[str, Any]) -> str:
    return str(extra.get("signed_with", "secret"))
