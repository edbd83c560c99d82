"""The person of a leaving bundle: found here, or made without a password."""

from __future__ import annotations

from typing import Final

from allauth.account.models import EmailAddress
from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import validate_email

from accounts import audit, roles
from accounts.models import User
from accounts.names import validate_name
from accounts.people import find_person
from accounts.zones import zone_names
from channels_app.homes.bundle_shapes import PersonShape
from channels_app.homes.report import Report
from personas.home.disk import Unreadable
from routing.models import RoutingPreferences

ENTRY: Final = "person.json"


def person_for(shape: PersonShape, name: str, report: Report) -> User:
    """Return the person that a bundle is for; a new one is a member who cannot sign in.

    Args:
        shape: What the bundle says.
        name: Another user name; empty = that of the bundle.
        report: Hears what was done, and which command lets a new person in.

    Raises:
        Unreadable: Nobody can be called so.
    """
    name = name or shape.user_name
    if found := find_person(name):
        report.kept(f"{name}/{ENTRY}", "is here already; settings stay as they are.")
        return found
    try:
        validate_name(name)
    except ValidationError as error:
        raise Unreadable(" ".join(error.messages)) from None
    return _new_person(shape, name, report)


def _new_person(shape: PersonShape, name: str, report: Report) -> User:
    languages = dict(settings.LANGUAGES)
    user = User(
        username=name,
        first_name=shape.first_name,
        last_name=shape.last_name,
        email=_free_address(shape.email.strip().lower(), name, report),
        time_zone=shape.time_zone if shape.time_zone in zone_names() else "UTC",
        language=shape.language if shape.language in languages else "en",
        daily_digest=shape.daily_digest,
    )
    user.set_unusable_password()
    user.save(force_insert=True)
    roles.set_role(user, is_admin=False)
    if user.email:
        EmailAddress.objects.create(user=user, email=user.email, primary=True)
    if shape.routing is not None:
        RoutingPreferences.objects.create(owner=user, **shape.routing.model_dump())
    audit.record("user.imported", subject=name)
    report.taken(f"{name}/{ENTRY}", "a new member without a password.")
    report.hints.append(f"manage.py users set {name}")
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
