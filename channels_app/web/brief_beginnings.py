"""What the form of a new brief begins with when a conversation is made one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from accounts.models import User
from channels_app.jobs import spoken_times
from channels_app.web import brief_times
from channels_app.web.brief_targets import (
    OWN,
    room_of_conversation,
    room_value,
)
from personas.conversations import branch
from personas.models import Conversation, Message

LOOKED_AT = 60
"""Messages at the end of the branch among which one's own last is looked for."""
_TEMPORARY = (
    "“{}” is temporary and will be gone, so the brief gets a conversation of its own."
)
_SHARED = (
    "Others read along in “{}”, and no room is known into which answers could be "
    "sent. The brief gets a conversation of its own, where only you read."
)
_TIME_READ = "When it comes was read from your message."
_HOUR_ASSUMED = (
    "Your message says no hour, so one was assumed: change it if it is wrong."
)
_ROOM = "Others read along in “{}”: answers go into that room, without private files."


@dataclass(frozen=True, slots=True)
class Beginning:
    """What is filled in, and what to say about it."""

    initial: dict[str, Any] = field(default_factory=lambda: {"target": OWN})
    conversation: Conversation | None = None
    """The conversation in which the answers can go on."""
    made_of: Conversation | None = None
    """The conversation that is being made a brief."""
    note: str = ""


def beginning_of(user: User, chat: Conversation) -> Beginning:
    """Return the beginning of a brief that asks again what was asked last in a chat."""
    title = chat.title or "Untitled chat"
    initial = {
        "name": title[:80],
        "persona": chat.persona.name,
        "target": f"conversation:{chat.pk}",
    }
    asked, time_note = _what_and_when(_last_own_text(chat))
    initial |= asked
    if chat.temporary:
        initial["target"] = OWN
        note = _TEMPORARY.format(title)
        return Beginning(initial, None, chat, f"{note} {time_note}".strip())
    if not chat.shared:
        return Beginning(initial, chat, chat, time_note)
    room = room_of_conversation(user, chat)
    initial["target"] = room_value(room) if room else OWN
    note = (_ROOM if room else _SHARED).format(title)
    return Beginning(initial, None, chat, f"{note} {time_note}".strip())


def _what_and_when(text: str) -> tuple[dict[str, Any], str]:
    """Return the prompt, the times where the text says when, and a note on them."""
    wish = spoken_times.read(text)
    if wish is None:
        return {"prompt": text}, ""
    fields = {"prompt": wish.prompt, **brief_times.in_fields(wish.cron)}
    return fields, _HOUR_ASSUMED if wish.assumed else _TIME_READ


def _last_own_text(chat: Conversation) -> str:
    """Return the person's last own message of the branch that is shown."""
    for message in reversed(branch(chat, limit=LOOKED_AT)):
        is_own = message.role == Message.Role.USER and not message.from_guest
        if is_own and message.deleted_at is None:
            return message.text
    return ""
