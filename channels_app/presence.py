"""Tells every tab and device of a person that one of their conversations changed.

This is the only use of the channel layer: rare notes that may get lost without harm,
because the page reads the conversation itself. A failing layer never fails the caller.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from typing import Any

from asgiref.sync import async_to_sync
from channels.layers import get_channel_layer

logger = logging.getLogger(__name__)

EVENT = "conversation.changed"
LAYER_PATIENCE_S = 2.0


def group_of(user_id: int) -> str:
    """Return the name of the channel layer's group of a person."""
    return f"user_{user_id}"


async def conversation_changed(
    user_id: int,
    conversation: uuid.UUID,
    *,
    title: str | None = None,
    turn: uuid.UUID | None = None,
    message: uuid.UUID | None = None,
) -> None:
    """Send ``conversation.changed`` to all sockets of a person.

    ``title`` when it changed, ``turn`` when an answer has begun that other tabs may
    follow, ``message`` when one is to be shown in another way.
    """
    event: dict[str, Any] = {
        "type": EVENT,
        "user_id": user_id,
        "conversation": str(conversation),
    }
    if title is not None:
        event["title"] = title
    if turn is not None:
        event["turn"] = str(turn)
    if message is not None:
        event["message"] = str(message)
    try:
        async with asyncio.timeout(LAYER_PATIENCE_S):
            await get_channel_layer().group_send(group_of(user_id), event)
    except Exception as error:  # the layer's own errors depend on its back end
        logger.warning("No note of a changed conversation was sent: %r", error)


def conversation_changed_sync(
    user_id: int,
    conversation: uuid.UUID,
    *,
    title: str | None = None,
    message: uuid.UUID | None = None,
) -> None:
    """Do the same from synchronous code, such as a view that renamed something."""
    async_to_sync(conversation_changed)(
        user_id, conversation, title=title, message=message
    )


def as_frame(event: dict[str, Any]) -> dict[str, Any]:
    """Return the frame that a socket sends for an event of the layer."""
    return {name: value for name, value in event.items() if name != "user_id"}
