from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from allauth.mfa.totp.internal.auth import TOTP
from allauth.socialaccount.models import SocialAccount
from django.contrib import admin
from django.core import mail
from django.test import Client

from accounts import invites, people
from accounts.models import AuditEvent, GoogleAddress, Invite, User
from tests.conftest import PASSWORD

pytestmark = pytest.mark.django_db


def act(client: Client, model: str, action: str, *rows: object) -> str:
    answer = client.post(
        f"/admin/accounts/{model}/",
        {"action": action, "_selected_action": [row.pk for row in rows]},  # type: ignore[attr-defined]
        follow=True,
    )
    return answer.content.decode()


def test_the_admin_has_no_sign_in_of_its_own(client: Client, alice: User) -> None:
    answer = client.get("/admin/login/?next=/admin/")
    assert answer.headers["Location"].startswith("/account/login/")
    client.post("/admin/login/", {"username": "alice", "password": PASSWORD})
    assert "_auth_user_id" not in client.session


def test_the_second_factor_holds_for_the_admin(
    admin_user: User, client: Client
) -> None:
    TOTP.activate(admin_user, "JBSWY3DPEHPK3PXP")

    client.post("/account/login/?next=/admin/", {"login": "dora", "password": PASSWORD})

    assert client.get("/admin/").status_code == 302


def test_members_are_refused(alice: User, client_for) -> None:
    client = client_for(alice)

    assert client.get("/admin/", follow=True).status_code == 403


@pytest.mark.parametrize("model", ["user", "invite", "googleaddress", "auditevent"])
def test_the_lists_open(admin_user: User, client_for, model: str) -> None:
    invites.create_invite(username="eve")
    client = client_for(admin_user)

    assert client.get(f"/admin/accounts/{model}/").status_code == 200
    assert client.get("/admin/").status_code == 200
    if model == "user":
        path = f"/admin/accounts/user/{admin_user.pk}/change/"
        page = client.get(path).content.decode()
        assert 'name="password' not in page
        assert admin_user.password not in page


def test_nothing_secret_is_registered() -> None:
    names = {model._meta.label for model in admin.site._registry}

    assert not names & {
        "accounts.ApiToken",
        "accounts.PasswordReset",
        "account.EmailConfirmation",
        "mfa.Authenticator",
        "socialaccount.SocialApp",
        "socialaccount.SocialToken",
        "personas.Message",
        "personas.PersonaFile",
    }


def test_inviting_shows_the_link_once(admin_user: User, client_for) -> None:
    client = client_for(admin_user)

    values = {"username": "eve", "email": "eve@example.org", "is_admin": ""}
    page = client.post("/admin/accounts/invite/add/", values)

    invite = Invite.objects.get()
    assert invite.invited_by == admin_user
    link = re.search(r"http://\S+/setup/[\w-]+", mail.outbox[0].body)
    assert link and link[0] in page.content.decode()
    assert "no-store" in page.headers["Cache-Control"]
    assert "messages" not in page.cookies
    again = client.get("/admin/accounts/invite/").content.decode()
    assert "http://127.0.0.1:8000/setup/" not in again


def test_inviting_a_taken_name_is_refused(
    admin_user: User, alice: User, client_for
) -> None:
    values = {"username": "alice", "email": ""}

    page = client_for(admin_user).post("/admin/accounts/invite/add/", values)

    assert page.status_code == 200
    assert not Invite.objects.exists()


@pytest.mark.parametrize(
    ("model", "module", "check", "verb"),
    [
        ("invite", invites, "check_invite", invites.create_invite),
        ("googleaddress", people, "check_google_address", people.add_google_address),
    ],
)
def test_whoever_is_second_gets_a_sentence(
    admin_user: User,
    client_for,
    monkeypatch: pytest.MonkeyPatch,
    model: str,
    module: Any,
    check: str,
    verb: Callable[..., object],
) -> None:
    real, asked = getattr(module, check), []

    def somebody_is_faster(username: str, email: str) -> None:
        real(username, email)
        if not asked:
            asked.append(email)
            verb(username=username, email=email)

    monkeypatch.setattr(module, check, somebody_is_faster)

    page = client_for(admin_user).post(
        f"/admin/accounts/{model}/add/",
        {"username": "eve", "email": "eve@example.org"},
        follow=True,
    )

    assert page.status_code == 200
    assert "already" in page.content.decode()


def test_google_addresses_follow_the_rules_and_are_audited(
    admin_user: User, alice: User, client_for
) -> None:
    client = client_for(admin_user)
    add = "/admin/accounts/googleaddress/add/"

    client.post(add, {"username": "alice", "email": "Al@Gmail.example"})
    assert GoogleAddress.objects.get().email == "al@gmail.example"
    again = client.post(add, {"username": "bob", "email": "AL@gmail.example"})
    assert "registered for “alice” already" in again.content.decode()
    bad = client.post(add, {"username": "No Name", "email": "n@gmail.example"})
    assert "lower-case" in bad.content.decode()

    people.add_google_address("alice", "second@gmail.example")
    SocialAccount.objects.create(user=alice, provider="google", uid="sub-1")
    GoogleAddress.objects.filter(email="al@gmail.example").update(subject="sub-1")
    first, second = GoogleAddress.objects.order_by("id")
    client.post(f"/admin/accounts/googleaddress/{first.pk}/delete/", {"post": "yes"})
    client.post(
        "/admin/accounts/googleaddress/",
        {
            "action": "delete_selected",
            "_selected_action": [second.pk],
            "post": "yes",
        },
    )

    assert not GoogleAddress.objects.exists()
    assert not SocialAccount.objects.exists()
    removed = AuditEvent.objects.filter(event="google.removed", actor_name="dora")
    assert removed.count() == 2


def test_invites_are_sent_again_and_withdrawn(admin_user: User, client_for) -> None:
    client = client_for(admin_user)
    invite, token = invites.create_invite(username="eve", email="eve@example.org")

    page = act(client, "invite", "send_again", invite)
    assert "mailed to eve@example.org" in page
    assert "/setup/" in page and token not in page
    assert not client.cookies.get("messages")
    assert client.get(f"/setup/{token}").status_code == 410
    assert "open invite" in act(client, "invite", "send_again", invite)
    fresh = invites.open_invites().get()
    assert "withdrawn" in act(client, "invite", "revoke", fresh)
    assert not invites.open_invites().exists()


def test_people_are_shown_with_their_role_alone(
    admin_user: User, alice: User, client_for
) -> None:
    client = client_for(admin_user)

    form = client.get(f"/admin/accounts/user/{alice.pk}/change/").content.decode()
    rows = client.get("/admin/accounts/user/").content.decode()

    assert '<div class="readonly">member</div>' in form
    assert '<td class="field-role">admin</td>' in rows
    for field in ("superuser", "staff", "user_permissions"):
        assert field not in form


def test_google_addresses_have_a_plural(admin_user: User, client_for) -> None:
    index = client_for(admin_user).get("/admin/").content.decode()
    assert "Google addresses" in index


def test_people_change_by_action_alone(
    admin_user: User, alice: User, client_for
) -> None:
    client = client_for(admin_user)

    act(client, "user", "promote", alice)
    act(client, "user", "deactivate", alice)
    alice.refresh_from_db()
    assert alice.is_superuser and not alice.is_active
    assert "last administrator" in act(client, "user", "demote", admin_user)
    client.post(
        f"/admin/accounts/user/{alice.pk}/change/",
        {"is_superuser": "", "is_active": "on", "time_zone": "UTC", "language": "en"},
    )
    alice.refresh_from_db()
    assert alice.is_superuser and not alice.is_active
    assert client.get("/admin/accounts/user/add/").status_code == 403
    path = f"/admin/accounts/user/{alice.pk}/delete/"
    assert client.post(path, {"post": "yes"}).status_code == 403
    events = set(AuditEvent.objects.values_list("event", "actor_name"))
    assert {("user.promoted", "dora"), ("user.deactivated", "dora")} <= events


def test_a_person_deleted_meanwhile_is_a_sentence(
    admin_user: User, alice: User, client_for, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked = people._locked

    def delete_first(user: User) -> User:
        User.objects.filter(pk=alice.pk).delete()
        return locked(user)

    monkeypatch.setattr(people, "_locked", delete_first)

    page = act(client_for(admin_user), "user", "promote", alice)

    assert "no person named “alice” any more" in page


@pytest.mark.parametrize("path", ["password_change/", "password_change/done/"])
@pytest.mark.parametrize("method", ["get", "post"])
def test_passwords_are_changed_on_the_one_page_with_a_rate_limit(
    admin_user: User, client_for, method: str, path: str
) -> None:
    answer = getattr(client_for(admin_user), method)(f"/admin/{path}")

    assert answer.status_code == 302
    assert answer.headers["Location"] == "/account/password/change/"
