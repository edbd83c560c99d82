"""How Nextcloud Talk and its bots prove to each other who they are.

Both sides send a random text and ``hex(HMAC-SHA256(secret, random + signed))``. From
Nextcloud ``signed`` is the raw body of the request; to Nextcloud it is the message (or
the reaction, or the room's token) alone, never the JSON around it. The header names
differ by ``-Bot-``. There is no time in it, so a repetition is recognised by its random
text and by the id of its message.

Source: https://nextcloud-talk.readthedocs.io/en/latest/bots/ (signing and verifying)
"""

from __future__ import annotations

import hmac
import secrets as random_source
from collections.abc import Mapping
from hashlib import sha256
from typing import Final

RANDOM_HEADER: Final = "X-Nextcloud-Talk-Random"
SIGNATURE_HEADER: Final = "X-Nextcloud-Talk-Signature"
BACKEND_HEADER: Final = "X-Nextcloud-Talk-Backend"
"""Which server claims to send; not signed, so nothing may be decided by it."""
BOT_RANDOM_HEADER: Final = "X-Nextcloud-Talk-Bot-Random"
BOT_SIGNATURE_HEADER: Final = "X-Nextcloud-Talk-Bot-Signature"
SECRET_NAMES: Final = ("secret", "previous")
"""The secret in use, and the one before it while both are accepted."""


def signature(secret: str, random: bytes, signed: bytes) -> str:
    """Return 64 lower-case hexadecimal characters."""
    return hmac.new(secret.encode(), random + signed, sha256).hexdigest()


def matching_secret(
    secrets: Mapping[str, str], random: bytes, given: bytes, body: bytes
) -> str | None:
    """Return the name of the secret with which Nextcloud signed a request.

    ``random`` and ``given`` are the headers' bytes as they arrived. Every secret is
    tried, in constant time, so that the time tells nothing about which are set.
    """
    found: str | None = None
    given = given.lower()
    for name in SECRET_NAMES:
        secret = secrets.get(name)
        if not secret:
            continue
        expected = signature(secret, random, body).encode("ascii")
        if hmac.compare_digest(expected, given) and found is None:
            found = name
    return found


def signed_headers(secret: str, text: str) -> dict[str, str]:
    """Return the headers of a bot's request whose signed part is ``text``."""
    random = random_source.token_hex(32)
    return {
        BOT_RANDOM_HEADER: random,
        BOT_SIGNATURE_HEADER: signature(secret, random.encode(), text.encode()),
        "OCS-APIRequest": "true",
        "Accept": "application/json",
    }
