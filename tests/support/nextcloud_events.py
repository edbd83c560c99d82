"""What Nextcloud Talk tells a bot, and how it is signed and sent.

Source: https://nextcloud-talk.readthedocs.io/en/latest/bots/ (receiving)
"""

from __future__ import annotations

import hmac
import json
import secrets
import string
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from hashlib import sha1, sha256
from typing import Any, Final

ROOM: Final = "abc123de"
RANDOM_CHARACTERS: Final = string.ascii_letters + string.digits + "+/"


@dataclass(frozen=True)
class Answer:
    """What the bot's address answered to an event."""

    status: int
    body: str
    seconds: float

    @property
    def counts_as_error(self) -> bool:
        """Whether Nextcloud would raise the bot's error count."""
        return self.status not in {200, 202}


def php_json(value: Any) -> bytes:
    r"""Write JSON as PHP does: ``\/`` for a slash, ``\u00fc`` for ``ü``."""
    text = json.dumps(value, separators=(",", ":"))
    return text.replace("/", "\\/").encode("ascii")


def sign(secret: str, random: str, signed: bytes) -> str:
    """Return the signature of an event or of a bot's text."""
    return hmac.new(secret.encode(), random.encode() + signed, sha256).hexdigest()


def new_random() -> str:
    """Return a random text as Nextcloud makes it."""
    return "".join(secrets.choice(RANDOM_CHARACTERS) for _ in range(64))


class Events:
    """Makes events as dictionaries; remembers which message is in which room."""

    def __init__(self) -> None:
        self._messages: dict[int, str] = {}
        self._last_id = 40
        self._lock = threading.Lock()

    def new_message_id(self, room: str = ROOM) -> int:
        """Return the id of a new message that somebody wrote into a room."""
        with self._lock:
            self._last_id += 1
            self._messages[self._last_id] = room
            return self._last_id

    def message(
        self,
        text: str,
        *,
        room: str = ROOM,
        room_name: str = "Room",
        sender: str = "users/alice",
        name: str = "Alice",
        parameters: dict[str, Any] | None = None,
        id: int | None = None,
        reply_to_bot: bool = False,
        bot_url: str = "",
    ) -> dict[str, Any]:
        """Return the event of a message that a person wrote."""
        number = id or self.new_message_id(room)
        self._messages[number] = room
        note: dict[str, Any] = {
            "type": "Note",
            "id": str(number),
            "name": "message",
            "content": _content(text, parameters),
            "mediaType": "text/markdown",
        }
        if reply_to_bot:
            note["inReplyTo"] = {
                "type": "Note",
                "actor": bot_actor(bot_url),
                "object": {
                    "type": "Note",
                    "id": str(number - 1),
                    "name": "message",
                    "content": _content("An earlier answer", None),
                    "mediaType": "text/markdown",
                },
            }
        return {
            "type": "Create",
            "actor": {
                "type": "Person",
                "id": sender,
                "name": name,
                "talkParticipantType": "1",
            },
            "object": note,
            "target": {"type": "Collection", "id": room, "name": room_name},
        }

    def activity(self, name: str = "call_started", **place: Any) -> dict[str, Any]:
        """Return the event of a system message."""
        event = self.message("{actor} started a call", **place)
        event["type"] = "Activity"
        event["object"]["name"] = name
        return event

    def join(self, room: str = ROOM, *, bot_url: str = "") -> dict[str, Any]:
        """Return the event of the bot having been enabled in a room."""
        return {
            "type": "Join",
            "actor": bot_actor(bot_url),
            "object": {"type": "Collection", "id": room, "name": "Room"},
        }

    def leave(self, room: str = ROOM, *, bot_url: str = "") -> dict[str, Any]:
        """Return the event of the bot having been disabled in a room."""
        return self.join(room, bot_url=bot_url) | {"type": "Leave"}

    def like(self, emoji: str = "👍", **place: Any) -> dict[str, Any]:
        """Return the event of a reaction."""
        return self.message("liked", **place) | {"type": "Like", "content": emoji}

    def undo(self, emoji: str = "👍", **place: Any) -> dict[str, Any]:
        """Return the event of a reaction that was taken back."""
        like = self.like(emoji, **place)
        return {
            "type": "Undo",
            "actor": like["actor"],
            "object": like,
            "target": like["target"],
        }


def _content(text: str, parameters: dict[str, Any] | None) -> str:
    # PHP writes an empty array for no parameters.
    return php_json({"message": text, "parameters": parameters or []}).decode()


def bot_actor(bot_url: str) -> dict[str, str]:
    """Return the bot as an actor, whose id comes from its address."""
    number = sha1(bot_url.encode(), usedforsecurity=False).hexdigest()
    return {"type": "Application", "id": f"bots/bot-{number}", "name": "Bot"}


def deliver(address: str, body: bytes, headers: dict[str, str]) -> Answer:
    """Post a request and return what came back, whatever its status."""
    request = urllib.request.Request(address, body, headers, method="POST")
    opener = urllib.request.build_opener(_NoRedirects)
    started = time.monotonic()
    try:
        with opener.open(request, timeout=5) as response:
            status, text = response.status, response.read()
    except urllib.error.HTTPError as error:
        status, text = error.code, error.read()
    return Answer(status, text.decode(), time.monotonic() - started)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None
