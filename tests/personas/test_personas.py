"""Making and finding personas."""

from __future__ import annotations

import pytest
from django.core.exceptions import ValidationError
from django.http import Http404

from accounts.models import AuditEvent, User
from personas.conversations import start_conversation
from personas.files import SOUL, USER
from personas.models import FileRevision, Persona, PersonaFile
from personas.personas import (
    create_persona,
    delete_persona,
    get_persona_for_user,
    personas_visible_to,
)
from personas.starters import STARTER_KEYS, starter_texts
from routing.models import RouteDecision


@pytest.mark.parametrize("template", STARTER_KEYS)
def test_create_persona_copies_the_starter_word_for_word(
    alice: User, template: str
) -> None:
    persona = create_persona(
        alice, template=template, name="tina", display_name=" Tina "
    )
    files = {file.name: file for file in persona.files.all()}
    assert {name: file.text for name, file in files.items()} == starter_texts(template)
    assert persona.display_name == "Tina"
    assert files[USER].private and not files[SOUL].private
    for file in files.values():
        revision = file.revisions.get()
        assert (revision.number, revision.author) == (1, alice)
        assert revision.text == file.text and template in revision.reason


def test_starters_give_different_colors(alice: User) -> None:
    colors = {
        create_persona(alice, template=key, name=key, display_name=key).color
        for key in STARTER_KEYS
    }
    assert len(colors) == len(STARTER_KEYS) and colors <= set(Persona.Color.values)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("template", "pirate"),
        ("name", ""),
        ("name", "Tina"),
        ("name", "api"),
        ("name", "tina\n"),
        ("name", "t" * 33),
        ("display_name", "   "),
        ("display_name", "T" * 65),
    ],
)
def test_create_persona_names_the_field_that_is_wrong(
    alice: User, field: str, value: str
) -> None:
    values = {"template": "assistant", "name": "tina", "display_name": "Tina"}
    with pytest.raises(ValidationError) as caught:
        create_persona(alice, **{**values, field: value})
    assert list(caught.value.message_dict) == [field]
    assert not Persona.objects.exists() and not PersonaFile.objects.exists()


def test_a_name_is_taken_once_per_person(
    alice: User, bob: User, persona: Persona
) -> None:
    create_persona(bob, template="assistant", name=persona.name, display_name="Other")
    with pytest.raises(ValidationError) as caught:
        create_persona(
            alice, template="assistant", name=persona.name, display_name="Other"
        )
    assert "name" in caught.value.message_dict
    assert personas_visible_to(alice).get() == persona


def test_outsiders_do_not_find_a_persona(
    alice: User, charlie: User, admin_user: User, persona: Persona
) -> None:
    assert get_persona_for_user(alice, persona.name) == persona
    for outsider in (charlie, admin_user):
        assert not personas_visible_to(outsider).exists()
        with pytest.raises(Http404):
            get_persona_for_user(outsider, persona.name)


def test_delete_persona_removes_its_texts_and_is_audited(
    alice: User, persona: Persona
) -> None:
    thread = start_conversation(alice, persona)
    decision = RouteDecision.objects.create(
        owner=alice, thread_id=thread.pk, role="chat", tier=1, reason="asks about it"
    )
    delete_persona(persona, actor=alice)
    decision.refresh_from_db()
    assert (decision.reason, decision.thread_id) == ("", None)
    event = AuditEvent.objects.get(event="persona.deleted")
    assert (event.actor_name, event.subject) == ("alice", "inara")
    assert not PersonaFile.objects.exists() and not FileRevision.objects.exists()


@pytest.mark.parametrize(("avatar", "shown"), [("", "I"), ("🦊", "🦊"), ("x", "x")])
def test_avatar_falls_back_to_the_first_letter(
    persona: Persona, avatar: str, shown: str
) -> None:
    persona.avatar = avatar
    assert persona.avatar_text == shown
