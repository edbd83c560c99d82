"""``POST /channels/google-chat/<username>``: what Google Chat tells a person's app.

Google's token is checked before the body is looked at. With a service account the event
is stored, acknowledged and answered later through the Chat API; without one the answer
must stand in the response, for which Google waits 30 seconds. Everything that is
validly signed gets 200, because Google stops sending to an app that refuses its events.
This is the only place where the ``Authorization`` header holds Google's token; it never
reaches the sign-in of the API.

Source: developers.google.com/workspace/chat/receive-respond-interactions.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import Any, Final

from django.db import Error as DatabaseError
from django.http import HttpRequest, HttpResponseBase, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from channels_app.bots import answering, inbox
from channels_app.bots.channels import find_channel
from channels_app.google_chat import replies, wording
from channels_app.google_chat.events import Heard, hear
from channels_app.google_chat.key_sets import KeysUnavailable
from channels_app.google_chat.tokens import Expected, WrongToken, expected_of, verify
from channels_app.models import Channel
from channels_app.web.error_pages import error_response
from routing.db_pool import run_in_db_pool

logger = logging.getLogger(__name__)

ANSWER_WITHIN_S: Final = 24.0
"""From the arrival of an event to an answer in the response; people see an error
after 30."""
MAX_BODY_BYTES: Final = 1024 * 1024

NO_APP = "There is no app at this address."
NOT_GOOGLE = "The request carries no valid token of Google Chat for this address."
NO_KEYS = "Google's keys cannot be had at the moment."
NO_DATABASE = "The event cannot be stored at the moment."


@dataclass(frozen=True, slots=True)
class _Door:
    """The channel behind an address."""

    channel_id: int
    expected: Expected
    posts: bool
    """It has a service account, so that answers can be posted later."""


@csrf_exempt
@require_POST
async def google_chat(request: HttpRequest, username: str) -> HttpResponseBase:
    """Take one event: 200, or 401, 404, 503 with the reason."""
    arrived = time.monotonic()
    try:
        door = await run_in_db_pool(_find, username)
        if door is None:
            return error_response(request, 404, NO_APP)
        await verify(request.headers.get("Authorization", ""), door.expected)
        return JsonResponse(await _take(request, door, arrived))
    except WrongToken as error:
        logger.warning("an event for Google Chat is refused: %s", error)
        refusal = error_response(request, 401, NOT_GOOGLE, "unauthenticated")
        refusal["WWW-Authenticate"] = "Bearer"
        return refusal
    except KeysUnavailable as error:
        logger.warning("an event for Google Chat cannot be checked: %s", error)
        return error_response(request, 503, NO_KEYS, "upstream_unavailable")
    except DatabaseError:
        logger.exception("an event for Google Chat cannot be stored")
        return error_response(request, 503, NO_DATABASE, "internal")


def _find(username: str) -> _Door | None:
    """Find the channel; one whose settings demand nothing does not exist."""
    channel = find_channel(Channel.Kind.GOOGLE_CHAT, username)
    expected = None if channel is None else expected_of(channel.settings)
    if channel is None or expected is None:
        return None
    return _Door(channel.pk, expected, bool(channel.secrets.get("service_account")))


async def _take(request: HttpRequest, door: _Door, arrived: float) -> dict[str, Any]:
    """Store a verified event and return the answer to Google."""
    body = request.body
    if len(body) > MAX_BODY_BYTES:
        logger.warning("an event of %s bytes for Google Chat is ignored", len(body))
        return replies.nothing()
    heard = hear(body, {} if door.posts else {"sync": True})
    receipt = await inbox.receive(door.channel_id, heard.incoming)
    if receipt.event_id is None or not receipt.is_new:
        return replies.nothing()
    if heard.incoming.kind not in {"message", "joined"}:
        answering.wake(door.channel_id)
        return replies.nothing()
    said = ""
    if heard.incoming.kind == "joined":
        said = await run_in_db_pool(wording.welcome, door.channel_id, heard.incoming)
    if door.posts:
        answering.wake(door.channel_id)
    else:
        left_s = ANSWER_WITHIN_S - (time.monotonic() - arrived)
        answer = await _answer(receipt.event_id, heard, left_s)
        said = "\n\n".join(filter(None, [said, answer]))
    return replies.message(heard.dialect, said) if said else replies.nothing()


async def _answer(event_id: int, heard: Heard, within_s: float) -> str:
    """Return the answer for the response, or where it will stand."""
    text = await answering.answer_now(event_id, within_s)
    if text is not None:
        return await run_in_db_pool(wording.fitting, text, event_id)
    if heard.incoming.kind == "joined":
        return ""
    return await run_in_db_pool(wording.too_late, event_id)
