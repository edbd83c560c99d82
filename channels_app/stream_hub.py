"""Finds the streams of this process: running ones, and finished ones for ten minutes.

``streams_redis`` joins the hubs of several processes behind the same interface.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any

from django.conf import settings
from django.utils.module_loading import import_string

from channels_app.streams import TurnStream

KEEP_FINISHED_S = 600
MAX_KEPT_CHARS = 32_000_000
"""Text of finished streams that one process keeps; beyond it the oldest go early."""


class StreamHub:
    """The streams of this process: running ones, and finished ones for ten minutes."""

    def __init__(self) -> None:
        self._streams: dict[uuid.UUID, TurnStream] = {}
        self._finished: OrderedDict[TurnStream, asyncio.TimerHandle] = OrderedDict()
        self._kept_chars = 0
        self.on_stop: Callable[[uuid.UUID], None] = lambda turn: None
        """Called when another process asks to stop a turn that runs here."""
        self.ending: Callable[[uuid.UUID], Awaitable[dict[str, Any] | None]] = _unknown
        """Returns the fields of ``turn.finished`` from the row of an ended turn."""

    def open(self, turn: uuid.UUID, owner_id: int) -> TurnStream:
        """Begin the stream of a new turn of this process."""
        stream = self._streams[turn] = TurnStream(turn, owner_id)
        return stream

    def local(self, turn: uuid.UUID) -> TurnStream | None:
        """Return the stream of a turn of this process, running or just finished."""
        return self._streams.get(turn)

    def count(self) -> int:
        """Return how many streams of this process are kept, running or finished."""
        return len(self._streams)

    async def find(self, turn: uuid.UUID, owner_id: int) -> TurnStream | None:
        """Return the stream of a person's turn, wherever it runs, while it is kept."""
        stream = self._streams.get(turn)
        return stream if stream is not None and stream.owner_id == owner_id else None

    def finish(self, stream: TurnStream) -> None:
        """Close a stream of this process and keep it for late readers."""
        stream.finish()
        self._kept_chars += stream.chars
        self._finished[stream] = asyncio.get_running_loop().call_later(
            KEEP_FINISHED_S, self._drop, stream
        )
        while self._kept_chars > MAX_KEPT_CHARS:
            self._drop(next(iter(self._finished)))

    async def request_stop(self, turn: uuid.UUID) -> bool:
        """Ask the other processes to stop a turn; False when there are none to ask."""
        return False

    async def close(self) -> None:
        """Forget all streams; called when the process ends."""
        for handle in self._finished.values():
            handle.cancel()
        self._finished.clear()
        self._streams.clear()
        self._kept_chars = 0

    def _drop(self, stream: TurnStream) -> None:
        self._finished.pop(stream).cancel()
        self._kept_chars -= stream.chars
        self._streams.pop(stream.turn, None)


async def _unknown(turn: uuid.UUID) -> dict[str, Any] | None:
    return None


def make_hub() -> StreamHub:
    """Return a hub in memory, or over Redis when ``REDIS_URL`` is set."""
    if not settings.REDIS_URL:
        return StreamHub()
    hub: StreamHub = import_string("channels_app.streams_redis.RedisStreamHub")(
        settings.REDIS_URL
    )
    return hub
