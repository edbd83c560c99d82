from __future__ import annotations

import datetime

import pytest
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.utils import timezone

from accounts import people, tokens
from accounts.models import ApiToken, User


@pytest.mark.django_db
def test_a_token_recognises_its_person(alice: User) -> None:
    raw = tokens.create_token(alice)

    assert raw.startswith("ctx_")
    assert tokens.grant_of(raw).user == alice


@pytest.mark.django_db
def test_only_a_hash_is_kept(alice: User) -> None:
    raw = tokens.create_token(alice)
    secret = raw.split("_", 2)[2]

    row = ApiToken.objects.get()
    assert secret not in str(vars(row))
    assert row.secret_hash != secret


@pytest.mark.django_db
def test_a_token_is_good_for_its_scopes_alone(alice: User) -> None:
    raw = tokens.create_token(alice, scopes=["ledger"])

    assert tokens.grant_of(raw).scopes == {"ledger"}


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("scopes", "sentence"),
    [
        ([], "needs a scope: chat, task, ledger"),
        (["admin"], "no administrator"),
        (["chat", "root"], "not “root”"),
    ],
)
def test_unknown_scopes_are_refused(
    alice: User, scopes: list[str], sentence: str
) -> None:
    with pytest.raises(ValidationError, match=sentence):
        tokens.create_token(alice, scopes=scopes)


@pytest.mark.django_db
@pytest.mark.parametrize("days", [0, -1, 10**9])
def test_impossible_days_are_refused(alice: User, days: int) -> None:
    with pytest.raises(ValidationError, match="at least 1 day, at most 36,500"):
        tokens.create_token(alice, days=days)


@pytest.mark.django_db
def test_expired_and_revoked_tokens_are_refused(alice: User) -> None:
    old = tokens.create_token(alice, days=1)
    ApiToken.objects.update(expires_at=timezone.now() - datetime.timedelta(seconds=1))
    assert tokens.grant_of(old) is None

    revoked = tokens.create_token(alice)
    assert tokens.revoke_tokens(alice) == 2
    assert tokens.grant_of(revoked) is None


@pytest.mark.django_db
def test_tokens_of_the_deactivated_stay_dead(alice: User) -> None:
    raw = tokens.create_token(alice)

    people.deactivate(alice)
    assert tokens.grant_of(raw) is None
    people.activate(alice)
    assert tokens.grant_of(raw) is None


@pytest.mark.django_db
def test_last_use_is_written_at_most_once_an_hour(
    alice: User, django_assert_num_queries
) -> None:
    raw = tokens.create_token(alice)

    with django_assert_num_queries(2):
        tokens.grant_of(raw)
    with django_assert_num_queries(1):
        tokens.grant_of(raw)
    assert ApiToken.objects.get().last_used_at is not None


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"HTTP_AUTHORIZATION": "Bearer ctx_a_b"}, "ctx_a_b"),
        ({"HTTP_AUTHORIZATION": "bearer  ctx_a_b "}, "ctx_a_b"),
        ({"HTTP_AUTHORIZATION": "Basic YTpi"}, ""),
        ({"HTTP_AUTHORIZATION": ""}, ""),
        ({"HTTP_X_API_KEY": "ctx_a_b"}, "ctx_a_b"),
        ({"HTTP_AUTHORIZATION": "Basic x", "HTTP_X_API_KEY": "ctx_a_b"}, ""),
    ],
)
def test_presented_token(headers: dict[str, str], expected: str | None) -> None:
    request = HttpRequest()
    request.META = headers

    assert tokens.presented_token(request.headers) == expected


@pytest.mark.django_db
def test_a_person_has_so_many_valid_tokens_and_no_more(
    alice: User, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "MAX_OPEN", 2)
    for _ in range(2):
        tokens.create_token(alice, days=1)
    with pytest.raises(ValidationError, match="2 valid tokens"):
        tokens.create_token(alice)
    tokens.create_token(bob)

    tokens.revoke_token(tokens.tokens_visible_to(alice)[0], actor=alice)
    tokens.create_token(alice)
    ApiToken.objects.filter(user=alice).exclude(expires_at=None).update(
        expires_at=timezone.now()
    )
    tokens.create_token(alice)
