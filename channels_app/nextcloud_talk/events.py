"""What Nextcloud Talk sends, turned into ``Incoming``.

Called only with a body whose signature was checked. Whatever it says, the result is an
event: what cannot be understood has the kind ``other`` and no effect, because an error
would only be counted against the bot and never be sent again.

Source: https://nextcloud-talk.readthedocs.io/en/latest/bots/ (receiving)
"""

from __future__ import annotations

import re
from collections.abc import Callable
from hashlib import sha256
from typing import Any, Final

from channels_app.bots.incoming import EventKind, Incoming
from channels_app.nextcloud_talk.own_actor import is_own
from channels_app.turn_run import storable
from routing.net import parse_json

PLACEHOLDER: Final = re.compile(r"\{([\w.:-]{1,100})\}")
MENTION: Final = "mention-"
"""How the names of parameters begin that stand for people and get an ``@``."""
NOBODY: Final = frozenset({"bots", "bridged", "changelog", "cli"})
"""Types of actors behind which is no one person: a bridge lends everybody one id."""
LONGEST_ID: Final = 200
LONGEST_NAME: Final = 200
MAX_EXTERNAL_ID: Final = 255

Reader = Callable[[dict[str, Any], str], dict[str, Any]]
"""Reads an event of one type; the text is the bot's own name, if it is known."""


def incoming_of(
    body: bytes, nonce: str, extra: dict[str, Any], bot: str = ""
) -> Incoming:
    """Return the event in a verified request.

    Args:
        body: The raw body.
        nonce: The random text of the request.
        extra: What the adapter must know to answer.
        bot: The bot's own name in Nextcloud, where it is known.
    """
    try:
        event = parse_json(body)
    except ValueError:
        event = None
    kind = event.get("type") if isinstance(event, dict) else None
    reader = _READERS.get(kind) if isinstance(kind, str) else None
    found = reader(event, bot) if reader and isinstance(event, dict) else {}
    if not found.get("external_id"):
        word = kind.lower() if reader and isinstance(kind, str) else "unknown"
        found["external_id"] = f"{word}/{sha256(nonce.encode()).hexdigest()}"
    found.setdefault("kind", "other")
    return Incoming(nonce=nonce, extra=extra, **found)


# --- one reader for each type of event ----------------------------------------------


def _create(event: dict[str, Any], bot: str) -> dict[str, Any]:
    """Read a message that somebody wrote."""
    note = _dict(event, "object")
    found = _place_and_actor(event, _dict(event, "target"))
    number = _id(note)
    person = found["sender_id"].partition("/")[0]
    if not (found["room_id"] and number and person) or person in NOBODY:
        return found
    quoted = _dict(_dict(note, "inReplyTo"), "actor")
    return found | {
        "kind": "message",
        "external_id": _message_id(found["room_id"], number),
        "text": plain_text(note.get("content")),
        "reply_to": number,
        # There is no other way to address a bot: it takes no part in a room, so it
        # cannot be mentioned.
        "names_bot": is_own(_text(quoted, "id"), bot),
    }


def _activity(event: dict[str, Any], bot: str) -> dict[str, Any]:
    """Read a system message, such as that somebody joined the call."""
    found = _place_and_actor(event, _dict(event, "target"))
    number = _id(_dict(event, "object"))
    if found["room_id"] and number:
        found["external_id"] = _message_id(found["room_id"], number)
    return found


def _room_event(kind: EventKind) -> Reader:
    """Return the reader of Join or Leave, where ``object`` is the room itself."""

    def read(event: dict[str, Any], bot: str) -> dict[str, Any]:
        found = _place_and_actor(event, _dict(event, "object"))
        return found | {"kind": kind} if found["room_id"] else found

    return read


def _reaction(event: dict[str, Any], bot: str) -> dict[str, Any]:
    """Read Like or Undo.

    Some versions name the author of the message here instead of the person who
    reacted, so the actor is left out.
    """
    found = _place_and_actor(event, _dict(event, "target"))
    return found | {"kind": "reaction", "sender_id": "", "sender_name": ""}


_READERS: Final[dict[str, Reader]] = {
    "Create": _create,
    "Activity": _activity,
    "Join": _room_event("joined"),
    "Leave": _room_event("left"),
    "Like": _reaction,
    "Undo": _reaction,
}


# --- texts ---------------------------------------------------------------------------


def plain_text(content: Any) -> str:
    """Return a message's words; ``content`` is JSON within the JSON.

    ``{"message": "see {file}", "parameters": {"file": {"name": "a.pdf", …}}}`` gives
    ``see [a.pdf]``: whoever names a file or a card must not be able to say something
    by it, such as a command. Without parameters PHP writes an empty list instead of an
    object.
    """
    if not isinstance(content, str):
        return ""
    try:
        found = parse_json(content)
    except ValueError:
        return storable(content).strip()
    if not isinstance(found, dict):
        return storable(content).strip()
    parameters = _dict(found, "parameters")

    def word(match: re.Match[str]) -> str:
        parameter = parameters.get(match[1])
        return _word(match[1], parameter) if isinstance(parameter, dict) else match[0]

    return PLACEHOLDER.sub(word, _text(found, "message")).strip()


def _word(key: str, parameter: dict[str, Any]) -> str:
    name = _text(parameter, "name") or _text(parameter, "id")
    if key.startswith(MENTION):
        return f"@{name}"
    link = _text(parameter, "link")
    if link.startswith(("https://", "http://")):
        return f"[{name}] ({link})"
    return f"[{name}]"


# --- parts of an event ---------------------------------------------------------------


def _place_and_actor(event: dict[str, Any], room: dict[str, Any]) -> dict[str, Any]:
    actor = _dict(event, "actor")
    token, sender = _text(room, "id"), _text(actor, "id")
    return {
        "room_id": token if len(token) <= LONGEST_ID else "",
        "room_name": _text(room, "name")[:LONGEST_NAME],
        "sender_id": sender if len(sender) <= LONGEST_ID else "",
        "sender_name": _text(actor, "name")[:LONGEST_NAME],
    }


def _message_id(room: str, number: str) -> str:
    return f"{room}/{number}"[:MAX_EXTERNAL_ID]


def _id(note: dict[str, Any]) -> str:
    """Return the number of a message as text, ``""`` where there is none."""
    number = note.get("id")
    text = str(number) if isinstance(number, int | str) else ""
    return text if re.fullmatch(r"[0-9]{1,20}", text) else ""


def _dict(event: dict[str, Any], name: str) -> dict[str, Any]:
    value = event.get(name)
    return value if isinstance(value, dict) else {}


def _text(event: dict[str, Any], name: str) -> str:
    value = event.get(name)
    return storable(value) if isinstance(value, str) else ""
