"""The person of a leaving bundle: found here, or made without a password."""

from __future__ import annotations

import shlex
from typing import Final

from allauth.account.models import EmailAddress
from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import validate_email

from accounts import invites, newcomers
from accounts.models import User
from accounts.people import find_person
from accounts.zones import zone_names
from channels_app.homes.bundle_shapes import PersonShape
from channels_app.homes.report import Report
from personas.home.disk import Unreadable
from personas.home.report import shown
from routing.models import RoutingPreferences

ENTRY: Final = "person.json"


def person_for(shape: PersonShape, name: str, report: Report) -> User:
    """Return the person that a bundle is for; a new one is a member who cannot sign in.

    Args:
        shape: What the bundle says.
        name: Another user name; empty = that of the bundle.
        report: Hears what was done, and which command lets a new person in.

    Raises:
        Unreadable: Nobody can be called so, or the bundle alone names somebody who
            has been here: whoever wrote it may have put in any name.
    """
    asked, name = bool(name), name or shape.user_name
    found = find_person(name)
    if found and not asked and not _is_waiting(found):
        raise Unreadable(
            f"“{name}” is somebody here already: if the bundle is for them, "
            f"say so with --user {name}."
        )
    if found:
        report.kept(f"{name}/{ENTRY}", "is here already; settings stay as they are.")
    user = found or _new_person(shape, name, report)
    invited = invites.open_invites().filter(username=name).exists()
    if not invited and _is_waiting(user):
        # It is pasted into a shell, and the address came with the bundle.
        address = shlex.quote(shown(user.email)) if user.email else "ADDRESS"
        report.hints.append(f"manage.py users invite {name} {address}")
    return user


def _is_waiting(user: User) -> bool:
    return newcomers.waiting().filter(pk=user.pk).exists()


def _new_person(shape: PersonShape, name: str, report: Report) -> User:
    try:
        user = newcomers.create_without_password(name)
    except ValidationError as error:
        raise Unreadable(" ".join(error.messages)) from None
    user.first_name, user.last_name = shape.first_name, shape.last_name
    user.email = _free_address(shape.email.strip().lower(), name, report)
    if shape.time_zone in zone_names():
        user.time_zone = shape.time_zone
    if shape.language in dict(settings.LANGUAGES):
        user.language = shape.language
    user.save()
    if user.email:
        EmailAddress.objects.create(user=user, email=user.email, primary=True)
    if shape.routing is not None:
        RoutingPreferences.objects.create(owner=user, **shape.routing.model_dump())
    report.taken(f"{name}/{ENTRY}", "a new member without a password.")
    return user


def _free_address(email: str, name: str, report: Report) -> str:
    if not email:
        return ""
    try:
        validate_email(email)
    except ValidationError:
        report.left(f"{name}/{ENTRY}", "has an e-mail address that is none.")
        return ""
    if User.objects.filter(email__iexact=email).exists():
        report.left(f"{name}/{ENTRY}", "has the e-mail address of somebody else here.")
        return ""
    return email
