"""Conversations as Markdown, for eyes instead of programs: the branch that is shown."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from datetime import datetime, tzinfo

from personas.models import Conversation, Message

BATCH = 500
_READ = ("role", "text", "author_name", "from_guest", "state", "created_at")
_ENDS = {
    Message.State.INCOMPLETE: "This answer is incomplete.",
    Message.State.INTERRUPTED: "This answer was interrupted.",
    Message.State.FAILED: "This answer failed.",
    Message.State.GENERATING: "This answer was still being written.",
}


def as_markdown(
    conversation: Conversation, shown: Sequence[uuid.UUID], zone: tzinfo
) -> Iterator[str]:
    """Yield a conversation as it is read, in pieces.

    Args:
        conversation: With its persona.
        shown: The messages of the shown branch, the oldest first.
        zone: Of the times; it is named once at the top.
    """
    persona = conversation.persona.display_name
    begun = _time(conversation.created_at, zone)
    yield f"# {conversation.title or 'Conversation'}\n\n"
    yield f"With {persona}, begun {begun}. Times are those of {zone}.\n"
    kept = conversation.messages.filter(deleted_at=None).only(*_READ)
    for start in range(0, len(shown), BATCH):
        ids = shown[start : start + BATCH]
        found = kept.in_bulk(ids)
        for id in ids:
            if id in found:  # else deleted this very moment
                yield _message(found[id], persona, zone)


def _message(message: Message, persona: str, zone: tzinfo) -> str:
    who = message.author_name or ("Somebody else" if message.from_guest else "You")
    if message.role == Message.Role.ASSISTANT:
        who = persona
    head = f"\n## {who} · {_time(message.created_at, zone)}\n\n"
    text = message.text.rstrip()
    end = _ENDS.get(Message.State(message.state), "")
    parts = [part for part in (text, end and f"*{end}*") if part]
    return head + "\n\n".join(parts) + "\n"


def _time(moment: datetime, zone: tzinfo) -> str:
    return f"{moment.astimezone(zone):%Y-%m-%d %H:%M}"
