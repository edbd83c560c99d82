"""What Google Chat sends, turned into ``Incoming``.

Called only after the request's token was checked. Whatever the body says, the result is
an event: what cannot be understood has the kind ``other`` and no effect.

Sources: developers.google.com/workspace/chat/receive-respond-interactions and
/workspace/chat/api/reference/rest/v1/spaces.messages.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from channels_app.bots.incoming import EventKind, Incoming
from channels_app.google_chat.dialects import (
    Dialect,
    Facts,
    Json,
    dict_of,
    list_of,
    raw,
    read,
    words,
)
from routing.net import parse_json

COMMANDS: Final = {
    1: "/help",
    2: "/new",
    3: "/model",
    4: "/persona",
    5: "/stop",
    6: "/cost",
}
"""The ids that the commands get in Google's console, as the guide tells.

Ids are part of the apps that people set up: never give one to another command.
"""
SPACE: Final = re.compile(r"spaces/[\w-]{1,150}", re.ASCII)
MESSAGE: Final = re.compile(r"spaces/[\w-]{1,150}/messages/[\w.-]{1,150}", re.ASCII)
THREAD: Final = re.compile(r"spaces/[\w-]{1,150}/threads/[\w-]{1,150}", re.ASCII)
USER: Final = re.compile(r"users/[\w.-]{1,150}", re.ASCII)
MAX_TEXT_CHARS: Final = 64_000
SPOKEN: Final = frozenset({"message", "command", "click"})


@dataclass(frozen=True, slots=True)
class Heard:
    """An event, and in which shape it must be answered."""

    dialect: Dialect
    incoming: Incoming


def hear(body: bytes, extra: Mapping[str, Any]) -> Heard:
    """Return the event in a verified request; never raises for what the body says.

    Args:
        body: The raw body.
        extra: What the adapter must know to answer.
    """
    try:
        payload = parse_json(body)
    except ValueError:
        payload = None
    dialect, facts = read(payload if isinstance(payload, dict) else {})
    sender = _sender(facts)
    room, user = matching(SPACE, facts.space), matching(USER, sender)
    is_human = bool(user) and sender.get("type") == "HUMAN"
    text = _text(facts) if facts.what in SPOKEN else ""
    incoming = Incoming(
        external_id=_external_id(facts, body),
        kind=_kind(facts, text, is_human) if room else "other",
        room_id=room,
        room_name=words(facts.space, "displayName"),
        sender_id=user,
        sender_name=words(sender, "displayName"),
        text=text,
        names_bot=_names_bot(facts),
        is_direct=_is_direct(facts.space),
        thread=matching(THREAD, dict_of(facts.message, "thread"))
        or matching(THREAD, facts.thread),
        extra=dict(extra),
    )
    return Heard(dialect, incoming)


def matching(form: re.Pattern[str], thing: Json) -> str:
    """Return a resource's name if it has its form: it becomes a part of addresses."""
    name = thing.get("name")
    return name if isinstance(name, str) and form.fullmatch(name) else ""


# --- what happened, and who did it ----------------------------------------------------


def _kind(facts: Facts, text: str, is_human: bool) -> EventKind:
    if facts.what == "removed":
        return "left"
    if not is_human:
        return "other"
    if facts.what == "added":
        return "joined"
    # A click or a menu's command may mean nothing; a message is one without words too.
    return "message" if text or facts.what == "message" else "other"


def _sender(facts: Facts) -> Json:
    """Return who did it: the author of a message, else whoever clicked or added."""
    author = dict_of(facts.message, "sender")
    if facts.what != "message" or not author:
        return facts.user
    if author.get("name") == facts.user.get("name"):
        return {**facts.user, **author}
    return author


def _external_id(facts: Facts, body: bytes) -> str:
    """Return what all copies of an event share; only messages have a name."""
    message = matching(MESSAGE, facts.message)
    if facts.what == "message" and message:
        return message
    told = [
        matching(SPACE, facts.space),
        matching(USER, facts.user),
        facts.time,
        message,
        _command_id(facts),
        dict(facts.parameters),
    ]
    known = json.dumps(told, sort_keys=True).encode() if facts.time else body
    return f"{facts.what}/{sha256(known).hexdigest()}"


# --- whether it is for the app --------------------------------------------------------


def _is_direct(space: Json) -> bool:
    """Say whether Google vouches that only one person and the app read here.

    ``DIRECT_MESSAGE`` alone also means two people who talk to each other; the older
    ``DM`` does not.
    """
    told = space.get("singleUserBotDm")
    return told is True or (told is None and space.get("type") == "DM")


def _names_bot(facts: Facts) -> bool:
    """Say whether the app was addressed: directly, by a command or by its name."""
    if facts.what != "message" or facts.command or _is_direct(facts.space):
        return True
    mentions = (
        dict_of(e, "userMention") for e in list_of(facts.message, "annotations")
    )
    if any(dict_of(each, "user").get("type") == "BOT" for each in mentions):
        return True
    argument = raw(facts.message, "argumentText")
    if argument and argument != raw(facts.message, "text"):
        return True
    # Google sends no other messages of a group; that is believed unless the event
    # plainly comes from one and nothing in it points to the app.
    return not raw(facts.space, "spaceType") and not raw(facts.space, "type")


# --- what was said --------------------------------------------------------------------


def _text(facts: Facts) -> str:
    """Return what was said as plain words, without the mention of the app."""
    if facts.what == "click":
        lines = [f"{name}: {value}" for name, value in facts.parameters.items()]
        return "\n".join(lines)[:MAX_TEXT_CHARS]
    if facts.command and (command := _command(facts)):
        return command[:MAX_TEXT_CHARS]
    said = raw(facts.message, "argumentText") or raw(facts.message, "text")
    files = [
        f"[file: {words(each, 'contentName') or 'without a name'}]"
        for each in list_of(facts.message, "attachment")
    ]
    return "\n".join([said.strip(), *files]).strip()[:MAX_TEXT_CHARS]


def _command(facts: Facts) -> str:
    """Return a command as it is typed elsewhere, such as ``/model small``."""
    written = raw(facts.message, "text").strip()
    if written.startswith("/"):
        return written
    word = COMMANDS.get(_command_id(facts), "")
    argument = raw(facts.message, "argumentText").strip()
    return f"{word} {argument}".strip() if word else ""


def _command_id(facts: Facts) -> int:
    number = facts.command.get("appCommandId", facts.command.get("commandId"))
    text = str(number) if isinstance(number, int | str) else ""
    return int(text) if re.fullmatch(r"[0-9]{1,6}", text) else 0
