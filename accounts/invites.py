"""Invites: a link that lets exactly one person set up an account.

Only the SHA-256 hash of a token is kept; the token itself is shown and mailed once.
Looking at a link never uses it up. ``redeem_invite`` takes an invite with one
conditional update, so of any number of simultaneous attempts one wins. A renewed link
is a new row, and the old row stays as revoked: an old link can still say why it is
closed.
"""

from __future__ import annotations

import datetime
import hashlib
import secrets
from contextlib import suppress

from allauth.account.models import EmailAddress
from django.conf import settings
from django.contrib.auth.hashers import UNUSABLE_PASSWORD_PREFIX, make_password
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import IntegrityError, transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from accounts import audit, newcomers, roles
from accounts.models import Invite, User
from accounts.names import validate_name
from accounts.zones import zone_names

LIFETIME = datetime.timedelta(hours=72)

CLOSED_SENTENCES = {
    Invite.State.USED: "This invite has been used; its account exists already.",
    Invite.State.EXPIRED: "This invite has expired; ask for a new link.",
    Invite.State.REVOKED: "This invite was withdrawn or replaced by a newer link.",
}


class InviteNotOpen(Exception):
    """The invite cannot be used; ``state`` says why, the text is for the visitor."""

    def __init__(self, state: Invite.State) -> None:
        super().__init__(CLOSED_SENTENCES[state])
        self.state = state


def create_invite(
    *,
    username: str = "",
    email: str = "",
    is_admin: bool = False,
    invited_by: User | None = None,
) -> tuple[Invite, str]:
    """Create an open invite and return it with its token, which is kept nowhere.

    Args:
        username: Fixes the name of the new account; empty lets the person choose.
        email: Fixes the address of the new account; empty lets the person choose.

    Raises:
        ValidationError: A bad name or address, or one that is taken or invited already.
    """
    email = email.strip().lower()
    with transaction.atomic():
        check_invite(username, email)
        invite, token = _open_invite(username, email, is_admin, invited_by)
        audit.record(
            "invite.created",
            actor=invited_by,
            subject=username or email,
            is_admin=is_admin,
        )
    return invite, token


def check_invite(username: str, email: str) -> None:
    """Refuse what ``create_invite`` would refuse; raises ``ValidationError``."""
    if username:
        validate_name(username)
    if email:
        validate_email(email)
    _refuse_duplicates(username, email.strip().lower())


def open_invites() -> QuerySet[Invite]:
    """Return the invites that can still be used, newest first."""
    return Invite.objects.filter(
        used_at=None, revoked_at=None, expires_at__gt=timezone.now()
    )


def find_invite(token: str) -> Invite | None:
    """Return the invite behind a token in whatever state it is, or None if unknown."""
    return (
        Invite.objects.filter(token_hash=hash_token(token))
        .select_related("invited_by")
        .first()
    )


def state_of(invite: Invite) -> Invite.State:
    """Return the state as a visitor meets it.

    A first-start link is over as soon as any administrator has finished setting up.
    """
    if (
        invite.state is Invite.State.OPEN
        and _is_first_start_link(invite)
        and finished_administrator_exists()
    ):
        return Invite.State.REVOKED
    return invite.state


def redeem_invite(
    token: str, *, username: str, email: str, password: str, time_zone: str = ""
) -> User:
    """Use the invite up and create its account.

    ``time_zone`` is what the browser says, and counts if there is such a zone.

    What the invite fixes wins over the arguments. An invite for somebody who is here
    without a password (``accounts.newcomers``) gives them this account. The password
    is hashed before the transaction, because hashing is slow on purpose and the
    transaction holds a lock.

    Raises:
        InviteNotOpen: It is used, expired, revoked or unknown (then: revoked).
        ValidationError: By field, when the name or the address is bad or taken; the
            invite stays open.
    """
    invite = find_invite(token)
    if invite is None:
        raise InviteNotOpen(Invite.State.REVOKED)
    if state_of(invite) is not Invite.State.OPEN:
        raise InviteNotOpen(state_of(invite))
    username = invite.username or username
    email = (invite.email or email).strip().lower()
    user = User(username=username, email=email, password=make_password(password))
    if time_zone in zone_names():
        user.time_zone = time_zone
    user.clean_fields(exclude=["password"])
    with transaction.atomic():
        _take(invite)
        if not (
            invite.username and newcomers.take_over(user, is_admin=invite.is_admin)
        ):
            _create_account(user, is_admin=invite.is_admin)
        if email:
            # Whoever was here without a password may have an address from before.
            EmailAddress.objects.filter(user=user).delete()
            EmailAddress.objects.create(
                user=user, email=email, primary=True, verified=bool(invite.email)
            )
        Invite.objects.filter(pk=invite.pk).update(used_by=user)
        audit.record("invite.used", actor=user, subject=username)
    return user


def renew_invite(invite: Invite, *, actor: User | None = None) -> tuple[Invite, str]:
    """Replace an unused invite by a fresh one with another link and 72 new hours.

    Raises:
        InviteNotOpen: It has been used.
        ValidationError: Its name or address has been taken meanwhile.
    """
    with transaction.atomic():
        locked = Invite.objects.select_for_update().get(pk=invite.pk)
        if locked.state is Invite.State.USED:
            raise InviteNotOpen(Invite.State.USED)
        if not locked.revoked_at:
            locked.revoked_at = timezone.now()
            locked.save(update_fields=["revoked_at"])
        _refuse_duplicates(locked.username, locked.email)
        fresh, token = _open_invite(
            locked.username, locked.email, locked.is_admin, actor or locked.invited_by
        )
        audit.record("invite.renewed", actor=actor, subject=fresh.username)
    return fresh, token


def revoke_invite(invite: Invite, *, actor: User | None = None) -> None:
    """Withdraw an invite that has not been used; a second time changes nothing.

    Raises:
        InviteNotOpen: It has been used.
    """
    changed = Invite.objects.filter(pk=invite.pk, used_at=None, revoked_at=None).update(
        revoked_at=timezone.now()
    )
    if changed:
        audit.record("invite.revoked", actor=actor, subject=invite.username)
    elif Invite.objects.filter(pk=invite.pk, used_at__isnull=False).exists():
        raise InviteNotOpen(Invite.State.USED)


def revoke_invites_by(inviter: User, *, actor: User | None = None) -> None:
    """Withdraw the open invites of somebody who may not invite any more."""
    for invite in open_invites().filter(invited_by=inviter):
        with suppress(InviteNotOpen):
            revoke_invite(invite, actor=actor)


def setup_link(token: str) -> str:
    """Return the address that people open."""
    return f"{settings.CORTEX_PUBLIC_URL}/setup/{token}"


def finished_administrator_exists() -> bool:
    """Say whether somebody can sign in and administer this installation."""
    admins = User.objects.filter(is_active=True, is_superuser=True)
    return admins.filter(
        ~(Q(password="") | _has_no_password()) | Q(socialaccount__isnull=False)
    ).exists()


def renew_administrator_link() -> str | None:
    """Return a new first-start link and close the earlier ones.

    None when a finished administrator exists: then there is nothing to set up.
    """
    with transaction.atomic():
        if finished_administrator_exists():
            return None
        _first_start_links().update(revoked_at=timezone.now())
        _, token = _open_invite("", "", True, None)
        audit.record("invite.created", subject="administrator", is_admin=True)
    return setup_link(token)


def hash_token(token: str) -> str:
    """Return what the database keeps of a token; 256 random bits need no salt."""
    return hashlib.sha256(token.encode(errors="surrogatepass")).hexdigest()


def _open_invite(
    username: str, email: str, is_admin: bool, invited_by: User | None
) -> tuple[Invite, str]:
    token = secrets.token_urlsafe(32)
    invite = Invite.objects.create(
        token_hash=hash_token(token),
        username=username,
        email=email,
        is_admin=is_admin,
        invited_by=invited_by,
        expires_at=timezone.now() + LIFETIME,
    )
    return invite, token


def _refuse_duplicates(username: str, email: str) -> None:
    """Refuse a name or an address that has an account or an open invite."""
    named = User.objects.filter(username=username)
    # Whoever has no password yet gets one by the invite.
    if username and named.exclude(pk__in=newcomers.waiting()).exists():
        raise ValidationError(f"There is already a person named “{username}”.")
    others = User.objects.filter(email__iexact=email)
    if email and others.exclude(pk__in=newcomers.waiting().filter(username=username)):
        raise ValidationError(f"The address {email} belongs to somebody already.")
    if username and open_invites().filter(username=username).exists():
        raise ValidationError(f"“{username}” has an open invite already.")
    if email and open_invites().filter(email=email).exists():
        raise ValidationError(f"There is already an open invite for {email}.")


def _take(invite: Invite) -> None:
    """Mark the invite as used; of several takers exactly one gets past this line."""
    now = timezone.now()
    taken = Invite.objects.filter(
        pk=invite.pk, used_at=None, revoked_at=None, expires_at__gt=now
    ).update(used_at=now)
    if not taken:
        invite.refresh_from_db()
        raise InviteNotOpen(invite.state)
    if _is_first_start_link(invite):
        if finished_administrator_exists():
            raise InviteNotOpen(Invite.State.REVOKED)
        _first_start_links().update(revoked_at=now)


def _create_account(user: User, *, is_admin: bool) -> None:
    """Save a new person, turning a lost race for a name into a field's error."""
    try:
        with transaction.atomic():
            user.save(force_insert=True)
    except IntegrityError:
        if User.objects.filter(username=user.username).exists():
            raise ValidationError(
                {"username": "This name is taken; choose another one."}
            ) from None
        raise ValidationError({"email": "This e-mail address is in use."}) from None
    roles.set_role(user, is_admin=is_admin)


def _has_no_password() -> Q:
    return Q(**{"password__startswith": UNUSABLE_PASSWORD_PREFIX})


def _is_first_start_link(invite: Invite) -> bool:
    return invite.is_admin and not invite.username and not invite.invited_by_id


def _first_start_links() -> QuerySet[Invite]:
    return Invite.objects.filter(
        is_admin=True, username="", invited_by=None, used_at=None, revoked_at=None
    )
