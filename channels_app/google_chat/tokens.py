"""Who signed an event: the check of Google's token, before anything else is read.

Three kinds of audience can be chosen in Google's console, and each has its own keys and
its own proof of who signs. A token of one kind never passes for another, and the
audience must match character for character.

Source: developers.google.com/workspace/chat/verify-requests-from-chat.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from channels_app.google_chat.key_sets import CHAT_PATH, OIDC_PATH, key_set

CHAT: Final = "chat@system.gserviceaccount.com"
OIDC_ISSUERS: Final = frozenset({"accounts.google.com", "https://accounts.google.com"})
SKEW_S: Final = 60
MAX_TOKEN_CHARS: Final = 8192
REQUIRED: Final = ("iss", "aud", "iat", "exp")


class WrongToken(Exception):
    """The request does not come from Google's Chat for this channel.

    ``str()`` names the reason for the log, without any part of the token.
    """


@dataclass(frozen=True, slots=True)
class Expected:
    """What a channel's settings demand of a token."""

    keys_path: str
    audience: str
    issuers: frozenset[str]
    email: str = ""
    """The account that must have signed, verified; empty where the issuer says it."""


def expected_of(settings: Mapping[str, Any]) -> Expected | None:
    """Return what a channel demands, ``None`` while its settings are not complete."""
    kind = settings.get("audience")
    number, endpoint, account = (
        str(settings.get(name) or "")
        for name in ("project_number", "endpoint", "addon_account")
    )
    if kind == "project" and number:
        return Expected(CHAT_PATH, number, frozenset({CHAT}))
    if kind == "url" and endpoint:
        return Expected(OIDC_PATH, endpoint, OIDC_ISSUERS, CHAT)
    if kind == "addon" and endpoint and account:
        return Expected(OIDC_PATH, endpoint, OIDC_ISSUERS, account)
    return None


async def verify(authorization: str, expected: Expected) -> None:
    """Check the ``Authorization`` header of an event.

    Raises:
        WrongToken: It proves nothing; the answer is 401.
        KeysUnavailable: Google's keys cannot be had; the answer is 503.
    """
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise WrongToken("there is no bearer token")
    kid = _key_id(token)
    key = await key_set(expected.keys_path).key(kid)
    if key is None:
        raise WrongToken("Google has no key with this id")
    _check_claims(_claims(token, key, expected), expected)


def _key_id(token: str) -> str:
    """Return the id of the key that a token names; refuses every other algorithm."""
    if len(token) > MAX_TOKEN_CHARS or not token.isascii():
        raise WrongToken("the token is no JWT")
    try:
        header = jwt.get_unverified_header(token)
    except (jwt.PyJWTError, ValueError, RecursionError):
        raise WrongToken("the token is no JWT") from None
    kid = header.get("kid")
    if header.get("alg") != "RS256" or not isinstance(kid, str) or not kid:
        raise WrongToken("the token is not signed with RS256 and a named key")
    return kid


def _claims(token: str, key: RSAPublicKey, expected: Expected) -> dict[str, Any]:
    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=["RS256"],
            audience=expected.audience,
            leeway=SKEW_S,
            options={"require": list(REQUIRED), "strict_aud": True},
        )
    except (jwt.PyJWTError, ValueError, OverflowError, RecursionError) as error:
        raise WrongToken(f"the token does not hold ({type(error).__name__})") from None
    return claims


def _check_claims(claims: Mapping[str, Any], expected: Expected) -> None:
    if str(claims["iss"]) not in expected.issuers:
        raise WrongToken("the token has another issuer")
    if not expected.email:
        return
    if claims.get("email") != expected.email:
        raise WrongToken("the token belongs to another app")
    if claims.get("email_verified") is not True:
        raise WrongToken("the token's account is not verified")
