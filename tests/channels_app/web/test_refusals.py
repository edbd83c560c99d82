"""What somebody gets whose session has ended, or who comes by the wrong method."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from urllib.parse import parse_qs, urlsplit

import pytest
from django.test import Client

from accounts.models import User
from personas.models import Persona

pytestmark = pytest.mark.django_db
RENAME = f"/c/{uuid.UUID(int=7)}/rename"
SHOWN = f"/c/{uuid.UUID(int=7)}"


def next_of(location: str) -> str:
    """Return where a redirect to the sign-in page leads afterwards."""
    parts = urlsplit(location)
    assert parts.path == "/account/login/"
    (target,) = parse_qs(parts.query)["next"]
    return target


def test_a_button_of_htmx_leads_to_sign_in_and_back_to_the_page(client: Client) -> None:
    answer = client.post(
        RENAME,
        headers={
            "HX-Request": "true",
            "HX-Current-URL": f"http://testserver{SHOWN}?chats=60",
        },
    )
    assert (answer.status_code, answer.content) == (200, b"")
    assert next_of(answer["HX-Redirect"]) == f"{SHOWN}?chats=60"


def test_what_htmx_fetches_by_itself_changes_nothing(client: Client) -> None:
    answer = client.get("/c/of/inara/", headers={"HX-Request": "true"})
    assert (answer.status_code, answer.content) == (204, b"")


@pytest.mark.parametrize(
    ("referer", "target"),
    [
        (f"http://testserver{SHOWN}", SHOWN),
        ("http://testserver//evil.example/x", "/evil.example/x"),
        ("http://evil.example/x", "/"),
        ("javascript:alert(1)", "/"),
        (None, "/"),
    ],
)
def test_a_form_leads_back_to_the_page_that_it_stood_on(
    client: Client, referer: str | None, target: str
) -> None:
    answer = client.post(RENAME, headers={"Referer": referer} if referer else {})
    assert answer.status_code == 302
    assert next_of(answer["Location"]) == target


def test_a_page_leads_back_to_itself(client: Client) -> None:
    assert next_of(client.get(f"{SHOWN}?before=1")["Location"]) == f"{SHOWN}?before=1"


def test_a_wrong_method_gets_a_page(
    alice: User, persona: Persona, client_for: Callable[[User], Client]
) -> None:
    answer = client_for(alice).get(RENAME)
    assert (answer.status_code, answer["Allow"]) == (405, "POST")
    assert "cannot be opened" in answer.content.decode()
    answer = client_for(alice).get(RENAME, headers={"Accept": "application/json"})
    assert answer.json()["error"]["code"] == "method_not_allowed"
