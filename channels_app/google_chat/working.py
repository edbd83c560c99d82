"""The message that stands for an answer while it is being written.

It is posted with the key that the answer's first part will have, and grows at most once
every 1.5 seconds. Nobody need remember it: posting the first part with the same key
returns it, whichever process does that, and its text is replaced then.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final
from uuid import UUID

from channels_app.bots.adapters import ChannelInfo
from channels_app.bots.incoming import Incoming
from channels_app.deliveries import DeliveryError
from channels_app.google_chat import client, markup, pace
from channels_app.streams import TurnStream

logger = logging.getLogger(__name__)

EDIT_EVERY_S: Final = 1.5
MARK: Final = "⏳"
"""Ends every text that is not final yet."""
ROOM_FOR_MARK: Final = 16


def is_placeholder(text: str | None) -> bool:
    """Say whether a message has to be replaced; one of unknown text may have to."""
    return text is None or text.rstrip().endswith(MARK)


class Placeholder:
    """One message that grows with its answer; failures matter to nobody."""

    def __init__(self, channel: ChannelInfo, event: Incoming, key: UUID) -> None:
        self._channel, self._event, self._key = channel, event, key
        self._stream: TurnStream | None = None
        self._news = asyncio.Event()
        self._ended = asyncio.Event()
        self.external_id = ""
        """Name of the message, once it is known."""
        self._shown = ""
        self._edited_at = 0.0
        self._task = asyncio.create_task(self._work(), name="sign of work")

    async def follow(self, stream: TurnStream) -> None:
        """Show the growing answer until its end; nothing is written after that."""
        self._stream = stream
        async for _ in stream.read():
            self._news.set()
        await self.end()

    async def end(self) -> None:
        """Write nothing more; a write that has begun is awaited.

        Otherwise it could arrive after the answer and replace it.
        """
        self._ended.set()
        self._news.set()
        await self._task

    async def withdraw(self) -> None:
        """Delete the message: no answer will replace it."""
        await self.end()
        if self.external_id:
            try:
                await client.delete(self._channel, self.external_id)
            except DeliveryError as error:
                logger.info("a sign of work stays: %s", error)

    async def _work(self) -> None:
        try:
            await self._post()
            while self.external_id and not self._ended.is_set():
                await self._edit(self.external_id)
        except DeliveryError as error:
            logger.info("no sign of work: %s", error)

    async def _post(self) -> None:
        if not await self._wait_until_free():
            return
        self._shown = f"_{_name(self._channel)} is writing_ {MARK}"
        posted = await client.create(
            self._channel,
            self._event.room_id,
            self._shown,
            request_id=str(self._key),
            thread=self._event.thread,
        )
        self.external_id = posted.name
        self._edited_at = time.monotonic()

    async def _edit(self, name: str) -> None:
        """Wait for more of the answer and for the time, then show what is there."""
        await self._news.wait()
        await self._sleep(self._edited_at + EDIT_EVERY_S - time.monotonic())
        if not await self._wait_until_free():
            return
        self._news.clear()
        self._edited_at = time.monotonic()
        text = await self._text_so_far()
        if text == self._shown or self._ended.is_set():
            return
        self._shown = text
        try:
            await client.change(self._channel, name, self._shown)
        except DeliveryError as error:
            if not error.retryable:
                raise

    async def _text_so_far(self) -> str:
        """Return the beginning that is shown, made beside the event loop."""
        text = self._stream.text("turn.delta") if self._stream else ""
        return await asyncio.to_thread(_beginning, text[: markup.MAX_BYTES]) or (
            self._shown
        )

    async def _wait_until_free(self) -> bool:
        """Wait for the space without queueing for it; ``False`` if the answer ended."""
        while not pace.is_free(self._event.room_id):
            await self._sleep(0.1)
            if self._ended.is_set():
                return False
        return not self._ended.is_set()

    async def _sleep(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._ended.wait(), max(0.0, seconds))


@asynccontextmanager
async def placeholder(
    channel: ChannelInfo, event: Incoming, key: UUID
) -> AsyncIterator[Placeholder]:
    """Show a placeholder beside the work; nobody waits for it before the answer."""
    shown = Placeholder(channel, event, key)
    try:
        yield shown
    finally:
        await shown.end()


def _beginning(text: str) -> str:
    """Return what one message holds of a text, ``""`` where there is nothing yet."""
    parts = markup.split(text, markup.MAX_BYTES - ROOM_FOR_MARK)
    return f"{markup.to_chat(parts[0])} {MARK}" if parts else ""


def _name(channel: ChannelInfo) -> str:
    return markup.plain(channel.persona_name) or "Cortex"
