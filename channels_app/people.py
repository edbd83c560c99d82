"""People as a whole: what only the app that knows all others can say or do."""

from __future__ import annotations

import datetime
from collections.abc import Container
from dataclasses import dataclass

from django.db import transaction

from accounts import invites, people
from accounts.models import User
from ledger import previews


@dataclass(frozen=True, slots=True)
class PersonRow:
    """One line of the list of people; an open invite is a line too."""

    username: str
    email: str
    email_verified: bool
    state: str
    """``active``, ``deactivated``, ``invited``, or ``waiting``: a name that only has
    Google addresses yet."""
    role: str
    """``admin`` or ``member``."""
    has_password: bool
    google: tuple[people.GoogleState, ...]
    last_seen_at: datetime.datetime | None

    @property
    def google_text(self) -> str:
        """Return the Google addresses in words."""
        if not self.google:
            return "google no"
        used = ", ".join(
            f"{g.email}{'' if g.bound else ' (unused)'}" for g in self.google
        )
        return f"google {used}"

    @property
    def email_text(self) -> str:
        """Return the address and whether it is confirmed."""
        if not self.email:
            return "no e-mail"
        return f"{self.email} ({'' if self.email_verified else 'not '}confirmed)"

    @property
    def seen_text(self) -> str:
        """Return when the person was last here."""
        if self.last_seen_at is None:
            return "never seen"
        return f"seen {self.last_seen_at:%Y-%m-%d %H:%M} UTC"

    def as_json(self) -> dict[str, object]:
        """Return the row for ``--json``."""
        seen = self.last_seen_at
        return {
            "username": self.username,
            "email": self.email,
            "email_verified": self.email_verified,
            "state": self.state,
            "role": self.role,
            "has_password": self.has_password,
            "google": [{"email": g.email, "bound": g.bound} for g in self.google],
            "last_seen_at": seen.strftime("%Y-%m-%dT%H:%M:%SZ") if seen else None,
        }


def person_rows() -> list[PersonRow]:
    """Return everybody by name."""
    google = people.google_addresses()
    confirmed = people.ids_with_confirmed_address()
    return [
        PersonRow(
            username=person.username,
            email=person.email,
            email_verified=person.pk in confirmed,
            state="active" if person.is_active else "deactivated",
            role="admin" if person.is_superuser else "member",
            has_password=person.has_usable_password(),
            google=tuple(google.get(person.username, ())),
            last_seen_at=person.last_seen_at or person.last_login,
        )
        for person in people.list_people()
    ]


def invited_rows() -> list[PersonRow]:
    """Return the open invites, newest first."""
    google = people.google_addresses()
    return [
        PersonRow(
            username=invite.username or "(to be chosen)",
            email=invite.email,
            email_verified=False,
            state="invited",
            role="admin" if invite.is_admin else "member",
            has_password=False,
            google=tuple(google.get(invite.username, ())),
            last_seen_at=None,
        )
        for invite in invites.open_invites()
    ]


def waiting_rows(known: Container[str]) -> list[PersonRow]:
    """Return the names with Google addresses that are not ``known``, oldest first."""
    return [
        PersonRow(
            username=username,
            email="",
            email_verified=False,
            state="waiting",
            role="member",
            has_password=False,
            google=tuple(addresses),
            last_seen_at=None,
        )
        for username, addresses in people.google_addresses().items()
        if username not in known
    ]


def delete_person(user: User, *, actor: User | None = None) -> None:
    """Delete a person, all their texts and previews; the ledger's amounts stay.

    Raises:
        ValidationError: Nobody could administer Cortex any more, or the person was
            deleted meanwhile.
    """
    with transaction.atomic():
        user_id = user.pk
        people.delete_person(user, actor=actor)
        previews.delete_for_user(user_id)
