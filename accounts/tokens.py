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
from dataclasses import dataclass

from django.core.exceptions import ValidationError
from django.db.models import Q, QuerySet
from django.utils import timezone

from accounts import audit
from accounts.models import ApiToken, User

SCOPES = ("chat", "task", "ledger")
"""What every person's token may be used for."""
ADMIN_SCOPE = "admin"
"""Amounts of everybody; counts while the token's person is an administrator."""
ALL_SCOPES = (*SCOPES, ADMIN_SCOPE)
MAX_DAYS = 36_500
MAX_NAME_CHARS = 64
MAX_OPEN = 50
"""How many tokens of one person may be valid at the same time."""
_PREFIX = "ctx"
_MAX_LENGTH = 200
_LAST_USED_EVERY = datetime.timedelta(hours=1)
_NOBODY = uuid.UUID(int=0)


@dataclass(frozen=True, slots=True)
class Grant:
    """What a genuine token allows at this moment."""

    user: User
    token_id: uuid.UUID
    scopes: frozenset[str]


def scopes_for(user: User) -> tuple[str, ...]:
    """Return the scopes that a token of this person can have."""
    return ALL_SCOPES if user.is_admin else SCOPES


def create_token(
    user: User,
    *,
    scopes: Iterable[str] = SCOPES,
    days: int | None = None,
    name: str = "",
    actor: User | None = None,
) -> str:
    """Create a token of ``user`` and return it; only a hash is kept.

    Args:
        scopes: What it may be used for, out of ``scopes_for(user)``.
        days: For how long it is valid; None = until it is revoked.
        name: What its person calls it; may be empty.
        actor: Who creates it; None for the command line.

    Raises:
        ValidationError: Unknown or no scopes, a scope that the person does not have,
            too few or too many days, a name that is too long, a deactivated person,
            or one who has ``MAX_OPEN`` valid tokens.
    """
    wanted = sorted(set(scopes))
    _check_scopes(user, wanted)
    if days is not None and not 1 <= days <= MAX_DAYS:
        raise ValidationError(
            f"A token is valid for at least 1 day, at most {MAX_DAYS:,}."
        )
    name = name.strip()
    if len(name) > MAX_NAME_CHARS or not name.isprintable():
        raise ValidationError(
            f"A name has at most {MAX_NAME_CHARS} characters on one line."
        )
    if _open_tokens(user).count() >= MAX_OPEN:
        raise ValidationError(
            f"There are {MAX_OPEN} valid tokens already. Revoke one that is not needed."
        )
    secret = secrets.token_urlsafe(32)
    token = ApiToken.objects.create(
        user=user,
        name=name,
        secret_hash=_hash(secret),
        scopes=wanted,
        expires_at=timezone.now() + datetime.timedelta(days=days) if days else None,
    )
    audit.record(
        "token.created",
        actor=actor,
        subject=user.username,
        token=str(token.id),
        scopes=wanted,
    )
    return f"{_PREFIX}_{token.id.hex}_{secret}"


def _check_scopes(user: User, wanted: list[str]) -> None:
    possible = scopes_for(user)
    if not wanted:
        raise ValidationError(f"A token needs a scope: {', '.join(possible)}.")
    unknown = [scope for scope in wanted if scope not in ALL_SCOPES]
    if unknown:
        raise ValidationError(
            f"Scopes are {', '.join(possible)}, not “{', '.join(unknown)}”."
        )
    if not user.is_active:
        raise ValidationError(f"“{user.username}” is deactivated.")
    if not set(wanted) <= set(possible):
        raise ValidationError(
            f"“{user.username}” is no administrator, so a token of theirs cannot "
            f"have the scope {ADMIN_SCOPE}."
        )


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


def grant_of(raw: str) -> Grant | None:
    """Return what a token allows now; None when it is not genuine or not valid.

    Always one query; a success writes ``last_used_at`` at most once an hour. A scope
    that its person has lost since is left out.
    """
    token_id, secret = _split(raw)
    token = ApiToken.objects.filter(pk=token_id).select_related("user").first()
    known = token.secret_hash if token else _hash("")
    genuine = hmac.compare_digest(known, _hash(secret)) and bool(secret)
    now = timezone.now()
    if token is None or not genuine or not _usable(token, now):
        return None
    if not token.last_used_at or token.last_used_at < now - _LAST_USED_EVERY:
        ApiToken.objects.filter(pk=token.pk).update(last_used_at=now)
    possible = scopes_for(token.user)
    return Grant(token.user, token.pk, frozenset(token.scopes).intersection(possible))


def tokens_visible_to(user: User) -> QuerySet[ApiToken]:
    """Return the person's tokens that are not revoked, newest first."""
    return ApiToken.objects.filter(user=user, revoked_at=None).order_by("-created_at")


def _open_tokens(user: User) -> QuerySet[ApiToken]:
    ends_later = Q(expires_at=None) | Q(expires_at__gt=timezone.now())
    return tokens_visible_to(user).filter(ends_later)


def revoke_token(token: ApiToken, *, actor: User) -> None:
    """Make a token worthless from now on; doing so twice changes nothing."""
    revoked = ApiToken.objects.filter(pk=token.pk, revoked_at=None)
    if revoked.update(revoked_at=timezone.now()):
        audit.record(
            "token.revoked",
            actor=actor,
            subject=token.user.username,
            token=str(token.id),
            scopes=token.scopes,
        )


def revoke_tokens(user: User) -> int:
    """Revoke every token of a person; return how many there were."""
    return user.api_tokens.filter(revoked_at=None).update(revoked_at=timezone.now())


def _usable(token: ApiToken, now: datetime.datetime) -> bool:
    return (
        token.revoked_at is None
        and (token.expires_at is None or token.expires_at > now)
        and token.user.is_active
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
