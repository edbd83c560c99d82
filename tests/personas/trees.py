"""Conversations for tests, written the short way."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from accounts.models import User
from personas.conversations import start_conversation
from personas.models import Conversation, Message, Persona

START = datetime(2026, 3, 1, 12, tzinfo=UTC)


def add(
    conversation: Conversation,
    parent: Message | None,
    text: str,
    *,
    state: str = Message.State.COMPLETE,
) -> Message:
    """Add a message whose role follows from its parent; each is a second later."""
    answers = parent is not None and parent.role == Message.Role.USER
    return Message.objects.create(
        conversation=conversation,
        owner=conversation.owner,
        parent=parent,
        role=Message.Role.ASSISTANT if answers else Message.Role.USER,
        text=text,
        state=state,
        created_at=START + timedelta(seconds=conversation.messages.count()),
    )


def line(conversation: Conversation, *texts: str) -> list[Message]:
    """Add an unbranched conversation: person, persona, person, …"""
    messages: list[Message] = []
    for text in texts:
        messages.append(add(conversation, messages[-1] if messages else None, text))
    return messages


def long_line(conversation: Conversation, length: int) -> list[Message]:
    """Add an unbranched conversation of many messages with few statements."""
    messages: list[Message] = []
    for number in range(length):
        messages.append(
            Message(
                conversation=conversation,
                owner=conversation.owner,
                parent=messages[-1] if messages else None,
                role=("user", "assistant")[number % 2],
                text=f"message {number} " + "word " * 20,
                created_at=START + timedelta(seconds=number),
            )
        )
    Message.objects.bulk_create(messages)
    return messages


def new_conversation(user: User, persona: Persona, title: str = "") -> Conversation:
    """Make a conversation without messages."""
    return start_conversation(user, persona, first_text=title)
