"""The ledger's rows of a bundle and whose answers they may name."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import pytest

from accounts.models import User
from channels_app.homes.bundle_import import take_bundle
from ledger.models import LedgerEntry
from ledger.turn_attempts import cost_of_turns
from personas.models import Conversation, Message, Persona
from personas.personas import create_persona
from tests.channels_app.homes.bundles import bundle_of, edited, fill, say

pytestmark = pytest.mark.django_db


def as_new(text: str) -> str:
    """Return the lines with attempts that this ledger does not know."""
    for line in text.splitlines():
        attempt = json.loads(line)["attempt_id"]
        text = text.replace(attempt, str(uuid.uuid5(uuid.UUID(int=7), attempt)))
    return text


def test_a_row_never_counts_for_somebody_elses_answer(
    persona: Persona, bob: User, tmp_path: Path
) -> None:
    answer = fill(persona)
    his = create_persona(bob, template="assistant", name="his", display_name="His")
    chat = Conversation.objects.create(owner=bob, persona=his)
    theirs = say(chat, "assistant", "His answer.", None)
    path = bundle_of(persona.owner, tmp_path / "b.zip")
    edited(
        path,
        "ledger.jsonl",
        lambda text: as_new(text).replace(str(answer.pk), str(theirs.pk)),
    )

    take_bundle(path, "carol", dry_run=False)

    rows = LedgerEntry.objects.filter(user_name="carol")
    assert rows.count() == 5
    assert not rows.exclude(turn_id=None).exists()
    assert cost_of_turns([theirs.pk]) == 0


def test_a_row_follows_its_answer_to_a_new_id(persona: Persona, tmp_path: Path) -> None:
    answer = fill(persona)
    before = cost_of_turns([answer.pk])
    path = edited(bundle_of(persona.owner, tmp_path / "b.zip"), "ledger.jsonl", as_new)

    take_bundle(path, "carol", dry_run=False)

    restored = Message.objects.get(owner__username="carol", text=answer.text)
    assert restored.pk != answer.pk
    assert cost_of_turns([restored.pk]) == cost_of_turns([answer.pk]) == before
