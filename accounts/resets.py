"""Password reset by mail: a link for one person, one use, one hour.

Tokens are 256 random bits, kept as a hash. A link dies when it is used, after an hour,
and when the password or the address changes by any way. Asking for a link takes the
same steps for known and unknown addresses: one query, one row, one mail.
"""

from __future__ import annotations

import datetime
import secrets
from enum import StrEnum

from django.conf import settings
from django.contrib.auth.hashers import make_password
from django.db import transaction
from django.db.models.functions import Lower
from django.utils import timezone
from django.utils.crypto import constant_time_compare, salted_hmac

from accounts import newcomers
from accounts.invites import hash_token
from accounts.models import PasswordReset, User

LIFETIME = datetime.timedelta(seconds=settings.PASSWORD_RESET_TIMEOUT)
KEPT_FOR = datetime.timedelta(days=30)
"""How long an ended link can still say why it is closed."""


class ResetState(StrEnum):
    """What has become of a reset link."""

    OPEN = "open"
    USED = "used"
    EXPIRED = "expired"
    REVOKED = "revoked"


CLOSED_SENTENCES = {
    ResetState.USED: "This link has been used; the password was changed with it.",
    ResetState.EXPIRED: "This link has expired; links are valid for one hour.",
    ResetState.REVOKED: (
        "This link is not valid any more, because the password or the e-mail address "
        "has changed since it was sent."
    ),
}


class ResetNotOpen(Exception):
    """The link cannot be used; ``state`` says why, the text is for the visitor."""

    def __init__(self, state: ResetState) -> None:
        super().__init__(CLOSED_SENTENCES[state])
        self.state = state


def request_reset(email: str) -> tuple[User | None, str]:
    """Open a reset for whoever has this address; return them and the token.

    An unknown address, a deactivated person and one who waits for an invite yield None
    and a token that opens nothing, after the same queries.
    """
    wanted = email.strip().lower()
    # Nobody has confirmed the address of somebody who was never here.
    people = User.objects.exclude(pk__in=newcomers.waiting().values("pk"))
    people = people.annotate(email_lower=Lower("email"))
    user = people.filter(email_lower=wanted, is_active=True).first() if wanted else None
    token = secrets.token_urlsafe(32)
    PasswordReset.objects.filter(expires_at__lt=timezone.now() - KEPT_FOR).delete()
    PasswordReset.objects.create(
        token_hash=hash_token(token),
        user=user,
        stamp=_stamp(user) if user else "",
        expires_at=timezone.now() + LIFETIME,
    )
    return user, token


def find_reset(token: str) -> PasswordReset | None:
    """Return the reset behind a token in whatever state it is; None if unknown."""
    return (
        PasswordReset.objects.filter(token_hash=hash_token(token), user__isnull=False)
        .select_related("user")
        .first()
    )


def state_of(reset: PasswordReset) -> ResetState:
    """Say whether the link can still be used, and if not, why."""
    if reset.used_at:
        return ResetState.USED
    if reset.user is None or not _still_fits(reset, reset.user):
        return ResetState.REVOKED
    if reset.expires_at <= timezone.now():
        return ResetState.EXPIRED
    return ResetState.OPEN


def use_reset(reset: PasswordReset, password: str) -> User:
    """Use the link up and set the new password; of several tries exactly one wins.

    The password must have been validated. The caller ends other sessions by the
    change of the password itself, which every session is bound to.

    Raises:
        ResetNotOpen: Used, expired or revoked meanwhile.
    """
    encoded = make_password(password)
    now = timezone.now()
    with transaction.atomic():
        taken = PasswordReset.objects.filter(
            pk=reset.pk, used_at=None, expires_at__gt=now
        ).update(used_at=now)
        if not taken:
            reset.refresh_from_db()
            raise ResetNotOpen(ResetState.USED if reset.used_at else ResetState.EXPIRED)
        user = User.objects.select_for_update().filter(pk=reset.user_id or 0).first()
        if user is None or not _still_fits(reset, user):
            raise ResetNotOpen(ResetState.REVOKED)
        user.password = encoded
        user.save(update_fields=["password"])
    return user


def _still_fits(reset: PasswordReset, user: User) -> bool:
    return user.is_active and constant_time_compare(reset.stamp, _stamp(user))


def _stamp(user: User) -> str:
    return salted_hmac(
        "accounts.resets.stamp",
        f"{user.pk}|{user.email.lower()}|{user.password}",
        algorithm="sha256",
    ).hexdigest()
