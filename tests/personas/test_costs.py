"""Which of a person's conversations cost most."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from accounts.models import User
from personas.conversations import delete_conversation, start_conversation
from personas.costs import costliest_conversations
from personas.models import Conversation, Message, Persona


def talk(persona: Persona, title: str, *costs: int | None, **changes: Any) -> Any:
    """Write a conversation with one answer for each cost."""
    chat = start_conversation(persona.owner, persona)
    Conversation.objects.filter(pk=chat.pk).update(title=title)
    for cost in costs:
        values: dict[str, Any] = {"attempts": 1, "cost_nano_usd": cost} | changes
        Message.objects.create(
            conversation=chat, owner=persona.owner, role="assistant", **values
        )
    Message.objects.create(
        conversation=chat, owner=persona.owner, role="user", text="A question"
    )
    return chat


def test_sums_answers_dearest_first(alice: User, persona: Persona) -> None:
    talk(persona, "Cheap", 5)
    talk(persona, "Dear", 10, 20, None)
    talk(persona, "Free", 0)
    talk(persona, "Unknown", None)
    found = costliest_conversations(alice)
    assert [each.title for each in found] == ["Dear", "Cheap", "Unknown"]
    dear, cheap, unknown = found
    assert (dear.answers, dear.cost_nano_usd, dear.unknown_cost_answers) == (3, 30, 1)
    assert dear.persona_name == "Inara"
    assert not dear.is_unknown
    assert not cheap.is_unknown
    assert unknown.is_unknown
    assert [each.title for each in costliest_conversations(alice, limit=1)] == ["Dear"]


def test_answers_without_a_call_and_running_ones_are_not_unknown(
    alice: User, persona: Persona
) -> None:
    talk(persona, "Nobody to ask", None, attempts=0, state="failed")
    talk(persona, "Running", None, state="generating")
    assert costliest_conversations(alice) == []


def test_counts_from_a_moment_on(alice: User, persona: Persona) -> None:
    now = timezone.now()
    talk(persona, "Old", 50, created_at=now - timedelta(days=40))
    talk(persona, "New", 1)
    found = costliest_conversations(alice, since=now - timedelta(days=30))
    assert [each.title for each in found] == ["New"]


def test_leaves_out_deleted_ones(alice: User, persona: Persona) -> None:
    chat = talk(persona, "Gone", 5)
    delete_conversation(chat)
    assert costliest_conversations(alice) == []


@pytest.mark.django_db
def test_outsiders_see_nothing(persona: Persona, charlie: User) -> None:
    talk(persona, "Private matters", 5)
    assert costliest_conversations(charlie) == []
