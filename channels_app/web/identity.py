"""Who opens a socket: the origin of the page and the session of the browser.

Both come from the handshake's headers alone, never from anything the client says
later. What is kept are three plain values that ``sockets`` re-checks while the socket
is open. The API recognises a browser in the same way.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib.auth import HASH_SESSION_KEY, SESSION_KEY
from django.http.cookie import parse_cookie
from django.utils.crypto import constant_time_compare

from accounts.models import User
from accounts.sessions import auth_stamp

DEFAULT_PORTS = {"http": 80, "https": 443}
Origin = tuple[str, str, int | None]


@dataclass(frozen=True, slots=True)
class Identity:
    """A signed-in person as their handshake showed them."""

    user_id: int
    session_key: str
    stamp: str
    """See ``accounts.sessions.auth_stamp``."""


def header(scope: dict[str, Any], name: bytes) -> str | None:
    """Return a header's value; ``None`` when it is missing or given twice."""
    values = [value for key, value in scope["headers"] if key.lower() == name]
    return values[0].decode("latin-1") if len(values) == 1 else None


def origin_allowed(scope: dict[str, Any]) -> bool:
    """Say whether the page that opens the socket is ours: scheme, host and port."""
    given = _origin(header(scope, b"origin") or "")
    return given is not None and given in {
        _origin(allowed) for allowed in settings.CORTEX_ORIGINS
    }


def _origin(text: str) -> Origin | None:
    """Return scheme, host and port of an origin; ``None`` for anything else."""
    try:
        parts = urlsplit(text.strip().lower())
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in DEFAULT_PORTS or not parts.hostname:
        return None
    if parts.path or parts.query or parts.fragment or "@" in parts.netloc:
        return None
    return parts.scheme, parts.hostname, port or DEFAULT_PORTS[parts.scheme]


def identify(scope: dict[str, Any]) -> Identity | None:
    """Return whose session cookie a handshake carries; ``None`` for nobody's.

    Synchronous; two queries.
    """
    found = _session_of(parse_cookie(header(scope, b"cookie") or ""))
    if found is None:
        return None
    user, key = found
    return Identity(user.pk, key, auth_stamp(user))


def user_of_cookies(cookies: dict[str, str]) -> User | None:
    """Return the person whose session a request's cookies carry; two queries."""
    found = _session_of(cookies)
    return None if found is None else found[0]


def _session_of(cookies: dict[str, str]) -> tuple[User, str] | None:
    """Return the person and the key of a session that holds.

    Reads the session without changing it: a handshake cannot set cookies, so it must
    not renew the session key either.
    """
    key = cookies.get(settings.SESSION_COOKIE_NAME)
    if not key or "\0" in key:  # which PostgreSQL refuses to look up
        return None
    store = import_module(settings.SESSION_ENGINE).SessionStore(key)
    try:
        user_id = int(store[SESSION_KEY])
        given_hash = store[HASH_SESSION_KEY]
    except (KeyError, ValueError):
        return None
    user = User.objects.filter(pk=user_id, is_active=True).first()
    if user is None:
        return None
    hashes = [user.get_session_auth_hash(), *user.get_session_auth_fallback_hash()]
    if not any(constant_time_compare(given_hash, known) for known in hashes):
        return None
    return user, key
