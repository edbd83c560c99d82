"""Reads the ``channels.json`` of an earlier Cortex into plain entries.

The old file had no fixed form, so these are understood, also below a key ``channels``
or ``users``::

    {"alice": {"nextcloud": {"url": …, "secret": …}, "google_chat": {…}}}
    {"nextcloud": {"alice": {"url": …, "secret": …}}}
    {"alice": {"type": "nextcloud", "url": …, "secret": …}}
    [{"user": "alice", "type": "nextcloud", "url": …, "secret": …}]

Names of settings may differ (``NAMES``). What is not understood is told, never guessed.
Nothing here touches the database.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from channels_app.models import Channel

MAX_BYTES: Final = 5 * 1024 * 1024
TALK, GOOGLE = Channel.Kind.NEXTCLOUD_TALK, Channel.Kind.GOOGLE_CHAT
KINDS: Final = {
    "nextcloud": TALK,
    "nextcloud_talk": TALK,
    "talk": TALK,
    "google": GOOGLE,
    "google_chat": GOOGLE,
    "googlechat": GOOGLE,
    "gchat": GOOGLE,
}
GROUPS: Final = ("channels", "users")
"""Keys around the whole file or around one person's channels."""
NAMES: Final = {
    "user": ("user", "username", "owner"),
    "type": ("type", "kind", "channel", "platform"),
    "persona": ("persona", "persona_name", "agent"),
    "enabled": ("enabled", "active"),
    "rooms": (
        *("rooms", "allowed_rooms", "room_tokens", "conversations"),
        *("spaces", "allowed_spaces"),
    ),
    "users": ("users", "allowed_users", "allow_from", "linked_users"),
    "url": ("url", "base_url", "nextcloud_url", "server", "server_url"),
    "secret": ("secret", "bot_secret", "shared_secret", "webhook_secret"),
    "previous": ("previous", "previous_secret", "old_secret"),
    "audience": ("audience", "audience_type"),
    "project_number": ("project_number",),
    "endpoint": ("endpoint", "endpoint_url", "audience_url"),
    "addon_account": ("addon_account", "addon_service_account"),
    "service_account": (
        *("service_account", "service_account_json", "credentials"),
        *("service_account_file", "credentials_file", "key_file"),
    ),
}
_MEANING: Final = {name: own for own, names in NAMES.items() for name in names}


class UnusableChannelFile(Exception):
    """The file cannot be read at all; ``str()`` is one sentence."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One channel of one person, with our names for its settings."""

    user: str
    kind: str
    values: dict[str, Any] = field(repr=False)
    unknown: tuple[str, ...] = ()
    """Keys whose meaning is not known."""


@dataclass(frozen=True, slots=True)
class NotUnderstood:
    """A part of the file, and why nothing could be made of it."""

    where: str
    why: str


Found = Entry | NotUnderstood


def read(path: Path) -> list[Found]:
    """Return what the file holds, in its order.

    Raises:
        UnusableChannelFile: It is not there, too large, or no JSON.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        reason = (error.strerror or "it cannot be read").lower()
        raise UnusableChannelFile(f"{path.name}: {reason}.") from None
    if len(data) > MAX_BYTES:
        raise UnusableChannelFile(f"{path.name} is larger than 5 MB.")
    return list(_whole(_content(path.name, data)))


def read_of_person(user: str, name: str, data: bytes) -> list[Found]:
    """Return what a file holds that stood in one person's folder.

    It need not name them; what it has for others is named as not understood.

    Raises:
        UnusableChannelFile: It is no JSON.
    """
    content = _content(name, data)
    found = _whole(content) if _names_people(user, content) else _person(user, content)
    return [
        NotUnderstood(each.user, f"does not belong into the folder of {user}.")
        if isinstance(each, Entry) and each.user != user
        else each
        for each in found
    ]


def _names_people(user: str, content: Any) -> bool:
    """Say whether the parts of a file are told apart by people's names."""
    if isinstance(content, list):
        return any(isinstance(each, dict) and _value(each, "user") for each in content)
    if user in content:
        return True
    inner = [
        value
        for key, value in content.items()
        if key in GROUPS or KINDS.get(_plain(key))
    ]
    return any(
        _names_people(user, value) for value in inner if isinstance(value, dict | list)
    )


def _content(name: str, data: bytes) -> Any:
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        raise UnusableChannelFile(f"{name} is not JSON.") from None
    if not isinstance(content, dict | list):
        raise UnusableChannelFile(f"{name} holds neither an object nor a list.")
    return content


def _whole(content: Any) -> Iterator[Found]:
    if isinstance(content, list):
        for number, each in enumerate(content, 1):
            yield from _listed(f"entry {number}", each)
        return
    for key, value in content.items():
        kind = KINDS.get(_plain(key))
        if key in GROUPS and isinstance(value, dict | list):
            yield from _whole(value)
        elif kind and isinstance(value, dict):
            for user, settings in value.items():
                yield _entry(user, kind, settings)
        else:
            yield from _person(key, value)


def _listed(where: str, entry: Any) -> Iterator[Found]:
    """Read an entry of a list, which must name its person."""
    if not isinstance(entry, dict):
        yield NotUnderstood(where, "is no object.")
        return
    user = _value(entry, "user")
    if not isinstance(user, str) or not user:
        yield NotUnderstood(where, "names no user.")
        return
    rest = {key: entry[key] for key in entry if key not in NAMES["user"]}
    yield from _person(user, rest)


def _person(user: str, value: Any) -> Iterator[Found]:
    """Read all channels of one person."""
    if isinstance(value, list):
        for each in value:
            yield from _person(user, each)
        return
    if not isinstance(value, dict):
        yield NotUnderstood(user, "is no object.")
        return
    word = _value(value, "type")
    if isinstance(word, str):
        kind = KINDS.get(_plain(word))
        if kind is None:
            yield NotUnderstood(user, f"the channel “{word}” is not known here.")
        else:
            rest = {key: value[key] for key in value if key not in NAMES["type"]}
            yield _entry(user, kind, rest)
        return
    yield from _by_kind(user, value)


def _by_kind(user: str, value: dict[str, Any]) -> Iterator[Found]:
    """Read ``{"nextcloud": {…}, "google_chat": {…}}`` and what stands beside them."""
    shared = {
        own: found
        for own in ("persona", "enabled")
        if (found := _value(value, own)) is not None
    }
    for key, settings in value.items():
        if kind := KINDS.get(_plain(key)):
            yield _entry(user, kind, settings, shared)
        elif key in GROUPS and isinstance(settings, dict | list):
            yield from _person(user, settings)
        elif _MEANING.get(key) not in shared:
            yield NotUnderstood(f"{user}: {key}", "is no channel that is known here.")


def _entry(
    user: str, kind: str, settings: Any, shared: dict[str, Any] | None = None
) -> Found:
    if not isinstance(settings, dict):
        return NotUnderstood(f"{user}: {Channel.Kind(kind).label}", "is no object.")
    values = dict(shared or {})
    unknown = []
    for key, value in settings.items():
        meaning = _MEANING.get(key.lower())
        # Google's address is the audience of its tokens.
        if meaning == "url" and kind == GOOGLE:
            meaning = "endpoint"
        if meaning in {None, "user", "type"}:
            unknown.append(key)
        elif value not in (None, "", [], {}):
            values[str(meaning)] = value
    return Entry(user, kind, values, tuple(unknown))


def _value(entry: dict[str, Any], own: str) -> Any:
    for name in NAMES[own]:
        if name in entry:
            return entry[name]
    return None


def _plain(key: str) -> str:
    return key.lower().replace("-", "_").replace(" ", "_")
