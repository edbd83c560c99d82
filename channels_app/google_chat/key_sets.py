"""Google's public keys: fetched through ``routing.net``, kept as long as Google allows.

Everything fails closed: where no current keys can be had, nothing can be verified.
A key id that is not in the set makes the set be fetched anew, at most once a minute,
and after a fetch that failed there is a pause, so that a stranger's tokens cannot make
Cortex call Google as often as they like.

Sources: developers.google.com/workspace/chat/verify-requests-from-chat; the files
of keys are those of google-auth's ``verify_token`` and ``verify_oauth2_token``.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Mapping
from time import monotonic
from typing import Any, Final

import jwt
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from django.conf import settings

from routing import net
from routing.addresses import origin_of
from routing.errors import NetError

CHAT_PATH: Final = "/service_accounts/v1/metadata/x509/chat@system.gserviceaccount.com"
OIDC_PATH: Final = "/oauth2/v1/certs"
MIN_KEPT_S: Final = 600.0
MAX_KEPT_S: Final = 86_400.0
REFETCH_EVERY_S: Final = 60.0
PAUSE_S: Final = 5.0
"""After a fetch that failed; whoever asks meanwhile gets the same refusal."""
FETCH_WITHIN_S: Final = 5.0
MAX_BYTES: Final = 256 * 1024
MIN_KEY_BITS: Final = 2048
_MAX_AGE = re.compile(r"(?:^|[,\s])max-age=(\d{1,9})\b", re.I)

Keys = Mapping[str, RSAPublicKey]


class KeysUnavailable(Exception):
    """No current keys can be had; ``str()`` is one safe sentence."""


class KeySet:
    """The keys behind one address."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._keys: Keys = {}
        self._fresh_until = 0.0
        self._may_refetch_at = 0.0
        self._paused_until = 0.0
        self._failure = ""
        self._fetching: asyncio.Task[None] | None = None

    async def key(self, kid: str) -> RSAPublicKey | None:
        """Return the key with this id, ``None`` if Google has none.

        Raises:
            KeysUnavailable: Google's answer is needed and cannot be had.
        """
        if monotonic() >= self._fresh_until:
            if monotonic() < self._paused_until:
                raise KeysUnavailable(self._failure)
            await self.fetch()
        elif kid not in self._keys and monotonic() >= self._may_refetch_at:
            self._may_refetch_at = monotonic() + REFETCH_EVERY_S
            await self.fetch()
        return self._keys.get(kid)

    async def fetch(self) -> int:
        """Fetch the keys now and return how many there are.

        Callers at the same moment share one request; no pause holds it up.

        Raises:
            KeysUnavailable: See ``key``. Keys that are still fresh stay.
        """
        task = self._fetching
        if task is None or task.done() or task.get_loop() is not _loop():
            task = self._fetching = asyncio.ensure_future(self._fetch())
            task.add_done_callback(_take_note)
        await asyncio.shield(task)
        return len(self._keys)

    async def _fetch(self) -> None:
        try:
            await self._load()
        except KeysUnavailable as error:
            self._failure = str(error)
            self._paused_until = monotonic() + PAUSE_S
            raise

    async def _load(self) -> None:
        try:
            reply = await net.request(
                "GET",
                self.url,
                trusted_origins=frozenset({origin_of(self.url)}),
                timeout_s=FETCH_WITHIN_S,
                max_bytes=MAX_BYTES,
                max_redirects=0,
            )
        except NetError as error:
            raise KeysUnavailable(f"Google's keys: {error}") from None
        if reply.status != 200:
            raise KeysUnavailable(f"Google's keys: the answer was {reply.status}.")
        keys = dict(_read(reply.json()))
        if not keys:
            raise KeysUnavailable("Google's keys: the answer holds none.")
        self._keys = keys
        self._fresh_until = monotonic() + _kept_s(reply.headers)


_KEY_SETS: dict[str, KeySet] = {}


def key_set(path: str) -> KeySet:
    """Return the set at a path of ``CORTEX_GOOGLE_CERTS_URL``, one for a process."""
    url = settings.CORTEX_GOOGLE_CERTS_URL.rstrip("/") + path
    found = _KEY_SETS.get(url)
    if found is None:
        found = _KEY_SETS[url] = KeySet(url)
    return found


def _loop() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


def _take_note(task: asyncio.Task[None]) -> None:
    """Read the outcome of a fetch whose callers may all have gone."""
    if not task.cancelled():
        task.exception()


def _kept_s(headers: Mapping[str, str]) -> float:
    """Return how long an answer may be used: its max-age, but ten minutes at least."""
    found = _MAX_AGE.search(headers.get("Cache-Control", ""))
    age = headers.get("Age", "")
    spent = int(age) if re.fullmatch(r"\d{1,9}", age) else 0
    allowed = float(found[1]) - spent if found else 0.0
    return min(MAX_KEPT_S, max(MIN_KEPT_S, allowed))


# --- the two forms in which keys are published ----------------------------------------


def _read(answer: Any) -> Iterator[tuple[str, RSAPublicKey]]:
    """Yield each usable key: ``{"kid": "PEM"}`` or ``{"keys": [JWK, …]}``."""
    if not isinstance(answer, dict):
        return
    listed = answer.get("keys")
    entries = (
        [(each.get("kid"), each) for each in listed if isinstance(each, dict)]
        if isinstance(listed, list)
        else list(answer.items())
    )
    for kid, entry in entries:
        key = _key_of(entry)
        if isinstance(kid, str) and key is not None and key.key_size >= MIN_KEY_BITS:
            yield kid, key


def _key_of(entry: Any) -> RSAPublicKey | None:
    key: Any = None
    try:
        if isinstance(entry, dict):
            key = jwt.PyJWK(entry, algorithm="RS256").key
        elif isinstance(entry, str) and "BEGIN CERTIFICATE" in entry:
            key = x509.load_pem_x509_certificate(entry.encode()).public_key()
        elif isinstance(entry, str):
            key = load_pem_public_key(entry.encode())
    except (ValueError, TypeError, UnsupportedAlgorithm, jwt.PyJWTError):
        return None
    return key if isinstance(key, RSAPublicKey) else None
