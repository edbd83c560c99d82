"""The list, settings, prompt and end of a persona, as pages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from accounts.models import User
from personas.conversations import start_conversation
from personas.files import SOUL, save_file
from personas.models import Persona

NEW = {"template": "developer", "name": "tina", "display_name": "Tina"}
SETTINGS = {
    "display_name": "Inara S.",
    "avatar": "🦊",
    "color": "teal",
    "private": "on",
    "model_role": "coder",
    "tier": "2",
    "context_tier": "3",
}


@pytest.fixture
def client(alice: User, client_for: Callable[..., Client]) -> Client:
    return client_for(alice)


def test_list_shows_only_ones_own(
    alice: User, bob: User, persona: Persona, client_for: Callable[..., Client]
) -> None:
    assert "Inara" in client_for(alice).get("/personas/").content.decode()
    assert "Inara" not in client_for(bob).get("/personas/").content.decode()


def test_strangers_are_sent_to_sign_in(persona: Persona) -> None:
    for path in ("/personas/", "/personas/inara/", "/personas/inara/files/SOUL.md/"):
        response = Client().get(path)
        assert response.status_code == 302
        assert response["Location"].startswith("/account/login/")


def test_create_leads_to_the_new_persona(client: Client, alice: User) -> None:
    response = client.post("/personas/", NEW)
    assert response.status_code == 302 and response["Location"] == "/personas/tina/"
    assert alice.personas.get().display_name == "Tina"


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"name": "inara"}, "already have a persona with this name"),
        ({"name": "Tina!"}, "lower-case letters"),
        ({"name": "me"}, "reserved"),
        ({"display_name": ""}, "required"),
        ({"template": "pirate"}, "Select a valid choice"),
    ],
)
def test_a_refused_form_says_why_and_keeps_what_was_typed(
    client: Client, persona: Persona, wrong: dict[str, str], sentence: str
) -> None:
    response = client.post("/personas/", {**NEW, **wrong})
    page = response.content.decode()
    assert response.status_code == 400 and sentence in page
    kept = wrong.get("name", NEW["name"])
    assert f'value="{kept}"' in page
    assert Persona.objects.count() == 1


def test_settings_are_saved(client: Client, persona: Persona) -> None:
    assert client.get("/personas/inara/").status_code == 200
    assert client.post("/personas/inara/", SETTINGS).status_code == 302
    persona.refresh_from_db()
    assert (persona.display_name, persona.avatar, persona.color) == (
        "Inara S.",
        "🦊",
        "teal",
    )
    assert (persona.private, persona.model_role) == (True, "coder")
    assert (persona.tier, persona.context_tier) == (2, 3)
    client.post("/personas/inara/", {**SETTINGS, "tier": ""})
    persona.refresh_from_db()
    assert persona.tier is None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("display_name", ""),
        ("color", "#123456"),
        ("color", "red; background: url(//x)"),
        ("tier", "4"),
        ("context_tier", "0"),
        ("model_role", "emperor"),
        ("avatar", "x" * 9),
    ],
)
def test_wrong_settings_are_refused(
    client: Client, persona: Persona, field: str, value: str
) -> None:
    response = client.post("/personas/inara/", {**SETTINGS, field: value})
    assert response.status_code == 400
    # The heading still shows the saved name, not the refused one.
    assert "<h1>Inara</h1>" in response.content.decode()
    persona.refresh_from_db()
    assert persona.display_name == "Inara"


def test_a_role_that_no_longer_exists_is_kept(client: Client, persona: Persona) -> None:
    Persona.objects.update(model_role="poet")
    values = {**SETTINGS, "model_role": "poet"}
    assert client.post("/personas/inara/", values).status_code == 302
    persona.refresh_from_db()
    assert persona.model_role == "poet"


def test_name_and_owner_cannot_be_changed_by_the_form(
    client: Client, alice: User, bob: User, persona: Persona
) -> None:
    client.post("/personas/inara/", {**SETTINGS, "name": "x", "owner": bob.pk})
    persona.refresh_from_db()
    assert (persona.name, persona.owner) == ("inara", alice)


def test_delete_needs_the_name(client: Client, alice: User, persona: Persona) -> None:
    start_conversation(alice, persona)
    page = client.get("/personas/inara/delete/").content.decode()
    assert "3 files" in page and "1 conversation." in page
    for typed in ("", "Inara", "inara2"):
        response = client.post("/personas/inara/delete/", {"name": typed})
        assert response.status_code == 400
    assert Persona.objects.exists()
    response = client.post("/personas/inara/delete/", {"name": " inara "})
    assert response["Location"] == "/personas/"
    assert not Persona.objects.exists()


def test_prompt_page_shows_the_instructions_as_they_are_sent(
    client: Client, alice: User, persona: Persona
) -> None:
    save_file(persona, SOUL, "brave\nshy <!-- private -->", author=alice)
    page = client.get("/personas/inara/prompt/").content.decode()
    assert "You are Inara, talking with alice." in page
    assert "brave\nshy" in page
    page = client.get("/personas/inara/prompt/?company=1").content.decode()
    assert "You are Inara.\n" in page and "shy" not in page


def test_prompt_page_says_what_does_not_fit(
    client: Client, alice: User, persona: Persona
) -> None:
    page = client.get("/personas/inara/prompt/?budget=900").content.decode()
    assert page.count("left out: too long") == 2
    page = client.get("/personas/inara/prompt/?budget=28000").content.decode()
    assert "left out" not in page
    assert client.get("/personas/inara/prompt/?budget=x").status_code == 200


def test_pages_take_few_queries(
    client: Client, persona: Persona, django_assert_max_num_queries: Any
) -> None:
    for path in ("", "inara/", "inara/files/", "inara/files/SOUL.md/", "inara/prompt/"):
        with django_assert_max_num_queries(8):
            assert client.get(f"/personas/{path}").status_code == 200
