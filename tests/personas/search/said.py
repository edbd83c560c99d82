"""Conversations for the tests of search, as they lie in the database."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone

from personas.models import Conversation, Message, Persona
from personas.search.indexing import index_new


def say(
    persona: Persona,
    *texts: str,
    conversation: Conversation | None = None,
    at: datetime | None = None,
    role: str = Message.Role.USER,
    **of_conversation: Any,
) -> list[Message]:
    """Store messages one minute apart, in a conversation of their own by default."""
    thread = conversation or Conversation.objects.create(
        owner=persona.owner, persona=persona, **of_conversation
    )
    begin = at or timezone.now() - timedelta(minutes=len(texts) + 1)
    return Message.objects.bulk_create(
        Message(
            conversation=thread,
            owner=persona.owner,
            role=role,
            text=text,
            created_at=begin + timedelta(minutes=number),
        )
        for number, text in enumerate(texts)
    )


def say_and_index(persona: Persona, *texts: str, **options: Any) -> list[Message]:
    """Store messages and let search know them."""
    messages = say(persona, *texts, **options)
    while index_new():
        pass
    return messages


def marked(pieces: Sequence[tuple[str, bool]]) -> list[str]:
    """Return the marked words of a snippet."""
    return [text for text, is_marked in pieces if is_marked]
