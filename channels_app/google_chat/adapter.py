"""Google Chat as one of the platforms: cutting, sending, the sign of work."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Final
from uuid import UUID

from channels_app.bots.adapters import (
    ChannelInfo,
    Outgoing,
    Patience,
    TestStep,
    WorkSign,
)
from channels_app.bots.incoming import Incoming
from channels_app.deliveries import DeliveryError
from channels_app.google_chat import client, markup, self_test, working

GONE: Final = 404


class GoogleChatAdapter:
    """See ``channels_app.bots.adapters.Adapter``."""

    idempotent = True

    def split(self, text: str) -> list[str]:
        """Cut an answer into messages of at most 32,000 bytes of Chat's markup."""
        return markup.split(text)

    async def send(self, channel: ChannelInfo, message: Outgoing) -> str:
        """Post one message, or put it in the place of what stands for it.

        Raises:
            DeliveryError: It was not sent, or may not have been; again with the same
                id it appears once.
        """
        # Markup that is nothing but marks costs a tenth of a second.
        text = await asyncio.to_thread(markup.to_chat, message.text) or message.text
        if message.external_id:
            try:
                await client.change(channel, message.external_id, text)
                return message.external_id
            except DeliveryError as error:
                if error.status != GONE:
                    raise
        return await _post(channel, message, text)

    def showing_work(
        self, channel: ChannelInfo, event: Incoming, key: UUID
    ) -> AbstractAsyncContextManager[WorkSign]:
        """Post a message that grows with the answer and is replaced by it."""
        if event.extra.get("sync") or not channel.secrets.get("service_account"):
            return _nothing()
        return working.placeholder(channel, event, key)

    async def self_test(self, channel: ChannelInfo, room_id: str) -> list[TestStep]:
        """See ``channels_app.google_chat.self_test``."""
        return await self_test.run(channel, room_id)


@asynccontextmanager
async def _nothing() -> AsyncIterator[WorkSign]:
    """Show nothing: without a service account nothing can be, before the answer."""
    yield Patience()


async def _post(channel: ChannelInfo, message: Outgoing, text: str) -> str:
    """Post with the message's key; a placeholder that has it already is replaced.

    Where somebody has deleted what had the key, it is worth nothing any more; the key
    after it is just as much the same for every attempt.
    """
    for key in (message.id, uuid.uuid5(message.id, "again")):
        try:
            posted = await client.create(
                channel,
                message.room_id,
                text,
                request_id=str(key),
                thread=message.thread,
            )
            if posted.text != text and working.is_placeholder(posted.text):
                await client.change(channel, posted.name, text)
            return posted.name
        except DeliveryError as error:
            if error.status != GONE:
                raise
            gone = error
    raise gone
