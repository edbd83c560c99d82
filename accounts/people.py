"""What administrators do with people: deactivate, promote, delete, and look at them.

Every verb keeps at least one active administrator and is written to the audit log.
Those that take a role away raise ``ValidationError`` with one sentence when they
cannot: the last administrator, or a person who was deleted meanwhile.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.socialaccount.models import SocialAccount
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import transaction
from django.db.models import F, QuerySet

from accounts import audit, invites, roles, sessions, tokens
from accounts.models import GoogleAddress, User
from accounts.names import validate_name


class LastAdministrator(ValidationError):
    """Refused: the installation would be left without an administrator."""

    def __init__(self, username: str) -> None:
        super().__init__(
            f"“{username}” is the last administrator; promote somebody else first."
        )


@dataclass(frozen=True, slots=True)
class GoogleState:
    """A Google address of a person and whether it has been used to sign in."""

    email: str
    bound: bool


def find_person(username: str) -> User | None:
    """Return the person with exactly this name, or None."""
    return User.objects.filter(username=username).first()


def list_people() -> QuerySet[User]:
    """Return everybody by name."""
    return User.objects.order_by("username")


def ids_with_confirmed_address() -> set[int]:
    """Return the ids of the people who have confirmed their present address."""
    confirmed = EmailAddress.objects.filter(
        verified=True, email__iexact=F("user__email")
    )
    return set(confirmed.values_list("user_id", flat=True))


def google_addresses() -> dict[str, list[GoogleState]]:
    """Return the registered Google addresses by user name, oldest first."""
    found: dict[str, list[GoogleState]] = {}
    for row in GoogleAddress.objects.order_by("id"):
        state = GoogleState(row.email, bool(row.subject))
        found.setdefault(row.username, []).append(state)
    return found


def add_google_address(
    username: str, email: str, *, actor: User | None = None
) -> GoogleAddress:
    """Register an address for Google sign-in, before or after the person exists.

    Raises:
        ValidationError: A bad name or address, or an address that is registered.
    """
    email = email.strip().lower()
    with transaction.atomic():
        check_google_address(username, email)
        address = GoogleAddress.objects.create(username=username, email=email)
        audit.record("google.added", actor=actor, subject=username, email=email)
    return address


def check_google_address(username: str, email: str) -> None:
    """Refuse what ``add_google_address`` would refuse; raises ``ValidationError``."""
    email = email.strip().lower()
    validate_name(username)
    validate_email(email)
    taken = GoogleAddress.objects.filter(email=email).first()
    if taken:
        raise ValidationError(f"{email} is registered for “{taken.username}” already.")


def remove_google_address(email: str, *, actor: User | None = None) -> GoogleAddress:
    """Withdraw an address: the Google account that used it signs nobody in any more.

    Raises:
        ValidationError: The address is not registered.
    """
    email = email.strip().lower()
    with transaction.atomic():
        address = GoogleAddress.objects.filter(email=email).first()
        if address is None:
            raise ValidationError(f"{email} is not registered.")
        address.delete()
        if address.subject:
            SocialAccount.objects.filter(
                provider="google", uid=address.subject
            ).delete()
        audit.record(
            "google.removed", actor=actor, subject=address.username, email=email
        )
    return address


def set_password(user: User, password: str, *, actor: User | None = None) -> None:
    """Give a person a new password, which ends their sessions.

    Raises:
        ValidationError: The password is too weak; one sentence per reason.
    """
    validate_password(password, user)
    user.set_password(password)
    user.save(update_fields=["password"])
    sessions.end_sessions(user)
    audit.record("password.set", actor=actor, subject=user.username)


def deactivate(user: User, *, actor: User | None = None) -> None:
    """Shut a person out: no sign-in, session, token or invite, from now on."""
    with transaction.atomic():
        user = _locked(user)
        _keep_an_administrator(user)
        user.is_active = False
        user.save(update_fields=["is_active"])
        sessions.end_sessions(user)
        tokens.revoke_tokens(user)
        invites.revoke_invites_by(user, actor=actor)
        audit.record("user.deactivated", actor=actor, subject=user.username)


def activate(user: User, *, actor: User | None = None) -> None:
    """Let a deactivated person sign in again; tokens stay revoked."""
    User.objects.filter(pk=user.pk).update(is_active=True)
    audit.record("user.activated", actor=actor, subject=user.username)


def forget_second_factor(user: User, *, actor: User | None = None) -> None:
    """Remove the second factor of somebody who has lost it; ends their sessions."""
    with transaction.atomic():
        Authenticator.objects.filter(user=user).delete()
        sessions.end_sessions(user)
        audit.record("2fa.forgotten", actor=actor, subject=user.username)


def promote(user: User, *, actor: User | None = None) -> None:
    """Make a person an administrator."""
    with transaction.atomic():
        roles.set_role(_locked(user), is_admin=True)
        audit.record("user.promoted", actor=actor, subject=user.username)


def demote(user: User, *, actor: User | None = None) -> None:
    """Make an administrator a plain member, whose invites end."""
    with transaction.atomic():
        user = _locked(user)
        _keep_an_administrator(user)
        roles.set_role(user, is_admin=False)
        invites.revoke_invites_by(user, actor=actor)
        audit.record("user.demoted", actor=actor, subject=user.username)


def delete_person(user: User, *, actor: User | None = None) -> None:
    """Delete a person with their sessions, tokens, personas and texts.

    Ledger amounts stay, because the ledger holds no foreign keys; its previews are
    for the caller to delete, since this app does not know the ledger.
    """
    with transaction.atomic():
        user = _locked(user)
        _keep_an_administrator(user)
        sessions.end_sessions(user)
        invites.revoke_invites_by(user, actor=actor)
        GoogleAddress.objects.filter(username=user.username).delete()
        username = user.username
        user.delete()
        audit.record("user.deleted", actor=actor, subject=username)


def _locked(user: User) -> User:
    """Return the present row under a lock, so that two demotions cannot cross."""
    with suppress(User.DoesNotExist):
        list(User.objects.select_for_update().filter(is_superuser=True))
        return User.objects.select_for_update().get(pk=user.pk)
    raise ValidationError(f"There is no person named “{user.username}” any more.")


def _keep_an_administrator(user: User) -> None:
    if user.is_admin and roles.active_admin_count() <= 1:
        raise LastAdministrator(user.username)
