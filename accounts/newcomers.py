"""People who are here before they have ever signed in.

Somebody whose old home was taken over has texts but no password. An invite that names
exactly them is their way in: it gives them a password instead of a new account.
"""

from __future__ import annotations

from django.contrib.auth.hashers import UNUSABLE_PASSWORD_PREFIX
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.db.models import QuerySet

from accounts import audit, roles
from accounts.models import User
from accounts.names import validate_name

_KEPT = ("first_name", "last_name", "language", "daily_digest")
"""What a person who was here already has from before."""
_UNKNOWN_ZONE = "UTC"


def create_without_password(username: str, *, actor: User | None = None) -> User:
    """Create a member who cannot sign in until an invite for this name is used.

    Raises:
        ValidationError: The name is not allowed.
    """
    validate_name(username)
    user = User(username=username)
    user.set_unusable_password()
    with transaction.atomic():
        user.save(force_insert=True)
        roles.set_role(user, is_admin=False)
        audit.record("user.created", actor=actor, subject=username, password=False)
    return user


def waiting() -> QuerySet[User]:
    """Return the members who have no password and have never been here."""
    return User.objects.filter(
        password__startswith=UNUSABLE_PASSWORD_PREFIX,
        is_active=True,
        is_superuser=False,
        last_login=None,
        last_seen_at=None,
        socialaccount=None,
    )


def take_over(newcomer: User, *, is_admin: bool) -> bool:
    """Give the waiting person of this name what an invite brought; ``False`` = none.

    Args:
        newcomer: Unsaved, with name, address, password and time zone; gets its id.
        is_admin: Their role from now on.

    Raises:
        ValidationError: By field: the address is somebody else's.
    """
    found = waiting().filter(username=newcomer.username).values_list("pk", flat=True)
    person = User.objects.select_for_update().filter(pk__in=list(found)).first()
    # Asked again under the lock: another invite may have been quicker.
    if person is None or not waiting().filter(pk=person.pk).exists():
        return False
    newcomer.pk, newcomer.date_joined = person.pk, person.date_joined
    for name in _KEPT:
        setattr(newcomer, name, getattr(person, name))
    newcomer.email = newcomer.email or person.email
    if newcomer.time_zone == _UNKNOWN_ZONE:
        newcomer.time_zone = person.time_zone
    try:
        with transaction.atomic():
            newcomer.save(force_update=True)
    except IntegrityError:
        raise ValidationError({"email": "This e-mail address is in use."}) from None
    roles.set_role(newcomer, is_admin=is_admin)
    return True
