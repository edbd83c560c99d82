from __future__ import annotations

import datetime
import re
from collections.abc import Callable

import pytest
from django.test import Client
from django.utils import timezone

from accounts import tokens
from accounts.models import ApiToken, AuditEvent, User
from accounts.roles import set_role

PAGE = "/settings/tokens/"
FIELDS = {"name": "Backup", "scopes": ["chat", "ledger"], "days": "30"}
ClientFor = Callable[..., Client]


def shown_in(page: str) -> str:
    """Return the token that a page shows."""
    return re.findall(r"ctx_[0-9a-f]{32}_[\w-]+", page)[0]


def test_a_token_is_shown_once_and_works(alice: User, client_for: ClientFor) -> None:
    client = client_for(alice)

    answer = client.post(PAGE, FIELDS)

    raw = shown_in(answer.content.decode())
    assert tokens.grant_of(raw).scopes == {"chat", "ledger"}
    assert "no-store" in answer["Cache-Control"]
    row = ApiToken.objects.get()
    assert (row.name, row.user) == ("Backup", alice)
    in_days = (row.expires_at - timezone.now()) / datetime.timedelta(days=1)
    assert 29.9 < in_days <= 30
    later = client.get(PAGE).content.decode()
    assert "Backup" in later
    assert raw.split("_", 2)[2] not in later


def test_a_token_may_last_until_it_is_revoked(
    alice: User, client_for: ClientFor
) -> None:
    client_for(alice).post(PAGE, FIELDS | {"days": ""})

    assert ApiToken.objects.get().expires_at is None


@pytest.mark.parametrize(
    "fields",
    [
        {"name": ""},
        {"name": "x" * 65},
        {"scopes": []},
        {"scopes": ["root"]},
        {"scopes": ["admin"]},
        {"days": "31"},
    ],
)
def test_wrong_fields_create_nothing_and_keep_what_was_typed(
    alice: User, client_for: ClientFor, fields: dict[str, object]
) -> None:
    answer = client_for(alice).post(PAGE, FIELDS | fields)

    assert answer.status_code == 400
    assert not ApiToken.objects.exists()
    assert "errorlist" in answer.content.decode()
    if "name" not in fields:
        assert 'value="Backup"' in answer.content.decode()


def test_only_administrators_are_offered_the_scope_admin(
    alice: User, admin_user: User, client_for: ClientFor
) -> None:
    assert 'value="admin"' not in client_for(alice).get(PAGE).content.decode()

    client = client_for(admin_user)
    assert 'value="admin"' in client.get(PAGE).content.decode()
    raw = shown_in(client.post(PAGE, FIELDS | {"scopes": ["admin"]}).content.decode())
    assert tokens.grant_of(raw).scopes == {"admin"}
    set_role(admin_user, is_admin=False)
    assert tokens.grant_of(raw).scopes == set()
    assert "no longer yours" in client_for(admin_user).get(PAGE).content.decode()


def test_a_revoked_token_is_worthless_and_gone(
    alice: User, client_for: ClientFor
) -> None:
    raw = tokens.create_token(alice, name="Old")
    client = client_for(alice)

    answer = client.post(f"{PAGE}{ApiToken.objects.get().pk}/revoke/", follow=True)

    assert tokens.grant_of(raw) is None
    assert "“Old” is revoked" in answer.content.decode()
    assert "<th scope=" not in answer.content.decode()
    again = client.post(f"{PAGE}{ApiToken.objects.get().pk}/revoke/")
    assert again.status_code == 404


def test_everybody_sees_and_revokes_their_own_alone(
    alice: User, bob: User, client_for: ClientFor
) -> None:
    raw = tokens.create_token(alice, name="Hers")
    client = client_for(bob)

    assert "Hers" not in client.get(PAGE).content.decode()
    answer = client.post(f"{PAGE}{ApiToken.objects.get().pk}/revoke/")
    assert answer.status_code == 404
    assert tokens.grant_of(raw) is not None


def test_creating_and_revoking_leave_events_without_the_secret(
    alice: User, client_for: ClientFor
) -> None:
    client = client_for(alice)
    AuditEvent.objects.all().delete()

    raw = shown_in(client.post(PAGE, FIELDS).content.decode())
    client.post(f"{PAGE}{ApiToken.objects.get().pk}/revoke/")

    events = list(AuditEvent.objects.order_by("id"))
    assert [(e.event, e.actor_name, e.subject) for e in events] == [
        ("token.created", "alice", "alice"),
        ("token.revoked", "alice", "alice"),
    ]
    for event in events:
        assert event.detail["scopes"] == ["chat", "ledger"]
        assert raw.split("_", 2)[2] not in str(event.detail)


@pytest.mark.django_db
def test_strangers_must_sign_in() -> None:
    answer = Client().get(PAGE)

    assert answer.status_code == 302
    assert "/account/login/" in answer["Location"]


def test_an_expired_token_is_marked(alice: User, client_for: ClientFor) -> None:
    tokens.create_token(alice, days=1)
    ApiToken.objects.update(expires_at=timezone.now())

    assert "expired" in client_for(alice).get(PAGE).content.decode()
