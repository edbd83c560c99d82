"""What the commands of all apps share."""

from __future__ import annotations

from django.core.management.base import CommandError

from accounts import people
from accounts.models import User


def person_named(username: str) -> User:
    """Return the person with exactly this name.

    Raises:
        CommandError: There is none.
    """
    person = people.find_person(username)
    if person is None:
        raise CommandError(f"There is no person named “{username}”.")
    return person
