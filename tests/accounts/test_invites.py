from __future__ import annotations

import datetime
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.core.exceptions import ValidationError
from django.db import connection
from django.utils import timezone

from accounts import invites
from accounts.models import Invite, User

PASSWORD = "correct horse battery staple"


def redeem(token: str, **values: str) -> User:
    return invites.redeem_invite(
        token, **{"username": "eve", "email": "", "password": PASSWORD, **values}
    )


def expire(invite: Invite) -> None:
    Invite.objects.filter(pk=invite.pk).update(
        expires_at=timezone.now() - datetime.timedelta(seconds=1)
    )


@pytest.mark.django_db
def test_token_is_not_in_the_database() -> None:
    invite, token = invites.create_invite(username="eve")
    invite.refresh_from_db()

    assert len(token) >= 43
    assert token not in str(vars(invite))
    assert invites.find_invite(token) == invite


@pytest.mark.django_db
def test_invite_lives_for_72_hours() -> None:
    invite, _ = invites.create_invite(username="eve")

    assert invite.expires_at - timezone.now() == pytest.approx(
        datetime.timedelta(hours=72), abs=datetime.timedelta(seconds=30)
    )


@pytest.mark.django_db
@pytest.mark.parametrize("name", ["Eve", "1eve", "admin", "a" * 33, "eve ", "é", "e\n"])
def test_bad_names_are_refused(name: str) -> None:
    with pytest.raises(ValidationError):
        invites.create_invite(username=name)

    assert not Invite.objects.exists()


@pytest.mark.django_db
def test_names_and_addresses_in_use_are_refused(alice: User) -> None:
    invites.create_invite(username="eve", email="eve@example.org")

    for values in (
        {"username": "alice"},
        {"email": "ALICE@example.org"},
        {"username": "eve"},
        {"email": "Eve@Example.org"},
    ):
        with pytest.raises(ValidationError):
            invites.create_invite(**values)


@pytest.mark.django_db
def test_redeeming_makes_a_member_with_a_confirmed_address() -> None:
    _, token = invites.create_invite(username="eve", email="eve@example.org")

    user = redeem(token, username="mallory", email="mallory@example.org")

    assert (user.username, user.email) == ("eve", "eve@example.org")
    assert user.check_password(PASSWORD)
    assert not user.is_admin
    assert [g.name for g in user.groups.all()] == ["member"]
    assert user.emailaddress_set.get().verified


@pytest.mark.django_db
def test_an_address_that_the_person_chose_is_not_confirmed() -> None:
    _, token = invites.create_invite(username="eve")

    user = redeem(token, email="Eve@Example.org")

    assert user.email == "eve@example.org"
    assert not user.emailaddress_set.get().verified


@pytest.mark.django_db
def test_redeeming_an_administrators_invite_makes_an_administrator() -> None:
    _, token = invites.create_invite(username="eve", is_admin=True)

    user = redeem(token)

    assert user.is_admin and user.is_staff
    assert [g.name for g in user.groups.all()] == ["admin"]


@pytest.mark.django_db
def test_a_taken_name_leaves_the_invite_open(alice: User) -> None:
    invite, token = invites.create_invite()

    with pytest.raises(ValidationError) as refused:
        redeem(token, username="alice")
    invite.refresh_from_db()

    assert "username" in refused.value.error_dict
    assert invite.state is Invite.State.OPEN


@pytest.mark.django_db
def test_a_taken_address_leaves_the_invite_open(alice: User) -> None:
    invite, token = invites.create_invite()

    with pytest.raises(ValidationError) as refused:
        redeem(token, email="ALICE@example.org")
    invite.refresh_from_db()

    assert "email" in refused.value.error_dict
    assert invite.state is Invite.State.OPEN


@pytest.mark.django_db
def test_each_closed_state_refuses_with_its_own_sentence() -> None:
    used, used_token = invites.create_invite(username="eve")
    redeem(used_token)
    old, old_token = invites.create_invite(username="fay")
    expire(old)
    gone, gone_token = invites.create_invite(username="gil")
    invites.revoke_invite(gone)

    sentences = []
    for token, state in (
        (used_token, Invite.State.USED),
        (old_token, Invite.State.EXPIRED),
        (gone_token, Invite.State.REVOKED),
    ):
        with pytest.raises(invites.InviteNotOpen) as refused:
            redeem(token, username="zoe")
        assert refused.value.state is state
        sentences.append(str(refused.value))
    assert len(set(sentences)) == 3
    assert not User.objects.filter(username__in=["zoe", "fay", "gil"]).exists()


@pytest.mark.django_db
def test_renewing_closes_the_old_link_and_opens_a_new_one(admin_user: User) -> None:
    invite, token = invites.create_invite(username="eve", email="eve@example.org")
    expire(invite)

    fresh, fresh_token = invites.renew_invite(invite, actor=admin_user)
    invite.refresh_from_db()

    assert invite.state is Invite.State.REVOKED
    assert fresh.state is Invite.State.OPEN
    assert (fresh.username, fresh.email) == ("eve", "eve@example.org")
    assert fresh_token != token


@pytest.mark.django_db
def test_a_used_invite_is_neither_renewed_nor_revoked() -> None:
    invite, token = invites.create_invite(username="eve")
    redeem(token)

    with pytest.raises(invites.InviteNotOpen):
        invites.renew_invite(invite)
    with pytest.raises(invites.InviteNotOpen):
        invites.revoke_invite(invite)


@pytest.mark.django_db
def test_administrator_link_replaces_the_one_before(settings) -> None:
    settings.CORTEX_PUBLIC_URL = "https://chat.example.org"
    first = invites.renew_administrator_link()
    second = invites.renew_administrator_link()

    assert first and second and first != second
    assert second.startswith("https://chat.example.org/setup/")
    states = [
        invites.find_invite(link.rpartition("/")[2]).state for link in (first, second)
    ]
    assert states == [Invite.State.REVOKED, Invite.State.OPEN]


@pytest.mark.django_db
def test_administrator_link_ends_with_the_first_administrator(admin_user: User) -> None:
    assert invites.renew_administrator_link() is None


@pytest.mark.django_db
def test_a_deactivated_or_unfinished_administrator_does_not_count(
    admin_user: User,
) -> None:
    admin_user.set_unusable_password()
    admin_user.save()

    assert invites.renew_administrator_link() is not None


@pytest.mark.django_db(transaction=True)
def test_of_twenty_racers_one_wins() -> None:
    _, token = invites.create_invite()

    def race(number: int) -> bool:
        try:
            redeem(token, username=f"racer{number}")
        except invites.InviteNotOpen:
            return False
        finally:
            connection.close()
        return True

    with ThreadPoolExecutor(20) as pool:
        wins = list(pool.map(race, range(20)))

    assert wins.count(True) == 1
    assert User.objects.count() == 1
