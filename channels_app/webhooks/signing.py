"""Signatures of outgoing webhooks.

Source: https://github.com/standard-webhooks/standard-webhooks, "spec", "Signature
scheme" and "Symmetric".
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Iterable
from typing import Final

PREFIX: Final = "whsec_"
SECRET_BYTES: Final = 32


def new_secret() -> str:
    """Return a new secret as receivers take it: ``whsec_`` and base64."""
    return PREFIX + base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode("ascii")


def headers_for(
    secrets_: Iterable[str], id: str, timestamp: int, body: bytes
) -> dict[str, str]:
    """Return the three headers of one attempt.

    Args:
        secrets_: Each signs; a receiver needs only one of them to be right.
        id: The same for every attempt at one delivery.
        timestamp: When this attempt is made, in seconds since 1970.
        body: Exactly the bytes that are sent.
    """
    signatures = (signature(each, id, timestamp, body) for each in secrets_)
    return {
        "webhook-id": id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(signatures),
    }


def signature(secret: str, id: str, timestamp: int, body: bytes) -> str:
    """Return one signature: ``v1,`` and the base64 of an HMAC-SHA256."""
    key = base64.b64decode(secret.removeprefix(PREFIX))
    message = f"{id}.{timestamp}.".encode() + body
    digest = hmac.new(key, message, hashlib.sha256).digest()
    return "v1," + base64.b64encode(digest).decode("ascii")
