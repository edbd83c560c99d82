"""People without a password, and the invite that lets them in."""

from __future__ import annotations

import pytest
from django.core.exceptions import ValidationError
from django.utils import timezone

from accounts import invites, newcomers
from accounts.models import AuditEvent, User

PASSWORD = "correct horse battery staple"

pytestmark = pytest.mark.django_db


def test_somebody_without_a_password_is_let_in_by_an_invite_for_them() -> None:
    person = newcomers.create_without_password("dora")
    assert not person.has_usable_password()
    _, token = invites.create_invite(username="dora", email="dora@example.org")

    user = invites.redeem_invite(
        token, username="", email="", password=PASSWORD, time_zone="Europe/Vienna"
    )

    assert user.pk == person.pk
    person.refresh_from_db()
    assert person.check_password(PASSWORD)
    assert person.email == "dora@example.org"
    assert person.time_zone == "Europe/Vienna"
    assert not person.is_admin
    assert AuditEvent.objects.filter(event="user.created", subject="dora").exists()
    with pytest.raises(ValidationError, match="already a person"):
        invites.create_invite(username="dora")


def test_an_invite_that_leaves_the_name_open_takes_nobody_over() -> None:
    person = newcomers.create_without_password("dora")
    _, token = invites.create_invite()

    with pytest.raises(ValidationError, match="taken"):
        invites.redeem_invite(token, username="dora", email="", password=PASSWORD)

    person.refresh_from_db()
    assert not person.has_usable_password()


@pytest.mark.parametrize(
    "change",
    [
        {"last_login": timezone.now()},
        {"last_seen_at": timezone.now()},
        {"is_superuser": True},
        {"is_active": False},
    ],
)
def test_whoever_was_here_before_is_no_newcomer(change: dict[str, object]) -> None:
    person = newcomers.create_without_password("dora")
    User.objects.filter(pk=person.pk).update(**change)

    with pytest.raises(ValidationError, match="already a person"):
        invites.create_invite(username="dora")


def test_a_second_invite_finds_that_the_person_has_a_password_now() -> None:
    newcomers.create_without_password("dora")
    _, first = invites.create_invite(username="dora")
    user = invites.redeem_invite(first, username="", email="", password=PASSWORD)
    other = User(username="dora")

    assert newcomers.take_over(other, is_admin=True) is False
    user.refresh_from_db()
    assert not user.is_admin


def test_an_address_that_is_somebody_elses_leaves_the_invite_open(alice: User) -> None:
    newcomers.create_without_password("dora")
    User.objects.filter(pk=alice.pk).update(email="alice@example.org")
    invite, token = invites.create_invite(username="dora")

    with pytest.raises(ValidationError, match="in use"):
        invites.redeem_invite(
            token, username="", email="alice@example.org", password=PASSWORD
        )

    assert invite in invites.open_invites()
