"""``POST /webhook/nextcloud/<username>``: what Nextcloud Talk tells a person's bot.

Nextcloud waits five seconds and never sends an event twice, so the event is stored,
200 is answered, and the work begins afterwards. Everything that is validly signed gets
200, also a repetition, which has no effect. Who calls is proved by the signature alone:
no address, cookie or header stands for it.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Final

from django.db import OperationalError
from django.http import HttpRequest, HttpResponseBase, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from accounts.secrets import Undecryptable
from channels_app.bots import answering, inbox
from channels_app.bots.channels import find_channel, secret
from channels_app.bots.incoming import Incoming
from channels_app.models import Channel
from channels_app.nextcloud_talk.events import incoming_of
from channels_app.nextcloud_talk.own_actor import learn, own_actor
from channels_app.nextcloud_talk.signature import (
    BACKEND_HEADER,
    RANDOM_HEADER,
    SECRET_NAMES,
    SIGNATURE_HEADER,
    matching_secret,
)
from channels_app.web.error_pages import error_response
from routing.db_pool import run_in_db_pool

logger = logging.getLogger(__name__)

MAX_BODY_BYTES: Final = 1024 * 1024
"""A message has at most 32,000 characters and may quote another; a character takes up
to fourteen bytes, because JSON stands within JSON."""
MAX_RANDOM_CHARS: Final = 128
"""Nextcloud sends 64; this is what a row holds."""

NO_BOT = "There is no bot at this address."
TOO_LONG = "The event is larger than the 1 MB that Cortex accepts."
NO_SIGNATURE = f"The headers {RANDOM_HEADER} and {SIGNATURE_HEADER} are needed."
LONG_RANDOM = f"The header {RANDOM_HEADER} is too long."
WRONG = "The signature does not match."


@dataclass(frozen=True, slots=True)
class _Found:
    """The channel behind an address, and the secret that signed the request."""

    channel_id: int
    url: str
    signed_with: str | None
    bot: str
    """The bot's own name in Nextcloud, empty while it is not known."""


@csrf_exempt
@require_POST
async def talk_webhook(request: HttpRequest, username: str) -> HttpResponseBase:
    """Take one event: 200, or 400, 401, 404, 413 with the reason."""
    if _announced_bytes(request) > MAX_BODY_BYTES:
        return error_response(request, 413, TOO_LONG)
    body = request.body
    if len(body) > MAX_BODY_BYTES:
        return error_response(request, 413, TOO_LONG)
    random = request.headers.get(RANDOM_HEADER, "")
    given = request.headers.get(SIGNATURE_HEADER, "")
    found = await run_in_db_pool(_find, username, _raw(random), _raw(given), body)
    if found is None:
        return error_response(request, 404, NO_BOT)
    if not random or not given:
        return error_response(request, 400, NO_SIGNATURE)
    if len(random) > MAX_RANDOM_CHARS:
        return error_response(request, 400, LONG_RANDOM)
    if found.signed_with is None:
        return error_response(request, 401, WRONG, "unauthenticated")
    extra = {"signed_with": found.signed_with}
    if _is_elsewhere(request.headers.get(BACKEND_HEADER, ""), found.url):
        logger.warning(
            "an event names another server than the settings do; answers go to the "
            "one in the settings",
            extra={"channel": found.channel_id},
        )
        extra["backend"] = "other"
    incoming = incoming_of(body, random, extra, found.bot)
    receipt = await _store(found.channel_id, incoming)
    if receipt.is_new:
        answering.wake(found.channel_id)
        await learn(found.channel_id, incoming, found.bot)
    return JsonResponse({"status": "ok"})


async def _store(channel_id: int, incoming: Incoming) -> inbox.Receipt:
    """Store an event, with a second try while the database is busy.

    Both fit into Nextcloud's five seconds, after which the event would be lost.
    """
    try:
        return await inbox.receive(channel_id, incoming)
    except OperationalError:
        return await inbox.receive(channel_id, incoming)


def _find(username: str, random: bytes, given: bytes, body: bytes) -> _Found | None:
    """Find the channel and check the signature, in one step."""
    channel = find_channel(Channel.Kind.NEXTCLOUD_TALK, username)
    if channel is None:
        return None
    try:
        secrets = {name: secret(channel, name) for name in SECRET_NAMES}
    except Undecryptable:
        logger.exception("a channel's secret cannot be read")
        return None
    return _Found(
        channel.pk,
        str(channel.settings.get("url", "")),
        matching_secret(secrets, random, given, body),
        own_actor(channel.settings),
    )


def _raw(header: str) -> bytes:
    """Return a header's bytes as they arrived (ASGI: Latin-1)."""
    return header.encode("latin-1", "replace")


def _announced_bytes(request: HttpRequest) -> int:
    length = request.headers.get("Content-Length", "")
    return int(length) if length.isascii() and length.isdigit() else 0


def _is_elsewhere(backend: str, url: str) -> bool:
    """Say whether the header names another server than the settings.

    ``/`` alone means that the server does not know its own address.
    """
    backend = backend.rstrip("/").lower()
    return bool(backend) and backend != url.rstrip("/").lower()
