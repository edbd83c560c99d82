"""The security headers stand on every response, errors and static files included."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from django.test import AsyncClient, Client

from accounts.models import User
from channels_app.web.csp import OTHER_HEADERS, POLICY

EXPECTED = (
    "default-src 'none'; script-src 'self' 'nonce-{0}'; style-src 'self' 'nonce-{0}'; "
    "style-src-attr 'none'; img-src 'self' blob:; font-src 'self'; "
    "connect-src 'self'; worker-src 'self'; manifest-src 'self'; "
    "media-src 'self' blob:; frame-src 'self'; frame-ancestors 'none'; "
    "base-uri 'none'; form-action 'self'"
)


def nonce_of(policy: str) -> str:
    found = re.search(r"'nonce-([\w-]{22})'", policy)
    assert found, policy
    return found[1]


def test_the_policy_is_the_agreed_one() -> None:
    assert POLICY.replace("{nonce}", "x") == EXPECTED.format("x")


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/account/login/", 200),
        ("/", 302),
        ("/nowhere/", 404),
        ("/static/css/app.css", 200),
        ("/static/nowhere.css", 404),
        ("/admin/", 302),
    ],
)
def test_every_response_carries_the_headers(path: str, status: int) -> None:
    response = Client().get(path)
    response.close()
    assert response.status_code == status
    nonce = nonce_of(response["Content-Security-Policy"])
    assert response["Content-Security-Policy"] == EXPECTED.format(nonce)
    for name, value in OTHER_HEADERS.items():
        assert response[name] == value


@pytest.mark.django_db
def test_the_nonce_in_the_page_is_that_of_the_header_and_never_used_twice() -> None:
    first, second = (Client().get("/account/login/") for _ in range(2))
    nonce = nonce_of(first["Content-Security-Policy"])
    assert f'nonce="{nonce}"' in first.content.decode()
    assert nonce != nonce_of(second["Content-Security-Policy"])


def test_a_foreign_host_name_is_refused_in_our_words() -> None:
    response = Client().get("/", headers={"host": "evil.example"})
    assert response.status_code == 400
    nonce_of(response["Content-Security-Policy"])
    assert "could not be understood" in response.content.decode()


def test_a_form_without_its_token_is_refused_in_our_words(db: None) -> None:
    response = Client(enforce_csrf_checks=True).post("/settings/theme/")
    assert response.status_code == 403
    nonce_of(response["Content-Security-Policy"])
    assert "Go back, reload the page" in response.content.decode()


def test_a_failure_of_ours_has_a_page_that_needs_no_database(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*args: object) -> None:
        raise RuntimeError("the table is gone")

    monkeypatch.setattr("channels_app.web.views.url_has_allowed_host_and_scheme", fail)
    client = Client(raise_request_exception=False)
    response = client.post("/settings/theme/", {"theme": "dark"})
    assert response.status_code == 500
    nonce_of(response["Content-Security-Policy"])
    page = response.content.decode()
    assert "Something went wrong here." in page
    assert "the table is gone" not in page


async def test_async_requests_carry_the_headers_too() -> None:
    response = await AsyncClient().get("/nowhere/")
    assert response.status_code == 404
    nonce_of(response["Content-Security-Policy"])


def test_programs_get_errors_as_json() -> None:
    by_accept = Client().get("/nowhere/", headers={"accept": "application/json"})
    by_path = Client().get("/queue/nowhere/at/all")
    for response in (by_accept, by_path):
        assert response.status_code == 404
        assert response.json()["error"]["code"] == "not_found"


def test_a_persons_404_says_what_is_missing(
    alice: User, client_for: Callable[[User], Client]
) -> None:
    page = client_for(alice).get("/?persona=nobody").content.decode()
    assert "There is no such persona." in page
