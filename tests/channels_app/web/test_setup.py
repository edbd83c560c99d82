from __future__ import annotations

from typing import Any

import pytest
from django.core import mail
from django.test import Client

from accounts import invites
from accounts.models import Invite, User
from personas.models import Persona

PASSWORD = "correct horse battery staple"
pytestmark = pytest.mark.django_db


def fields(**changes: str) -> dict[str, str]:
    return {
        "username": "eve",
        "email": "eve@example.org",
        "password1": PASSWORD,
        "password2": PASSWORD,
        **changes,
    }


def address(**invite: Any) -> str:
    return f"/setup/{invites.create_invite(**invite)[1]}"


def test_the_whole_way_from_the_link_to_the_first_persona(client: Client) -> None:
    link = invites.renew_administrator_link()
    assert link
    path = "/setup/" + link.rpartition("/")[2]

    assert b"Set up Cortex" in client.get(path).content
    answer = client.post(path, fields())
    assert (answer.status_code, answer.headers["Location"]) == (302, "/setup/persona")

    page = client.get("/setup/persona").content.decode()
    for template in ("assistant", "developer", "companion"):
        assert f'value="{template}"' in page
    answer = client.post(
        "/setup/persona",
        {"template": "companion", "name": "inara", "display_name": "Inara"},
    )
    assert (answer.status_code, answer.headers["Location"]) == (302, "/")
    assert Persona.objects.get().owner == User.objects.get(username="eve")
    assert User.objects.get().is_admin
    assert invites.renew_administrator_link() is None


@pytest.mark.parametrize("printed", [True, False])
def test_after_setup_it_is_said_where_the_confirmation_is(
    client: Client, settings: Any, printed: bool
) -> None:
    if printed:
        settings.EMAIL_BACKEND = "django.core.mail.backends.console.EmailBackend"

    page = client.post(address(), fields(), follow=True).content.decode()

    assert ("printed in the server&#x27;s output" in page) is printed
    assert ("on its way to eve@example.org" in page) is not printed


@pytest.mark.parametrize(
    ("said", "kept"),
    [("Europe/Berlin", "Europe/Berlin"), ("Mars/Phobos", "UTC"), ("", "UTC")],
)
def test_the_clock_is_that_of_the_browser(client: Client, said: str, kept: str) -> None:
    client.post(address(), fields(time_zone=said))

    assert User.objects.get(username="eve").time_zone == kept


def test_the_form_asks_only_for_what_the_invite_leaves_open(client: Client) -> None:
    both = client.get(address(username="eve", email="eve@example.org"))
    neither = client.get(address())

    assert b'name="username"' not in both.content
    assert b'name="email"' not in both.content
    assert b"eve@example.org" in both.content
    assert b'name="username"' in neither.content
    assert b'name="email"' in neither.content


def test_the_page_says_who_invites(client: Client, admin_user: User) -> None:
    page = client.get(address(username="eve", invited_by=admin_user))

    assert b"dora invites you" in page.content


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"username": "Eve"}, "lower-case"),
        ({"username": "system"}, "reserved"),
        ({"username": "alice"}, "taken"),
        ({"email": "alice@example.org"}, "in use"),
        ({"email": "nonsense"}, "valid email"),
        ({"password1": "12345678", "password2": "12345678"}, "too common"),
        ({"password2": "something else"}, "not the same"),
        ({"password1": "", "password2": ""}, "required"),
    ],
)
def test_mistakes_keep_the_input_and_the_invite(
    client: Client, alice: User, changes: dict[str, str], message: str
) -> None:
    path = address()

    answer = client.post(path, fields(**changes))

    page = answer.content.decode()
    assert answer.status_code == 400
    assert message in page
    assert PASSWORD not in page
    assert fields(**changes)["username"] in page
    assert Invite.objects.get().state is Invite.State.OPEN
    assert User.objects.count() == 1


def test_an_address_that_was_chosen_is_asked_to_be_confirmed(client: Client) -> None:
    client.post(address(), fields())
    [message] = mail.outbox
    assert message.to == ["eve@example.org"]
    assert "/account/confirm-email/" in message.body

    mail.outbox.clear()
    Client().post(
        address(username="fay", email="fay@example.org"), fields(username="fay")
    )
    assert mail.outbox == []


def test_whoever_was_signed_in_is_signed_out(alice: User, client_for) -> None:
    client = client_for(alice)

    client.post(address(), fields())

    assert client.session["_auth_user_id"] == str(User.objects.get(username="eve").pk)


def test_the_persona_step_needs_somebody_signed_in(client: Client) -> None:
    answer = client.get("/setup/persona")

    assert answer.status_code == 302
    assert answer.headers["Location"].startswith("/account/login/")


@pytest.mark.parametrize(
    "changes",
    [{"name": "Inara"}, {"name": "admin"}, {"template": "nonsense"}, {"name": ""}],
)
def test_a_bad_first_persona_is_refused(
    alice: User, client_for, changes: dict[str, str]
) -> None:
    good = {"template": "assistant", "name": "inara", "display_name": "Inara"}

    answer = client_for(alice).post("/setup/persona", good | changes)

    assert answer.status_code == 400
    assert not Persona.objects.exists()


def test_the_same_persona_twice_is_refused(
    alice: User, persona: Persona, client_for
) -> None:
    answer = client_for(alice).post(
        "/setup/persona",
        {"template": "assistant", "name": "inara", "display_name": "Inara"},
    )

    assert answer.status_code == 400
    assert b"already have a persona" in answer.content
