"""Bearer tokens for scripts: ``ctx_<id>_<secret>``.

This is the one place that recognises a caller by a header. Whatever the header holds,
looking at it costs exactly one query and one hash, so that neither the answer nor the
database says whether a token exists.
"""

from __future__ import annotations

import datetime
import hashlib
import hmac
import secrets
import uuid
from collections.abc import Iterable, Mapping

from django.core.exceptions import ValidationError
from django.utils import timezone

from accounts import audit
from accounts.models import ApiToken, User

SCOPES = ("chat", "task", "ledger")
MAX_DAYS = 36_500
_PREFIX = "ctx"
_MAX_LENGTH = 200
_LAST_USED_EVERY = datetime.timedelta(hours=1)
_NOBODY = uuid.UUID(int=0)


def create_token(
    user: User, *, scopes: Iterable[str] = SCOPES, days: int | None = None
) -> str:
    """Create a token of ``user`` and return it; only a hash is kept.

    Args:
        scopes: What it may be used for, out of ``SCOPES``.
        days: For how long it is valid; None = until it is revoked.

    Raises:
        ValidationError: Unknown or no scopes, too few or too many days, or a
            deactivated person.
    """
    wanted = sorted(set(scopes))
    unknown = [scope for scope in wanted if scope not in SCOPES]
    if not wanted:
        raise ValidationError(f"A token needs a scope: {', '.join(SCOPES)}.")
    if unknown:
        raise ValidationError(
            f"Scopes are {', '.join(SCOPES)}, not “{', '.join(unknown)}”."
        )
    if days is not None and not 1 <= days <= MAX_DAYS:
        raise ValidationError(
            f"A token is valid for at least 1 day, at most {MAX_DAYS:,}."
        )
    if not user.is_active:
        raise ValidationError(f"“{user.username}” is deactivated.")
    secret = secrets.token_urlsafe(32)
    token = ApiToken.objects.create(
        user=user,
        secret_hash=_hash(secret),
        scopes=wanted,
        expires_at=timezone.now() + datetime.timedelta(days=days) if days else None,
    )
    audit.record(
        "token.created", subject=user.username, token=str(token.id), scopes=wanted
    )
    return f"{_PREFIX}_{token.id.hex}_{secret}"


def presented_token(headers: Mapping[str, str]) -> str | None:
    """Return the token that a request presents, or None when it presents none.

    ``Authorization`` wins over ``x-api-key``. Another scheme than Bearer yields an
    empty text, which no token matches: the caller is refused, not treated as signed in.

    Args:
        headers: A case-insensitive mapping such as ``request.headers``.
    """
    authorization = headers.get("authorization")
    if authorization is not None:
        scheme, _, value = authorization.partition(" ")
        return value.strip() if scheme.lower() == "bearer" else ""
    key = headers.get("x-api-key")
    return key.strip() if key is not None else None


def user_for_token(raw: str, *, scope: str) -> User | None:
    """Return whose token this is, when it is valid for ``scope``; else None.

    Always one query; a success writes ``last_used_at`` at most once an hour.
    """
    token_id, secret = _split(raw)
    token = ApiToken.objects.filter(pk=token_id).select_related("user").first()
    known = token.secret_hash if token else _hash("")
    genuine = hmac.compare_digest(known, _hash(secret)) and bool(secret)
    now = timezone.now()
    if token is None or not genuine or not _usable(token, scope, now):
        return None
    if not token.last_used_at or token.last_used_at < now - _LAST_USED_EVERY:
        ApiToken.objects.filter(pk=token.pk).update(last_used_at=now)
    return token.user


def revoke_tokens(user: User) -> int:
    """Revoke every token of a person; return how many there were."""
    return user.api_tokens.filter(revoked_at=None).update(revoked_at=timezone.now())


def _usable(token: ApiToken, scope: str, now: datetime.datetime) -> bool:
    return (
        token.revoked_at is None
        and (token.expires_at is None or token.expires_at > now)
        and token.user.is_active
        and scope in token.scopes
    )


def _split(raw: str) -> tuple[uuid.UUID, str]:
    """Return the id and the secret; nonsense becomes an id that nobody has."""
    parts = raw[: _MAX_LENGTH + 1].split("_", 2)
    if len(raw) > _MAX_LENGTH or len(parts) != 3 or parts[0] != _PREFIX:
        return _NOBODY, ""
    try:
        return uuid.UUID(hex=parts[1]), parts[2]
    except ValueError:
        return _NOBODY, ""


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode(errors="surrogatepass")).hexdigest()
