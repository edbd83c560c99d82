"""Writes conversations as sessions of the old form.

A session that was taken over and that nobody touched since is its old text again. In
one that was changed, what is left keeps its old text, and what is new stands behind it.
Conversations that began in Cortex are an object with their messages. Of a conversation
with branches the one that is shown is written.
"""

from __future__ import annotations

import datetime
import json
import uuid
from typing import Any, Final

from personas.home.session_rows import digest_of
from personas.models import Conversation, HomePiece, HomeSession, Message

OWN_PREFIX: Final = "cortex-"
"""Begins the names of sessions that are conversations of Cortex."""


def own_name(conversation: Conversation) -> str:
    """Return the file's name of a conversation that began in Cortex."""
    return f"{OWN_PREFIX}{conversation.pk}.json"


def own_id(name: str) -> uuid.UUID | None:
    """Return the conversation that a file's name stands for; ``None`` = none."""
    if not name.startswith(OWN_PREFIX) or not name.endswith(".json"):
        return None
    try:
        return uuid.UUID(name.removeprefix(OWN_PREFIX).removesuffix(".json"))
    except ValueError:
        return None


def own_text(conversation: Conversation) -> str:
    """Return a conversation of Cortex as a session."""
    value = {
        "id": str(conversation.pk),
        "title": conversation.title,
        "created_at": _time(conversation.created_at),
        "messages": [_entry(message) for message in _shown(conversation)],
    }
    return json.dumps(value, ensure_ascii=False, indent=2) + "\n"


def session_text(session: HomeSession) -> str:
    """Return the text of a session whose conversation is still there."""
    conversation = session.conversation
    if conversation is None:
        raise ValueError("The conversation of this session was deleted.")
    pieces = list(conversation.home_pieces.order_by("number"))
    shown = _shown(conversation)
    known = {piece.message_id for piece in pieces}
    added = [message for message in shown if message.pk not in known]
    gone = set(
        conversation.messages.filter(deleted_at__isnull=False).values_list(
            "pk", flat=True
        )
    )
    left = [piece for piece in pieces if piece.message_id not in gone]
    text = "".join(piece.before + piece.text for piece in left)
    if not added and digest_of(text.encode()) == session.digest:
        return text
    entries = [_one_line(message) for message in added]
    return _joined(left, entries, by_lines=session.name.endswith(".jsonl"))


def _joined(pieces: list[HomePiece], added: list[str], *, by_lines: bool) -> str:
    """Put what is left and what is new together, with what separates them."""
    head, *middle, tail = pieces
    usual = next((piece.before for piece in middle if piece.before), "")
    separator = usual or ("\n" if by_lines else ",\n  ")
    parts = [head.text]
    for number, piece in enumerate(middle):
        if number:
            parts.append(piece.before or separator)
        parts.append(piece.text)
    for number, text in enumerate(added):
        parts += [separator if number or middle else "", text]
    return "".join([*parts, tail.text])


def _shown(conversation: Conversation) -> list[Message]:
    """Return the messages of the branch that is shown, the oldest first."""
    rows = {
        message.pk: message for message in conversation.messages.order_by("created_at")
    }
    place = conversation.current_message_id or next(reversed(rows), None)
    path: list[Message] = []
    while place in rows:
        message = rows[place]
        path.append(message)
        place = message.parent_id
    path.reverse()
    return [
        message
        for message in path
        if message.deleted_at is None and message.state != Message.State.GENERATING
    ]


def _one_line(message: Message) -> str:
    return json.dumps(_entry(message), ensure_ascii=False)


def _entry(message: Message) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "role": message.role,
        "content": message.text,
        "timestamp": _time(message.created_at),
    }
    if message.model:
        entry["model"] = message.model
    if message.author_name:
        entry["author"] = message.author_name
    if message.from_guest:
        entry["guest"] = True
    return entry


def _time(moment: datetime.datetime) -> str:
    return moment.astimezone(datetime.UTC).isoformat().replace("+00:00", "Z")
