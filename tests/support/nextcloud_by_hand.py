"""What the stand-in for Nextcloud Talk offers to somebody who tries things out.

====================  ===============================================================
``GET /journal``      the requests that came and the messages that the bot posted
``DELETE /journal``   the same, and both begin anew
``POST /send``        a person writes: ``{"address", "text", "room"?, "sender"?}``; the
                      signed event goes to ``address``, and the answer is what came
                      back, with the message's ``id``. The bot is enabled in ``room``.
====================  ===============================================================
"""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web

from tests.support.nextcloud_events import ROOM

if TYPE_CHECKING:
    from tests.support.nextcloud import Nextcloud

PATHS: Final = frozenset({"/journal", "/send"})
"""Addresses that Nextcloud has not."""
FIELDS: Final = frozenset({"address", "text", "room", "sender"})


async def answer(server: Nextcloud, request: web.Request) -> web.Response:
    """Do what is asked for at one of ``PATHS``."""
    if request.path == "/journal":
        return _journal(server, request)
    wish = _wish_of(await request.read())
    if wish is None:
        wanted = 'Send {"address", "text", "room"?, "sender"?}, each a text.'
        return web.json_response({"error": wanted}, status=400)
    # Nextcloud goes on answering the bot while the bot takes the event.
    return web.json_response(await asyncio.to_thread(_send, server, **wish))


def _journal(server: Nextcloud, request: web.Request) -> web.Response:
    if request.method == "DELETE":
        server.calls.clear()
        server.posts.clear()
    calls = [(call.method, call.path, call.status) for call in server.calls]
    posts = [vars(post) for post in server.posts]
    return web.json_response({"calls": calls, "posts": posts})


def _wish_of(body: bytes) -> dict[str, str] | None:
    try:
        wish = json.loads(body)
    except ValueError:
        return None
    if not isinstance(wish, dict) or not {"address", "text"} <= wish.keys() <= FIELDS:
        return None
    return wish if all(isinstance(value, str) for value in wish.values()) else None


def _send(
    server: Nextcloud,
    address: str,
    text: str,
    room: str = ROOM,
    sender: str = "users/alice",
) -> dict[str, Any]:
    server.bot.rooms.add(room)
    name = sender.rpartition("/")[2].capitalize()
    number = server.new_message_id(room)
    try:
        got = server.say(
            address,
            text,
            room=room,
            room_name=room,
            sender=sender,
            name=name,
            id=number,
        )
    except (OSError, ValueError) as error:
        return {"id": number, "status": None, "answer": str(error)}
    return {"id": number, "status": got.status, "answer": got.body}
