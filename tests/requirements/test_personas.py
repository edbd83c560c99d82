"""What must hold for personas and conversations: S1, S7 and S14."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import pytest
from django.http import Http404
from django.template import engines
from django.test import Client
from django.urls import URLPattern, reverse

from accounts.models import User
from personas import conversations, files, urls
from personas.context import load_material
from personas.files import IDENTITY, SOUL, save_file
from personas.models import FileRevision, MemoryRun, Persona, PersonaFile
from personas.personas import create_persona
from personas.prompts import build_prompt
from tests.personas.trees import line

# --- S1: outsiders get 404 -------------------------------------------------------

CONVERTED = {
    "name": "inara",
    "file_name": "notes.md",
    "number": 1,
    "run_id": "7f1d3c56-6b8e-4a0e-9c57-0d2f7d5a1b11",
}


def addresses() -> list[str]:
    """Return every address of the persona pages that names somebody's persona."""
    found = []
    for pattern in urls.urlpatterns:
        assert isinstance(pattern, URLPattern) and pattern.name
        names = list(pattern.pattern.converters)
        if names:
            arguments = {name: CONVERTED[name] for name in names}
            found.append(reverse(pattern.name, kwargs=arguments))
    return found


def everything() -> list[Any]:
    """Return all rows that a persona page could change."""
    return [
        list(Persona.objects.order_by("pk").values()),
        list(PersonaFile.objects.order_by("pk").values()),
        list(FileRevision.objects.order_by("pk").values()),
        list(MemoryRun.objects.order_by("pk").values()),
    ]


@pytest.mark.parametrize("address", addresses())
@pytest.mark.parametrize("who", ["charlie", "admin_user"])
def test_s01_outsiders_get_404_from_every_persona_page(
    address: str,
    who: str,
    alice: User,
    persona: Persona,
    client_for: Callable[..., Client],
    request: pytest.FixtureRequest,
) -> None:
    files.add_file(persona, "notes.md", author=alice)
    persona.memory_runs.create(pk=CONVERTED["run_id"], step="short", state="waiting")
    before = everything()
    owner, outsider = client_for(alice), client_for(request.getfixturevalue(who))
    values = {
        "name": persona.name,
        "display_name": "Stolen",
        "text": "stolen",
        "expected_revision": "1",
    }
    answers = {}
    for method in ("get", "head", "post", "put", "patch", "delete"):
        response = getattr(outsider, method)(address, values)
        answers[method] = response.status_code
        assert b"Inara" not in response.content
    # 405 only where nobody may use that method at all.
    readable = owner.get(address).status_code == 200
    assert answers["get"] == answers["head"] == (404 if readable else 405)
    assert answers["post"] == 404 or (readable and answers["post"] == 405)
    assert {answers[method] for method in ("put", "patch", "delete")} == {405}
    assert everything() == before


def test_s01_the_same_name_leads_everybody_to_their_own_persona(
    alice: User, bob: User, persona: Persona, client_for: Callable[..., Client]
) -> None:
    create_persona(bob, template="developer", name="inara", display_name="Bob's")
    editor = reverse("persona_file", args=["inara", SOUL])
    client_for(bob).post(editor, {"text": "mine", "expected_revision": "1"})
    assert files.get_file(persona, SOUL).text.startswith("# Soul\n\nYou are the one")
    page = client_for(bob).get(editor).content.decode()
    assert "mine</textarea>" in page and "Inara" not in page


def test_s01_ids_of_others_are_not_found_by_any_function(
    alice: User, charlie: User, persona: Persona
) -> None:
    conversation = conversations.start_conversation(alice, persona)
    (message,) = line(conversation, "hi")
    for call in (
        lambda: conversations.get_conversation_for_user(charlie, conversation.pk),
        lambda: conversations.get_message_for_user(charlie, message.pk),
        lambda: conversations.undelete(charlie, conversation.pk),
        lambda: conversations.start_conversation(charlie, persona),
    ):
        with pytest.raises(Http404):
            call()
    # Exactly what an id that never existed answers.
    with pytest.raises(Http404) as foreign:
        conversations.get_conversation_for_user(charlie, conversation.pk)
    with pytest.raises(Http404) as unknown:
        conversations.get_conversation_for_user(charlie, uuid.uuid4())
    assert str(foreign.value) == str(unknown.value)


# --- S7: names, titles and file texts are never markup ---------------------------

CORPUS = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "<svg onload=alert(1)>",
    "javascript:alert(1)",
    "'-alert(1)-'",
    "</textarea><script>alert(1)</script>",
    "</title><svg/onload=alert(1)>",
    '<div hx-get="/x" hx-trigger="load" data-hx-on="alert(1)">',
    "{{ 7|add:1 }}{% debug %}",
    "data:text/html,<script>alert(1)</script>",
]


class Elements(HTMLParser):
    """Collects what would be live in a page: tags that the corpus tries to make."""

    def __init__(self) -> None:
        super().__init__()
        self.suspicious: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "script" and not dict(attrs).get("src"):
            self.suspicious.append(tag)
        if tag == "img":
            self.suspicious.append(tag)
        # Without the page's nonce htmx ignores an element (extension hx-csp).
        by_page = bool(dict(attrs).get("hx-nonce"))
        for name, value in attrs:
            if name.startswith("hx-") and by_page:
                continue
            if name.startswith(("on", "hx-", "data-hx-")) or name == "style":
                self.suspicious.append(f"{tag} {name}")
            if name in ("href", "src", "action") and (value or "").lower().startswith(
                ("javascript:", "data:")
            ):
                self.suspicious.append(f"{tag} {name}={value}")


def assert_harmless(response: Any) -> None:
    found = Elements()
    found.feed(response.content.decode())
    assert found.suspicious == []


@pytest.mark.parametrize("text", CORPUS)
def test_s07_names_and_texts_stay_text_on_every_persona_page(
    text: str, alice: User, persona: Persona, client_for: Callable[..., Client]
) -> None:
    persona.display_name, persona.avatar = text[:64], text[:8]
    persona.save()
    save_file(persona, "notes.md", "before", author=alice)
    save_file(persona, "notes.md", text, author=alice, reason=text)
    save_file(persona, "MEMORY_MID.md", f"- {text}", author=alice)
    proposed = [{"file": "MEMORY_MID.md", "remove": [], "add": [f"- {text}!"]}]
    persona.memory_runs.create(
        step="mid", state="waiting", changes=proposed, explanation=text, model=text
    )
    alice.first_name = text[:30]
    alice.save()
    client = client_for(alice)
    for address in ["/personas/", *addresses()]:
        if not address.endswith("restore/"):
            assert_harmless(client.get(address))
    editor = reverse("persona_file", args=["inara", "notes.md"])
    history = reverse("persona_file_revision", args=["inara", "notes.md", 2])
    assert_harmless(client.get(history))
    conflict = client.post(
        editor, {"text": f"{text}!", "expected_revision": "1", "reason": text}
    )
    assert conflict.status_code == 409
    assert_harmless(conflict)


@pytest.mark.parametrize("text", CORPUS)
def test_s07_refused_input_comes_back_as_text(
    text: str, persona: Persona, client_for: Callable[..., Client]
) -> None:
    client = client_for(persona.owner)
    for address, values in (
        ("/personas/", {"template": text, "name": text, "display_name": text}),
        ("/personas/inara/", {"display_name": text, "color": text, "tier": text}),
        ("/personas/inara/files/", {"name": text}),
        ("/personas/inara/delete/", {"name": text}),
        (
            "/personas/inara/files/SOUL.md/",
            {"text": text + "x" * 70_000, "reason": text, "expected_revision": text},
        ),
    ):
        response = client.post(address, values)
        assert response.status_code == 400, address
        assert_harmless(response)
    assert_harmless(client.get("/personas/inara/prompt/", {"budget": text}))
    response = client.get(f"/personas/{text.replace('/', '')}/")
    assert response.status_code == 404
    assert_harmless(response)


# --- S14: no expansion of any kind in people's texts -----------------------------

EXPANSIONS = [
    "{{ settings.SECRET_KEY }}",
    "{% include 'base.html' %}{% load static %}",
    "{{ 7|add:1 }} {{7*7}}",
    "${HOME} $HOME ${SECRET_KEY} %(HOME)s %HOME% ~ `id` $(id)",
    "{0} {name} {owner.password} {0.__class__}",
    "#{7*7} <%= 7*7 %> @{x}",
    "{{char}} {{user}} {{original}}",
    "\\n \\u0041 &lt; %3C",
]


@pytest.mark.parametrize("text", EXPANSIONS)
def test_s14_persona_texts_reach_the_prompt_word_for_word(
    text: str, alice: User, persona: Persona
) -> None:
    persona.display_name = text[:64]
    persona.context_tier = 3
    persona.save()
    for name in (IDENTITY, SOUL, "notes.md"):
        save_file(persona, name, f"{name}: {text}", author=alice)
    conversation = conversations.start_conversation(alice, persona, first_text=text)
    *_, message = line(conversation, text, text, text)
    prompt = build_prompt(load_material(conversation, upto=message), 100_000)
    for name in (IDENTITY, SOUL, "notes.md"):
        assert f"{name}: {text}" in prompt.system
    assert f"You are {text[:64]}, talking with" in prompt.system
    assert [sent.text for sent in prompt.messages] == [text] * 3


def test_s14_no_template_engine_runs_while_a_prompt_is_made(
    alice: User, persona: Persona, monkeypatch: pytest.MonkeyPatch
) -> None:
    for engine in engines.all():
        monkeypatch.setattr(
            engine, "from_string", lambda *_: pytest.fail("a template was compiled")
        )
    save_file(persona, SOUL, "{{ 7|add:1 }}", author=alice)
    conversation = conversations.start_conversation(alice, persona)
    (message,) = line(conversation, "{{ 7|add:1 }}")
    prompt = build_prompt(load_material(conversation, upto=message), 8000)
    assert prompt.system.count("{{ 7|add:1 }}") == 1


def test_s14_starters_are_copied_without_expansion(alice: User) -> None:
    persona = create_persona(
        alice, template="assistant", name="x", display_name="{{ 7|add:1 }}"
    )
    assert persona.display_name == "{{ 7|add:1 }}"
