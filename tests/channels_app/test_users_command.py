from __future__ import annotations

import io
import json
import sys
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.internal.auth import TOTP
from django.core import mail
from django.core.management import CommandError, call_command

from accounts import invites, tokens
from accounts.models import ApiToken, Invite, User
from ledger.models import LedgerPreview
from personas.models import Persona
from tests.conftest import PASSWORD

pytestmark = pytest.mark.django_db


def users(*arguments: str) -> str:
    out = io.StringIO()
    call_command("users", *arguments, stdout=out, stderr=io.StringIO())
    return out.getvalue()


def users_json(*arguments: str) -> Any:
    return json.loads(users(*arguments, "--json"))


def answer(monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{n}\n" for n in lines)))


def test_invite_prints_and_mails_the_link() -> None:
    printed = users("invite", "eve", "eve@example.org")

    link = printed.split()[-1]
    [message] = mail.outbox
    assert message.to == ["eve@example.org"]
    assert link in message.body
    found = invites.find_invite(link.rpartition("/")[2])
    assert found is not None and found.username == "eve" and not found.is_admin


def test_invite_as_administrator_in_json() -> None:
    value = users_json("invite", "eve", "eve@example.org", "--admin")

    assert value["admin"] is True and value["mailed"] is True
    assert value["link"].rpartition("/")[2]
    assert value["expires_at"].endswith("Z")
    assert Invite.objects.get().is_admin


def test_a_broken_mail_server_loses_nothing(settings) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 9

    value = users_json("invite", "eve", "eve@example.org")

    assert value["mailed"] is False
    assert invites.find_invite(value["link"].rpartition("/")[2]) is not None


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("invite", "Eve", "eve@example.org"), "lower-case"),
        (("invite", "admin", "eve@example.org"), "reserved"),
        (("invite", "eve", "nonsense"), "valid email"),
        (("invite", "alice", "eve@example.org"), "already a person"),
        (("invite", "eve", "alice@example.org"), "belongs to somebody"),
        (("google-add", "Eve", "e@example.org"), "lower-case"),
        (("google-add", "eve", "nonsense"), "valid email"),
        (("google-remove", "e@example.org"), "not registered"),
        (("set", "nobody"), "no person named"),
        (("check", "nobody"), "no person named"),
        (("token", "nobody"), "no person named"),
        (("token", "alice", "--scope", "root"), "Scopes are"),
        (("token", "alice", "--days", "0"), "at least 1 day"),
        (("deactivate", "nobody"), "no person named"),
        (("delete", "nobody"), "no person named"),
        (("demote", "dora"), "last administrator"),
        (("deactivate", "dora"), "last administrator"),
        (("delete", "dora", "--yes"), "last administrator"),
        (("delete", "alice"), "needs --yes; nothing was deleted"),
    ],
)
def test_refusals_are_one_sentence(
    alice: User, admin_user: User, arguments: tuple[str, ...], sentence: str
) -> None:
    with pytest.raises(CommandError) as refused:
        users(*arguments)

    assert refused.value.returncode == 1
    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_second_invite_for_the_same_person_is_refused() -> None:
    users("invite", "eve", "eve@example.org")

    with pytest.raises(CommandError, match="open invite"):
        users("invite", "eve", "other@example.org")


def test_google_add_works_before_and_after_setup(alice: User) -> None:
    assert users_json("google-add", "alice", "Al@Gmail.example") == {
        "username": "alice",
        "email": "al@gmail.example",
    }
    users("google-add", "notyet", "not@gmail.example")
    with pytest.raises(CommandError, match="registered"):
        users("google-add", "bob", "al@gmail.example")


def test_google_remove_withdraws_an_address(alice: User) -> None:
    users("google-add", "alice", "al@gmail.example")

    assert users_json("google-remove", "Al@Gmail.example")["removed"] is True

    [row] = users_json("list")
    assert row["google"] == []


def test_list_shows_people_and_invites(alice: User, admin_user: User) -> None:
    users("google-add", "alice", "al@gmail.example")
    users("invite", "eve", "eve@example.org")
    alice.set_unusable_password()
    alice.save()

    rows = {row["username"]: row for row in users_json("list")}

    assert rows["alice"] == {
        "username": "alice",
        "email": "alice@example.org",
        "email_verified": True,
        "state": "active",
        "role": "member",
        "has_password": False,
        "google": [{"email": "al@gmail.example", "bound": False}],
        "last_seen_at": None,
    }
    assert (rows["dora"]["role"], rows["dora"]["has_password"]) == ("admin", True)
    assert rows["eve"]["state"] == "invited"
    text = users("list")
    assert "al@gmail.example (unused)" in text and "never seen" in text


def test_list_shows_addresses_that_wait_for_their_person(alice: User) -> None:
    users("google-add", "dave", "dave@gmail.example")
    users("google-add", "dave", "dave2@gmail.example")
    users("google-add", "eve", "eve@gmail.example")
    users("invite", "eve", "eve@example.org")

    rows = {row["username"]: row for row in users_json("list")}

    assert (rows["dave"]["state"], rows["eve"]["state"]) == ("waiting", "invited")
    assert rows["dave"]["google"] == [
        {"email": "dave@gmail.example", "bound": False},
        {"email": "dave2@gmail.example", "bound": False},
    ]
    assert rows["eve"]["google"] == [{"email": "eve@gmail.example", "bound": False}]
    text = users("list")
    assert "dave@gmail.example (unused)" in text
    assert len(text.splitlines()) == len(rows) == 3


def test_set_and_check_read_a_line(
    alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer(monkeypatch, "a quite new pass phrase")
    users("set", "alice")

    answer(monkeypatch, "a quite new pass phrase")
    assert users("check", "alice") == "yes\n"
    answer(monkeypatch, PASSWORD)
    with pytest.raises(SystemExit) as left:
        users("check", "alice")
    assert left.value.code == 1


def test_set_refuses_a_weak_password(
    alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer(monkeypatch, "alice")

    with pytest.raises(CommandError):
        users("set", "alice")


def test_token_prints_only_the_token(alice: User) -> None:
    raw = users("token", "alice", "--scope", "chat, ledger", "--days", "3")

    assert raw.startswith("ctx_") and raw.endswith("\n") and len(raw.split()) == 1
    grant = tokens.grant_of(raw.strip())
    assert (grant.user, grant.scopes) == (alice, {"chat", "ledger"})


def test_a_token_has_a_name(alice: User) -> None:
    made = users_json("token", "alice", "--name", " Backup ", "--scope", "task")

    assert made["name"] == ApiToken.objects.get().name == "Backup"
    assert made["scopes"] == ["task"]


def test_the_scope_admin_is_for_administrators(alice: User, admin_user: User) -> None:
    with pytest.raises(CommandError, match="is no administrator"):
        users("token", "alice", "--scope", "ledger,admin")

    raw = users("token", "dora", "--scope", "ledger,admin").strip()

    assert tokens.grant_of(raw).scopes == {"ledger", "admin"}


def test_a_deactivated_person_gets_no_token(alice: User) -> None:
    users("deactivate", "alice")

    with pytest.raises(CommandError, match=r"^“alice” is deactivated\.$") as refused:
        users("token", "alice")

    assert refused.value.returncode == 1


def test_verbs_on_a_person(alice: User, admin_user: User) -> None:
    for verb, field, value in (
        ("promote", "is_superuser", True),
        ("demote", "is_superuser", False),
        ("deactivate", "is_active", False),
        ("activate", "is_active", True),
    ):
        assert users_json(verb, "alice") == {"username": "alice", verb: True}
        alice.refresh_from_db()
        assert getattr(alice, field) is value


def test_a_lost_second_factor_can_be_removed(alice: User) -> None:
    TOTP.activate(alice, "JBSWY3DPEHPK3PXP")

    users("forget-2fa", "alice")

    assert not Authenticator.objects.exists()


@pytest.mark.parametrize(("typed", "deleted"), [("alice", True), ("alcie", False)])
def test_delete_asks_for_the_name_at_a_terminal(
    alice: User, monkeypatch: pytest.MonkeyPatch, typed: str, deleted: bool
) -> None:
    answer(monkeypatch, typed)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)

    if deleted:
        assert users_json("delete", "alice") == {"username": "alice", "delete": True}
    else:
        with pytest.raises(CommandError, match="not the name; nothing was deleted"):
            users("delete", "alice")

    assert User.objects.filter(username="alice").exists() is not deleted


def test_delete_removes_texts_and_previews(alice: User, persona: Persona) -> None:
    LedgerPreview.objects.create(
        attempt_id="00000000-0000-0000-0000-000000000001",
        user_id=alice.pk,
        text_encrypted="x",
    )

    users("delete", "alice", "--yes")

    assert not User.objects.filter(username="alice").exists()
    assert not Persona.objects.exists()
    assert not LedgerPreview.objects.exists()
