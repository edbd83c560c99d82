"""The part of a conversation around one message, on the branch that goes through it.

For links that lead to a message, such as those of search and of memory. Nothing is
changed by looking: the branch that is shown otherwise stays what it is.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass

from personas.conversations import branch
from personas.models import Conversation, Message


@dataclass(frozen=True, slots=True)
class Window:
    """Some messages in a row, oldest first, each with ``sibling_ids``."""

    messages: list[Message]
    is_end: bool
    """They are the end of the branch that is shown."""
    is_shown: bool
    """The branch is the one that is shown, or else another version."""


def window_around(
    conversation: Conversation, message_id: uuid.UUID, *, limit: int
) -> Window:
    """Return at most ``limit`` messages among which one of the conversation is.

    Those at the end of the shown branch where it is among them, else some before it
    and about as many behind it.
    """
    rows = list(
        conversation.messages.order_by("created_at", "id").values_list("parent", "id")
    )
    above = {id: parent for parent, id in rows}
    # Later rows win, so each parent keeps its newest child.
    newest = {parent: id for parent, id in rows if parent is not None}
    end = conversation.current_message_id or rows[-1][1]
    shown = _walk(end, above)
    is_shown = message_id in shown
    if is_shown:
        below = shown[: shown.index(message_id)][::-1]
    else:
        below = _walk(message_id, newest)[1:]
    if is_shown and len(below) < limit:
        return Window(branch(conversation, limit=limit), is_end=True, is_shown=True)
    last = below[min(limit // 2, len(below)) - 1] if below else message_id
    messages = branch(conversation, leaf=last, limit=limit)
    return Window(messages, is_end=False, is_shown=is_shown)


def _walk(
    start: uuid.UUID, steps: Mapping[uuid.UUID, uuid.UUID | None]
) -> list[uuid.UUID]:
    """Return the ids from one on, step by step, to where there is no further one."""
    found = [start]
    while following := steps.get(found[-1]):
        found.append(following)
    return found
