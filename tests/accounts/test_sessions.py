from __future__ import annotations

import pytest
from django.test import Client

from accounts import people, sessions
from accounts.models import User
from tests.conftest import PASSWORD


def signed_in(user: User) -> tuple[Client, tuple[int, str, str]]:
    client = Client()
    client.post("/account/login/", {"login": user.username, "password": PASSWORD})
    user.refresh_from_db()
    key = client.session.session_key
    assert key
    return client, (user.pk, key, sessions.auth_stamp(user))


@pytest.mark.django_db
def test_checking_any_number_takes_two_queries(
    alice: User, bob: User, django_assert_num_queries
) -> None:
    held = [signed_in(alice)[1], signed_in(bob)[1], signed_in(alice)[1]]

    with django_assert_num_queries(2):
        assert sessions.valid_sessions(held) == {0, 1, 2}
    with django_assert_num_queries(0):
        assert sessions.valid_sessions([]) == set()


@pytest.mark.django_db
def test_signing_out_ends_that_session_alone(alice: User) -> None:
    first, held_first = signed_in(alice)
    _, held_second = signed_in(alice)

    first.post("/account/logout/")

    assert sessions.valid_sessions([held_first, held_second]) == {1}


@pytest.mark.django_db
@pytest.mark.parametrize("change", ["deactivate", "promote", "set_password", "delete"])
def test_whatever_changes_rights_ends_open_connections(
    alice: User, admin_user: User, change: str
) -> None:
    _, held = signed_in(alice)
    assert sessions.valid_sessions([held]) == {0}

    if change == "set_password":
        people.set_password(alice, "another long pass phrase 7")
    elif change == "delete":
        people.delete_person(alice)
    else:
        getattr(people, change)(alice)

    assert sessions.valid_sessions([held]) == set()


@pytest.mark.django_db
def test_a_session_of_somebody_else_does_not_count(alice: User, bob: User) -> None:
    _, held = signed_in(alice)

    assert sessions.valid_sessions([(bob.pk, held[1], held[2])]) == set()


@pytest.mark.django_db
def test_sessions_from_before_a_deactivation_stay_dead(alice: User, client_for) -> None:
    client = client_for(alice)
    assert client.get("/settings/profile/").status_code == 200

    people.deactivate(alice)
    assert client.get("/settings/profile/").status_code == 302
    people.activate(alice)
    assert client.get("/settings/profile/").status_code == 302


@pytest.mark.django_db
def test_one_ends_only_ones_own_sessions(alice: User, bob: User) -> None:
    mine, _ = signed_in(alice)
    other, held = signed_in(alice)
    stranger, _ = signed_in(bob)
    row = alice.usersession_set.get(session_key=held[1])
    address = f"/account/sessions/{row.pk}/end/"

    assert stranger.post(address).status_code == 404
    assert mine.get(address).status_code == 405
    assert other.get("/settings/profile/").status_code == 200
    assert mine.post(address).status_code == 302
    assert other.get("/settings/profile/").status_code == 302
    assert mine.get("/account/sessions/").status_code == 200
