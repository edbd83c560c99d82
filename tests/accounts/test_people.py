from __future__ import annotations

import pytest
from django.core.exceptions import ValidationError

from accounts import invites, people
from accounts.models import AuditEvent, GoogleAddress, User
from tests.conftest import PASSWORD


@pytest.mark.django_db
@pytest.mark.parametrize(
    "verb", [people.deactivate, people.demote, people.delete_person]
)
def test_the_last_administrator_stays(admin_user: User, alice: User, verb) -> None:
    with pytest.raises(people.LastAdministrator, match="dora"):
        verb(admin_user)
    admin_user.refresh_from_db()
    assert admin_user.is_admin

    people.promote(alice)
    verb(admin_user)
    assert not User.objects.filter(
        pk=admin_user.pk, is_active=True, is_superuser=True
    ).exists()


@pytest.mark.django_db
def test_a_deactivated_administrator_does_not_keep_the_other_from_staying(
    admin_user: User, alice: User
) -> None:
    people.promote(alice)
    people.deactivate(alice)

    with pytest.raises(people.LastAdministrator):
        people.demote(admin_user)


@pytest.mark.django_db
@pytest.mark.parametrize(
    "verb", [people.deactivate, people.demote, people.delete_person]
)
def test_invites_end_with_the_role_of_who_made_them(
    admin_user: User, alice: User, verb
) -> None:
    people.promote(alice)
    _, theirs = invites.create_invite(username="eve", is_admin=True, invited_by=alice)
    _, other = invites.create_invite(username="fay", invited_by=admin_user)

    verb(alice, actor=admin_user)

    with pytest.raises(invites.InviteNotOpen):
        invites.redeem_invite(theirs, username="", email="", password=PASSWORD)
    assert invites.redeem_invite(other, username="", email="", password=PASSWORD)
    revoked = AuditEvent.objects.get(event="invite.revoked")
    assert (revoked.actor_name, revoked.subject) == ("dora", "eve")


@pytest.mark.django_db
@pytest.mark.parametrize(
    "verb", [people.deactivate, people.promote, people.demote, people.delete_person]
)
def test_somebody_deleted_meanwhile_is_named_in_a_sentence(alice: User, verb) -> None:
    User.objects.filter(pk=alice.pk).delete()

    with pytest.raises(ValidationError, match="no person named “alice” any more"):
        verb(alice)


@pytest.mark.django_db
def test_roles_keep_group_and_flags_in_step(alice: User, admin_user: User) -> None:
    people.promote(alice)
    alice.refresh_from_db()
    assert (alice.is_admin, alice.is_staff) == (True, True)
    assert [g.name for g in alice.groups.all()] == ["admin"]

    people.demote(alice)
    alice.refresh_from_db()
    assert (alice.is_admin, alice.is_staff) == (False, False)
    assert [g.name for g in alice.groups.all()] == ["member"]


@pytest.mark.django_db
def test_deleting_removes_registered_google_addresses(alice: User) -> None:
    people.add_google_address("alice", "alice@gmail.example")

    people.delete_person(alice)

    assert not GoogleAddress.objects.exists()


@pytest.mark.django_db
def test_a_google_address_belongs_to_one_person() -> None:
    people.add_google_address("alice", "One@Gmail.example")

    with pytest.raises(ValidationError, match="alice"):
        people.add_google_address("bob", "one@gmail.example")


@pytest.mark.django_db
def test_weak_passwords_are_refused(alice: User) -> None:
    with pytest.raises(ValidationError):
        people.set_password(alice, "12345678")
    alice.refresh_from_db()
    assert alice.check_password("correct horse battery staple")


@pytest.mark.django_db
def test_every_verb_is_in_the_audit_log(alice: User, admin_user: User) -> None:
    people.deactivate(alice, actor=admin_user)
    people.activate(alice, actor=admin_user)
    people.promote(alice, actor=admin_user)
    people.demote(alice, actor=admin_user)
    people.delete_person(alice, actor=admin_user)

    events = AuditEvent.objects.order_by("id").values_list(
        "event", "actor_name", "subject"
    )
    assert list(events) == [
        (f"user.{verb}", "dora", "alice")
        for verb in ("deactivated", "activated", "promoted", "demoted", "deleted")
    ]
