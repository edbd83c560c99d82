"""The two shapes in which Google Chat describes an event, read into the same facts.

A classic Chat app says at the top what happened (``type``); an app that is a Workspace
add-on gets the same below ``chat``, and is recognised by that.

Sources: developers.google.com/workspace/chat/receive-respond-interactions,
/workspace/chat/convert, /workspace/add-ons/chat/build and
/workspace/chat/api/reference/rest/v1/EventType.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from channels_app.turn_run import storable

Dialect = Literal["classic", "addon"]
What = Literal["message", "added", "removed", "command", "click", "other"]
Json = dict[str, Any]

MAX_NAME_CHARS: Final = 200
_CLASSIC: Final[dict[str, What]] = {
    "MESSAGE": "message",
    "ADDED_TO_SPACE": "added",
    "REMOVED_FROM_SPACE": "removed",
    "APP_COMMAND": "command",
    "CARD_CLICKED": "click",
}
_ADDON: Final[dict[str, What]] = {
    "messagePayload": "message",
    "addedToSpacePayload": "added",
    "removedFromSpacePayload": "removed",
    "appCommandPayload": "command",
    "buttonClickedPayload": "click",
}


@dataclass(frozen=True, slots=True)
class Facts:
    """What happened; each part is as Google wrote it, ``{}`` where it is missing."""

    what: What
    time: str
    user: Json
    """Who did it."""
    space: Json
    thread: Json
    message: Json
    """What was written; for a click the app's own message with the button."""
    command: Json
    """Which command was chosen, from a menu or by a slash."""
    parameters: Mapping[str, str]
    """What a pressed button carries."""


def read(payload: Json) -> tuple[Dialect, Facts]:
    """Return the dialect of an event and what it says."""
    if isinstance(payload.get("chat"), dict):
        return "addon", _of_addon(payload)
    return "classic", _of_classic(payload)


def _of_classic(payload: Json) -> Facts:
    kind = payload.get("type")
    what = _CLASSIC.get(kind, "other") if isinstance(kind, str) else "other"
    message = dict_of(payload, "message")
    if what == "added" and raw(message, "text").strip():
        what = "message"  # whoever adds the app by naming it says something already
    return Facts(
        what=what,
        time=raw(payload, "eventTime"),
        user=dict_of(payload, "user"),
        space=dict_of(payload, "space") or dict_of(message, "space"),
        thread=dict_of(payload, "thread"),
        message=message,
        command=dict_of(payload, "appCommandMetadata")
        or dict_of(message, "slashCommand"),
        parameters=_parameters(dict_of(payload, "common"), dict_of(payload, "action")),
    )


def _of_addon(payload: Json) -> Facts:
    chat = dict_of(payload, "chat")
    name = next((each for each in _ADDON if isinstance(chat.get(each), dict)), "")
    what = _ADDON.get(name, "other")
    content = dict_of(chat, name)
    message = dict_of(content, "message")
    return Facts(
        what=what,
        time=raw(chat, "eventTime"),
        user=dict_of(chat, "user"),
        space=dict_of(content, "space") or dict_of(message, "space"),
        thread=dict_of(content, "thread"),
        message=message,
        command=dict_of(content, "appCommandMetadata")
        or dict_of(message, "slashCommand"),
        parameters=_parameters(dict_of(payload, "commonEventObject"), {}),
    )


def _parameters(common: Json, action: Json) -> Mapping[str, str]:
    """Return what a pressed button carries, by name; only texts count."""
    found = {
        pair["key"]: pair.get("value")
        for pair in list_of(action, "parameters")
        if isinstance(pair.get("key"), str)
    }
    found |= dict_of(common, "parameters")
    return {
        storable(name): storable(value)
        for name, value in found.items()
        if isinstance(value, str) and value.strip()
    }


# --- reading what may be anything -------------------------------------------------


def words(thing: Json, name: str) -> str:
    """Return a name as one short line, ``""`` where there is none."""
    return " ".join(raw(thing, name).split())[:MAX_NAME_CHARS]


def raw(thing: Json, name: str) -> str:
    """Return a text, ``""`` where there is none."""
    value = thing.get(name)
    return storable(value) if isinstance(value, str) else ""


def dict_of(thing: Json, name: str) -> Json:
    """Return an object, ``{}`` where there is none."""
    value = thing.get(name)
    return value if isinstance(value, dict) else {}


def list_of(thing: Json, name: str) -> list[Json]:
    """Return the objects of a list, none where there is no list."""
    value = thing.get(name)
    listed = value if isinstance(value, list) else []
    return [each for each in listed if isinstance(each, dict)]
