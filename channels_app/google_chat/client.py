"""The Chat API, as the app itself: create, change and delete messages.

Source: developers.google.com/workspace/chat/api/reference/rest/v1/spaces.messages
(create, patch, delete) and /workspace/chat/limits.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

from django.conf import settings

from channels_app.bots.adapters import ChannelInfo
from channels_app.deliveries import DeliveryError
from channels_app.google_chat import pace
from channels_app.google_chat.access import access_token, account_of, forget
from channels_app.google_chat.events import MESSAGE, SPACE, THREAD
from routing import net
from routing.addresses import origin_of
from routing.errors import CutOff, NetError, NotAccepted, TookTooLong

TIMEOUT_S: Final = 10.0
PAUSE_S: Final = 5.0
"""How long a space is left alone after 429 without Retry-After."""
MARKUP: Final = "MARKUP_SYNTAX_CHAT"
"""Said with every text, because new apps are set to Markdown in Google's console.

Source: developers.google.com/workspace/chat/format-messages.
"""
REPLY_OPTION: Final = "REPLY_MESSAGE_FALLBACK_TO_NEW_THREAD"

SENTENCES: Final = {
    400: "Google Chat does not accept the message (400).",
    401: "Google Chat refuses the service account's access token (401).",
    403: "Google Chat refuses (403): the app is not in this space, or the Google Chat "
    "API is not switched on in the service account's project.",
    404: "The space or the message is gone (404), or the app is not in this space.",
    429: "Google Chat asks to write more slowly (429).",
}


@dataclass(frozen=True, slots=True)
class Posted:
    """A message as Google Chat has it."""

    name: str
    text: str | None
    """``None`` where the answer does not tell."""


async def create(
    channel: ChannelInfo, space: str, text: str, *, request_id: str, thread: str = ""
) -> Posted:
    """Post a message; the same ``request_id`` again returns the one that is there.

    Raises:
        DeliveryError: It was not posted, or nobody knows.
    """
    if not SPACE.fullmatch(space):
        raise DeliveryError("This is not the name of a space.")
    query = {"requestId": request_id}
    body: dict[str, Any] = {"text": text, "markupSyntax": MARKUP}
    if THREAD.fullmatch(thread) and thread.startswith(f"{space}/"):
        query["messageReplyOption"] = REPLY_OPTION
        body["thread"] = {"name": thread}
    path = f"/v1/{space}/messages?{urlencode(query)}"
    answer = await _write(channel, "POST", space, path, body)
    name, written = answer.get("name"), answer.get("text")
    if not isinstance(name, str) or not MESSAGE.fullmatch(name):
        raise DeliveryError(
            "Google Chat did not say what it posted.",
            retryable=True,
            may_have_arrived=True,
        )
    return Posted(name, written if isinstance(written, str) else None)


async def change(channel: ChannelInfo, name: str, text: str) -> None:
    """Replace the text of a message of the app; raises ``DeliveryError``."""
    path = f"/v1/{_checked(name)}?updateMask=text"
    body = {"text": text, "markupSyntax": MARKUP}
    await _write(channel, "PATCH", _space_of(name), path, body)


async def delete(channel: ChannelInfo, name: str) -> None:
    """Take back a message of the app; raises ``DeliveryError``."""
    await _write(channel, "DELETE", _space_of(name), f"/v1/{_checked(name)}", None)


def _checked(name: str) -> str:
    if not MESSAGE.fullmatch(name):
        raise DeliveryError("This is not the name of a message.")
    return name


def _space_of(name: str) -> str:
    return "/".join(name.split("/")[:2])


async def _write(
    channel: ChannelInfo, method: str, space: str, path: str, body: Any
) -> dict[str, Any]:
    """Send one request when the space's turn comes; a stale token is renewed once."""
    account = account_of(channel)
    token = await access_token(account)
    reply = await _send(method, space, path, body, token)
    if reply.status == 401:
        forget(account, token)
        token = await access_token(account)
        reply = await _send(method, space, path, body, token)
    if reply.status != 200:
        raise _refusal(space, reply)
    answer = reply.json()
    return answer if isinstance(answer, dict) else {}


async def _send(method: str, space: str, path: str, body: Any, token: str) -> net.Reply:
    await pace.turn(space)
    origin = settings.CORTEX_GOOGLE_CHAT_URL.rstrip("/")
    try:
        return await net.request(
            method,
            origin + path,
            headers={"Authorization": f"Bearer {token}"},
            json_body=body,
            trusted_origins=frozenset({origin_of(origin)}),
            timeout_s=TIMEOUT_S,
            max_redirects=0,
        )
    except NetError as error:
        sent = isinstance(error, CutOff | TookTooLong)
        raise DeliveryError(
            f"Google Chat: {error}",
            retryable=True,
            may_have_arrived=sent and not isinstance(error, NotAccepted),
        ) from None


def _refusal(space: str, reply: net.Reply) -> DeliveryError:
    """Return why a write failed; nothing of what Google says is repeated."""
    status = reply.status
    wait_s = _retry_after_s(reply)
    if status == 429:
        wait_s = wait_s or PAUSE_S
        pause_s = min(wait_s, pace.LONGEST_WAIT_S)
        pace.pause(space, pause_s)
    return DeliveryError(
        SENTENCES.get(status, f"Google Chat answered {status}."),
        status=status,
        retryable=status == 429 or status >= 500,
        retry_after_s=wait_s,
        may_have_arrived=status >= 500,
    )


def _retry_after_s(reply: net.Reply) -> float | None:
    told = reply.headers.get("Retry-After", "")
    return float(told) if re.fullmatch(r"\d{1,6}", told) else None
