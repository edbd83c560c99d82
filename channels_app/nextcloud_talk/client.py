"""Requests of a bot to Nextcloud Talk: a message, a reaction, its own features.

The server is the one of the settings, whatever an event said. Each request is signed
with the secret that the room's events are signed with; where that is refused the other
one is tried once, because Nextcloud may change to a new secret before we do. Wrong
signatures are not repeated further: Nextcloud slows down whoever sends many.

Source: https://nextcloud-talk.readthedocs.io/en/latest/bots/ (sending, reactions)
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import quote

from channels_app.bots.adapters import ChannelInfo
from channels_app.deliveries import DeliveryError
from channels_app.nextcloud_talk.signature import SECRET_NAMES, signed_headers
from routing import net
from routing.backends.api_errors import seconds_of
from routing.errors import (
    BadAddress,
    BadCertificate,
    BlockedAddress,
    CutOff,
    NetError,
    NotAccepted,
    TookTooLong,
    TooLarge,
    Unreachable,
)

API: Final = "/ocs/v2.php/apps/spreed/api/v1"
CAPABILITIES: Final = "/ocs/v2.php/cloud/capabilities"
TIMEOUT_S: Final = 30.0
MAX_ANSWER_BYTES: Final = 256 * 1024

REFUSED: Final = (
    "Nextcloud refused the bot's signature (401). Either the secret differs from the "
    "one it was installed with, or the bot lacks the feature “response”, or it is not "
    "enabled in this room."
)
SENTENCES: Final = {
    400: "Nextcloud refused the message (400).",
    401: REFUSED,
    404: "Nextcloud knows no such room or message (404).",
    412: "Nextcloud refused the request (412).",
    413: "The message is too long for Nextcloud (413).",
    429: "Nextcloud asked to slow down (429); wrong signatures make it do that.",
    503: "Nextcloud is not available just now (503); it may be in maintenance mode.",
}
NOT_DONE: Final = frozenset({429, 500, 502, 503})
"""Statuses after which nothing was posted and another try may succeed. A gateway that
gave up waiting (504) does not belong here: the server behind it may have posted."""


class Room:
    """One room of a channel, for one event: it keeps which secret is accepted.

    Args:
        channel: Whose settings and secrets are used.
        token: The room.
        signed_with: Name of the secret that the event was signed with.
        timeout_s: How long one request may take.
    """

    def __init__(
        self,
        channel: ChannelInfo,
        token: str,
        *,
        signed_with: str = "secret",
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._channel = channel
        self._token = token
        self._signed_with = signed_with
        self._timeout_s = timeout_s

    async def post(
        self,
        text: str,
        *,
        reply_to: str = "",
        reference_id: str = "",
        silent: bool = False,
    ) -> None:
        """Post a message.

        Where the message it replies to is gone meanwhile, it is posted without that.

        Raises:
            DeliveryError: It was not posted, or nobody knows.
        """
        body: dict[str, Any] = {"message": text}
        if reference_id:
            body["referenceId"] = reference_id
        if silent:
            body["silent"] = True
        path = f"/bot/{self._quoted}/message"
        if reply_to.isascii() and reply_to.isdigit():
            quoting = body | {"replyTo": int(reply_to)}
            reply = await self._ask("POST", path, text, quoting)
            if reply.status != 400:
                _demand(reply, 201)
                return
        _demand(await self._ask("POST", path, text, body), 201)

    async def react(self, message_id: str, emoji: str) -> None:
        """Add the bot's reaction to a message; raises ``DeliveryError``."""
        _demand(await self._reaction("POST", message_id, emoji), 200, 201)

    async def unreact(self, message_id: str, emoji: str) -> None:
        """Remove it; one that is not there is none. Raises ``DeliveryError``."""
        _demand(await self._reaction("DELETE", message_id, emoji), 200, 404)

    async def features(self) -> int | None:
        """Return the bits of what the bot may do, ``None`` on servers before 2026.

        Raises:
            DeliveryError: The signature is wrong, or the server does not answer.
        """
        body = {"token": self._token}
        reply = await self._ask("POST", "/bot/ask-features", self._token, body)
        if reply.status in {404, 405}:
            return None
        _demand(reply, 200)
        answer = reply.json()
        try:
            return int(answer["ocs"]["data"]["features"])
        except (KeyError, TypeError, ValueError):
            return None

    @property
    def _quoted(self) -> str:
        return quote(self._token, safe="")

    async def _reaction(self, method: str, message_id: str, emoji: str) -> net.Reply:
        path = f"/bot/{self._quoted}/reaction/{quote(message_id, safe='')}"
        return await self._ask(method, path, emoji, {"reaction": emoji})

    async def _ask(
        self, method: str, path: str, signed: str, body: dict[str, Any]
    ) -> net.Reply:
        """Send a request with the secret that should fit, then with the other one."""
        reply: net.Reply | None = None
        for name in self._secret_names():
            secret = self._channel.secrets[name]
            reply = await call(
                self._channel,
                method,
                API + path,
                headers=signed_headers(secret, signed),
                json_body=body,
                timeout_s=self._timeout_s,
            )
            if reply.status != 401:
                self._signed_with = name
                break
        if reply is None:
            raise DeliveryError("The channel has no secret.")
        return reply

    def _secret_names(self) -> Iterator[str]:
        first = self._signed_with
        for name in sorted(SECRET_NAMES, key=lambda name: name != first):
            if self._channel.secrets.get(name):
                yield name


async def call(
    channel: ChannelInfo,
    method: str,
    path: str,
    *,
    headers: dict[str, str],
    json_body: Any = None,
    timeout_s: float = TIMEOUT_S,
) -> net.Reply:
    """Send one request to the server of the settings and return its answer.

    Raises:
        DeliveryError: None came; ``may_have_arrived`` where it may have been acted on.
    """
    address = str(channel.settings.get("url", ""))
    try:
        async with (
            asyncio.timeout(timeout_s),
            net.stream(
                method,
                address + path,
                headers=headers,
                json_body=json_body,
                trusted_origins=channel.trusted_origins,
                max_bytes=MAX_ANSWER_BYTES,
            ) as answer,
        ):
            body = await answer.read_all(MAX_ANSWER_BYTES)
            return net.Reply(answer.status, answer.headers, body)
    except TimeoutError:
        raise _failure(TookTooLong(), address) from None
    except NetError as error:
        raise _failure(error, address) from None


def _demand(reply: net.Reply, *good: int) -> None:
    """Raise unless the answer has one of these statuses."""
    status = reply.status
    if status in good:
        return
    if status in net.REDIRECTS:
        sentence = (
            "The server redirects to another address; enter that one in the settings."
        )
    else:
        sentence = SENTENCES.get(
            status, f"Nextcloud answered with the status {status}."
        )
    raise DeliveryError(
        sentence,
        status=status,
        retryable=status in NOT_DONE or status >= 500,
        retry_after_s=seconds_of(reply.headers.get("Retry-After")),
        may_have_arrived=status >= 500 and status not in NOT_DONE,
    )


def _failure(error: NetError, address: str) -> DeliveryError:
    """Return a failed request as a sentence that names the server.

    Whether it may have arrived, and may succeed later, follows from how it failed.
    """
    if isinstance(error, BadCertificate):
        return DeliveryError(certificate_sentence(address, error.why), retryable=True)
    if isinstance(error, BadAddress | BlockedAddress):
        return DeliveryError(str(error))
    nothing_sent = isinstance(error, Unreachable | NotAccepted)
    arrived = isinstance(error, CutOff | TookTooLong | TooLarge) and not nothing_sent
    sentence = str(error)
    if nothing_sent:
        sentence = f"{address} cannot be reached: {sentence}"
    return DeliveryError(sentence, retryable=True, may_have_arrived=arrived)


def certificate_sentence(address: str, why: str) -> str:
    """Say what is wrong with a certificate and what to do; ``why`` as of OpenSSL."""
    if "self" in why or "local issuer" in why:
        return (
            f"Cortex does not know who signed the certificate of {address}. If it is "
            "your own authority, let SSL_CERT_FILE name its certificate and start "
            "Cortex again."
        )
    if "expired" in why:
        return f"The certificate of {address} has expired."
    if "mismatch" in why or "not valid for" in why:
        return f"The certificate of {address} is for another name."
    return f"The certificate of {address} is not valid."
