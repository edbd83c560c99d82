"""How often this process writes to a space: at most once a second.

Creating, changing and deleting messages count together, for all apps in the space.

Source: developers.google.com/workspace/chat/limits (60 writes per space in 60 s).
"""

from __future__ import annotations

import asyncio
import time
from typing import Final

from channels_app.deliveries import DeliveryError

EVERY_S: Final = 1.02
LONGEST_WAIT_S: Final = 20.0
MAX_KEPT: Final = 1000

BUSY: Final = "Too much is being written to this space at the moment."

_FREE_AT: dict[str, float] = {}
"""When the next write to a space may begin, on the monotonic clock."""


async def turn(space: str) -> None:
    """Wait until it is one's turn to write to a space.

    Raises:
        DeliveryError: That would take too long; nothing was sent.
    """
    now = time.monotonic()
    at = max(now, _FREE_AT.get(space, 0.0))
    if at - now > LONGEST_WAIT_S:
        raise DeliveryError(BUSY, status=429, retryable=True, retry_after_s=at - now)
    _note(space, at + EVERY_S)
    await asyncio.sleep(at - now)


def is_free(space: str) -> bool:
    """Say whether a write could begin at once."""
    return time.monotonic() >= _FREE_AT.get(space, 0.0)


def pause(space: str, seconds: float) -> None:
    """Write nothing to a space for a while, because Google said so."""
    at = time.monotonic() + seconds
    _note(space, max(at, _FREE_AT.get(space, 0.0)))


def _note(space: str, free_at: float) -> None:
    if len(_FREE_AT) >= MAX_KEPT:
        now = time.monotonic()
        for old in [name for name, at in _FREE_AT.items() if at < now]:
            del _FREE_AT[old]
    _FREE_AT[space] = free_at
