"""What the templates of the messages of a conversation need."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from personas.conversations import branch
from personas.memory.notes import notes_of
from personas.models import Conversation, Message
from personas.tree import mark_siblings
from personas.windows import window_around
from routing.decisions import notices_of_turns

MESSAGES_SHOWN = 30


def thread_context(
    chat: Conversation, *, before: UUID | None = None, target: UUID | None = None
) -> dict[str, Any]:
    """Describe the end of the shown branch, or another part of the conversation.

    Args:
        before: Show what stands before this message.
        target: Show this message among its neighbours, on its own branch.

    Raises:
        Http404: ``before`` is not of this conversation.
    """
    is_older, other_branch = before is not None, None
    if target is not None:
        window = window_around(chat, target, limit=MESSAGES_SHOWN)
        messages, is_older = window.messages, not window.is_end
        if not window.is_shown:
            other_branch = target
    else:
        messages = branch(chat, limit=MESSAGES_SHOWN, before=before)
    return {
        **_beside(chat, messages),
        "thread": messages,
        "older_before": messages[0].pk if _has_older(messages) else None,
        "is_older": is_older,
        "target": target,
        "other_branch": other_branch,
    }


def message_context(message: Message) -> dict[str, Any]:
    """Describe one message alone, as it stands in the thread."""
    chat = message.conversation
    mark_siblings(chat, [message])
    return {**_beside(chat, [message]), "message": message}


def _beside(chat: Conversation, messages: list[Message]) -> dict[str, Any]:
    answers = [each.pk for each in messages if each.role == Message.Role.ASSISTANT]
    return {
        "conversation": chat,
        "conversation_id": chat.pk,
        "persona": chat.persona,
        "notices": notices_of_turns(chat.owner, answers),
        "memory_notes": notes_of(chat.owner, [each.pk for each in messages]),
    }


def _has_older(messages: list[Message]) -> bool:
    return bool(messages) and messages[0].parent_id is not None
