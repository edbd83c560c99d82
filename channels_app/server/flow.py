"""Back-pressure for one connection, in both directions.

Senders wait while the client does not read, and a client waits while the application
does not take its messages.

daphne's ``send`` never waits, so a client that reads nothing would let the server's
buffer grow without a bound. A ``Flow`` is registered as the push producer of the
connection's Twisted transport, which pauses it above 64 KB of unsent bytes and resumes
it at zero. Source: Twisted's page on producers and consumers; the limit is
``FileDescriptor.bufferSize``.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

STALLED_AFTER_S = 30.0
"""A client that took no byte for this long is too slow."""


@implementer(IPushProducer)
class Flow:
    """Whether one connection takes bytes, and since when it does not."""

    __slots__ = ("_pending", "_resumed", "_since", "paused")

    def __init__(self) -> None:
        """Start open."""
        self.paused = False
        self._resumed: asyncio.Future[None] | None = None
        self._since = 0.0
        self._pending = 0

    def pauseProducing(self) -> None:  # noqa: N802 - Twisted's name
        """Note that the transport's buffer is full."""
        if not self.paused:
            self.paused = True
            self._since = time.monotonic()

    def resumeProducing(self) -> None:  # noqa: N802 - Twisted's name
        """Let the waiting senders go on."""
        self.paused = False
        self._pending = 0
        if self._resumed is not None and not self._resumed.done():
            self._resumed.set_result(None)
        self._resumed = None

    def stopProducing(self) -> None:  # noqa: N802 - Twisted's name
        """Let the senders go on when the connection is gone."""
        self.resumeProducing()

    async def ready(self) -> None:
        """Return when bytes may be sent."""
        while self.paused:
            if self._resumed is None:
                self._resumed = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._resumed)

    def stalled(self, transport: Any) -> bool:
        """Tell whether the client has taken nothing for ``STALLED_AFTER_S``.

        Called every few seconds. A slow client whose buffer shrinks is not stalled.
        """
        if not self.paused:
            return False
        pending = unsent_bytes(transport)
        now = time.monotonic()
        if pending < self._pending:
            self._since = now
        self._pending = pending
        return now - self._since >= STALLED_AFTER_S


class Inbox(asyncio.Queue[dict[str, Any]]):
    """Messages that wait for the application of one connection."""

    def __init__(self, on_taken: Callable[[], None]) -> None:
        """Call ``on_taken`` whenever the application has taken a message."""
        super().__init__()
        self._on_taken = on_taken

    def _get(self) -> dict[str, Any]:
        message: dict[str, Any] = super()._get()
        self._on_taken()
        return message


def unsent_bytes(transport: Any) -> int:
    """Return how many bytes wait in the transport's own buffers."""
    waiting = len(transport.dataBuffer) - transport.offset
    return int(waiting + transport._tempDataLen)
