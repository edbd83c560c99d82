"""Access tokens of service accounts, with which Cortex posts as the app itself.

The key file says who the account is and with which key it signs. Where tokens are given
out is not read from it: an address in a file that somebody pasted must not decide where
signed requests go. A token is kept in this process until shortly before its end.

Source: developers.google.com/identity/protocols/oauth2/service-account (HTTP/REST).
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from dataclasses import dataclass, field
from hashlib import sha256
from time import monotonic
from typing import Any, Final
from urllib.parse import urlencode

import jwt
from django.conf import settings

from channels_app.bots.adapters import ChannelInfo
from channels_app.deliveries import DeliveryError
from routing import net
from routing.addresses import origin_of
from routing.errors import NetError

SCOPE: Final = "https://www.googleapis.com/auth/chat.bot"
GRANT: Final = "urn:ietf:params:oauth:grant-type:jwt-bearer"
ASSERTION_S: Final = 3600
EARLY_S: Final = 120.0
"""So long before its end a token is not used any more."""
TIMEOUT_S: Final = 10.0
MAX_KEPT: Final = 256
_CODE: Final = re.compile(r"[a-z_]{1,40}")

NO_ACCOUNT: Final = "There is no service account, so nothing can be posted."
UNUSABLE: Final = "The service account's key file cannot be used."


@dataclass(frozen=True, slots=True)
class ServiceAccount:
    """What is needed of a key file."""

    email: str
    key_id: str
    private_key: str = field(repr=False)

    @property
    def fingerprint(self) -> str:
        """Tells accounts and keys apart without holding the key."""
        return sha256(f"{self.email} {self.private_key}".encode()).hexdigest()


@dataclass(slots=True)
class _Kept:
    token: str = field(repr=False)
    until: float


_TOKENS: dict[str, _Kept] = {}
_FETCHING: dict[str, asyncio.Task[str]] = {}


def account_of(channel: ChannelInfo) -> ServiceAccount:
    """Return a channel's service account.

    Raises:
        DeliveryError: There is none, or its file is not what Google gives.
    """
    text = channel.secrets.get("service_account", "")
    if not text:
        raise DeliveryError(NO_ACCOUNT)
    try:
        found = json.loads(text)
        return ServiceAccount(
            email=str(found["client_email"]),
            key_id=str(found.get("private_key_id") or ""),
            private_key=str(found["private_key"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise DeliveryError(UNUSABLE) from None


async def access_token(account: ServiceAccount) -> str:
    """Return a token that is valid for a while, fetched where none is kept.

    Raises:
        DeliveryError: Google gives none; nothing was posted.
    """
    kept = _TOKENS.get(account.fingerprint)
    if kept is not None and monotonic() < kept.until:
        return kept.token
    task = _FETCHING.get(account.fingerprint)
    if task is None or task.done() or task.get_loop() is not asyncio.get_running_loop():
        task = asyncio.ensure_future(_fetch(account))
        _FETCHING[account.fingerprint] = task
        task.add_done_callback(lambda done: _fetched(account.fingerprint, done))
    return await asyncio.shield(task)


async def fresh_token(account: ServiceAccount) -> str:
    """Return a token that Google gives now, and use no earlier one from then on.

    One that is kept works on for up to an hour after its key was deleted.

    Raises:
        DeliveryError: Google gives none; the one that is kept stays.
    """
    return await _fetch(account)


def forget(account: ServiceAccount, token: str) -> None:
    """Use a token no more, because Google refused it."""
    kept = _TOKENS.get(account.fingerprint)
    if kept is not None and kept.token == token:
        del _TOKENS[account.fingerprint]


def _fetched(fingerprint: str, task: asyncio.Task[str]) -> None:
    if _FETCHING.get(fingerprint) is task:
        del _FETCHING[fingerprint]
    if not task.cancelled():
        task.exception()  # read, also when every caller has gone


async def _fetch(account: ServiceAccount) -> str:
    url = settings.CORTEX_GOOGLE_TOKEN_URL
    form = urlencode({"grant_type": GRANT, "assertion": _assertion(account, url)})
    asked_at = monotonic()
    try:
        reply = await net.request(
            "POST",
            url,
            headers={"Content-Type": "application/x-www-form-urlencoded"},
            body=form.encode(),
            trusted_origins=frozenset({origin_of(url)}),
            timeout_s=TIMEOUT_S,
            max_redirects=0,
        )
    except NetError as error:
        raise DeliveryError(
            f"Google's server for access tokens: {error}", retryable=True
        ) from None
    answer = reply.json()
    token = answer.get("access_token") if isinstance(answer, dict) else None
    if reply.status != 200 or not isinstance(token, str) or not token:
        raise _refusal(reply.status, answer)
    seconds = answer.get("expires_in")
    lasts_s = float(seconds) if isinstance(seconds, int | float) else 0.0
    if len(_TOKENS) >= MAX_KEPT:
        _TOKENS.clear()
    _TOKENS[account.fingerprint] = _Kept(token, asked_at + lasts_s - EARLY_S)
    return token


def _assertion(account: ServiceAccount, audience: str) -> str:
    now = int(time.time())
    claims = {
        "iss": account.email,
        "scope": SCOPE,
        "aud": audience,
        "iat": now,
        "exp": now + ASSERTION_S,
    }
    headers = {"kid": account.key_id} if account.key_id else None
    try:
        return jwt.encode(
            claims, account.private_key, algorithm="RS256", headers=headers
        )
    except (jwt.PyJWTError, ValueError, TypeError):
        raise DeliveryError(UNUSABLE) from None


def _refusal(status: int, answer: Any) -> DeliveryError:
    """Return why there is no token; only Google's short code is repeated."""
    code = answer.get("error") if isinstance(answer, dict) else None
    named = f" ({code})" if isinstance(code, str) and _CODE.fullmatch(code) else ""
    retryable = status == 429 or status >= 500 or status == 200
    if retryable:
        sentence = f"Google gives no access token at the moment: {status}{named}."
    else:
        sentence = (
            f"Google refuses the service account: {status}{named}. Check that its key "
            "is not deleted and that this computer's clock is right."
        )
    return DeliveryError(sentence, status=status, retryable=retryable)
