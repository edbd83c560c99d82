from __future__ import annotations

import pytest
from django.core import mail

from accounts import invites, people
from accounts.models import Invite, User

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("get", "/people/"),
        ("post", "/people/invite/"),
        ("post", "/people/invites/1/renew/"),
        ("post", "/people/invites/1/revoke/"),
        ("post", "/people/alice/deactivate/"),
        ("post", "/people/alice/promote/"),
        ("get", "/people/alice/delete/"),
        ("post", "/people/alice/delete/"),
    ],
)
def test_members_get_404_and_strangers_the_sign_in_page(
    alice: User, charlie: User, client, client_for, method: str, path: str
) -> None:
    assert getattr(client_for(charlie), method)(path).status_code == 404
    assert getattr(client, method)(path).status_code == 302
    alice.refresh_from_db()
    assert alice.is_active and not alice.is_admin


def test_the_page_lists_people_and_invites(
    alice: User, admin_user: User, client_for, django_assert_max_num_queries
) -> None:
    invites.create_invite(username="eve", email="eve@example.org")
    client = client_for(admin_user)
    client.get("/people/")

    # One of them counts the open requests for money, which administrators see beside
    # every page's link to it.
    with django_assert_max_num_queries(9):
        page = client.get("/people/").content.decode()

    for text in ("alice@example.org", "dora", "eve@example.org", "administrator"):
        assert text in page


def test_the_page_shows_addresses_that_wait_for_their_person(
    alice: User, admin_user: User, client_for
) -> None:
    people.add_google_address("alice", "al@gmail.example")
    client = client_for(admin_user)
    assert "wait for their person" not in client.get("/people/").content.decode()
    people.add_google_address("dave", "dave@gmail.example")

    page = client.get("/people/").content.decode()

    waiting = page.partition("wait for their person")[2]
    assert "dave@gmail.example" in waiting
    assert "al@gmail.example" not in waiting


def test_inviting_shows_and_mails_the_link_once(admin_user: User, client_for) -> None:
    client = client_for(admin_user)

    page = client.post(
        "/people/invite/", {"username": "eve", "email": "eve@example.org"}
    ).content.decode()

    link = page.split('value="http')[1].split('"')[0]
    assert f"http{link}" in mail.outbox[0].body
    assert "/setup/" in link
    assert "/setup/" not in client.get("/people/").content.decode()
    assert len(mail.outbox) == 1
    assert Invite.objects.get().invited_by == admin_user


CONSOLE = "django.core.mail.backends.console.EmailBackend"


def test_a_printed_link_is_not_said_to_be_mailed(
    admin_user: User, client_for, settings, capsys: pytest.CaptureFixture[str]
) -> None:
    settings.EMAIL_BACKEND = CONSOLE
    client = client_for(admin_user)
    invite = {"username": "eve", "email": "eve@example.org"}

    page = client.post("/people/invite/", invite).content.decode()
    again = client.post(f"/people/invites/{Invite.objects.get().pk}/renew/")
    invite = {"username": "fay", "email": "fay@example.org"}
    in_admin = client.post("/admin/accounts/invite/add/", invite).content.decode()

    for shown in (page, again.content.decode(), in_admin):
        assert "printed in the server's output" in shown
        assert "was mailed" not in shown
    assert capsys.readouterr().err.count("/setup/") == 3


@pytest.mark.parametrize(
    ("values", "status"),
    [
        ({"username": "Eve"}, 400),
        ({"email": "nonsense"}, 400),
        ({"username": "alice"}, 409),
        ({"email": "alice@example.org"}, 409),
    ],
)
def test_a_refused_invite_keeps_the_input(
    alice: User, admin_user: User, client_for, values: dict[str, str], status: int
) -> None:
    answer = client_for(admin_user).post("/people/invite/", values)

    assert answer.status_code == status
    assert next(iter(values.values())) in answer.content.decode()
    assert not Invite.objects.exists()


def test_renewing_and_withdrawing(admin_user: User, client_for) -> None:
    client = client_for(admin_user)
    invite, token = invites.create_invite(username="eve")

    page = client.post(f"/people/invites/{invite.pk}/renew/").content.decode()
    assert "/setup/" in page and token not in page
    assert client.get(f"/setup/{token}").status_code == 410

    fresh = invites.open_invites().get()
    client.post(f"/people/invites/{fresh.pk}/revoke/")
    assert not invites.open_invites().exists()


def test_changing_a_person(alice: User, admin_user: User, client_for) -> None:
    client = client_for(admin_user)

    client.post("/people/alice/deactivate/")
    alice.refresh_from_db()
    assert not alice.is_active
    assert client.post("/people/alice/explode/").status_code == 404
    assert client.post("/people/nobody/activate/").status_code == 404
    page = client.post("/people/dora/demote/", follow=True).content.decode()
    assert "last administrator" in page


@pytest.mark.parametrize("path", ["demote", "deactivate", "delete"])
def test_a_person_deleted_meanwhile_is_a_sentence(
    alice: User,
    admin_user: User,
    client_for,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
) -> None:
    locked = people._locked

    def delete_first(user: User) -> User:
        User.objects.filter(pk=alice.pk).delete()
        return locked(user)

    monkeypatch.setattr(people, "_locked", delete_first)

    page = client_for(admin_user).post(
        f"/people/alice/{path}/", {"name": "alice"}, follow=True
    )

    assert "no person named “alice” any more" in page.content.decode()


def test_deleting_needs_the_name_typed(
    alice: User, admin_user: User, client_for
) -> None:
    client = client_for(admin_user)

    assert client.get("/people/alice/delete/").status_code == 200
    assert client.post("/people/alice/delete/", {"name": "alise"}).status_code == 409
    assert User.objects.filter(username="alice").exists()
    assert client.post("/people/alice/delete/", {"name": "alice"}).status_code == 302
    assert not User.objects.filter(username="alice").exists()
