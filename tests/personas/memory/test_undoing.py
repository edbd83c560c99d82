"""Undoing what was merged, moved or forgotten meanwhile; personas that go meanwhile."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import pytest
from django.utils import timezone

from accounts.models import User
from personas.errors import EntryGone
from personas.files import get_file, save_file
from personas.memory import files, runs
from personas.memory.files import LONG, MID, SHORT, edit_entry, move_entry
from personas.memory.runs import Change, NewRun, pass_due, store, undo, undo_note
from personas.memory.wishes import forget, remember
from personas.models import MemoryRun, Persona
from personas.personas import create_persona
from tests.personas.trees import line, new_conversation

pytestmark = pytest.mark.django_db

State = MemoryRun.State


def text_of(persona: Persona, name: str = SHORT) -> str:
    return get_file(persona, name).text


def test_undoing_a_merger_does_not_bring_back_what_was_forgotten_with_it(
    persona: Persona, alice: User
) -> None:
    """Nor does undoing the merger before it; what went elsewhere comes back."""
    cello, daily, cat = (
        "- Has a cello lesson on Mondays.",
        "- Plays the cello daily.",
        "- Has a cat.",
    )
    both, all_of_it = "- Cello daily, lesson Mondays.", "- Cello, lessons, music."
    save_file(persona, SHORT, f"{cello}\n{daily}\n{cat}\n", author=alice)
    mid = store(
        persona,
        NewRun(
            "mid", [Change(SHORT, (cello, daily, cat)), Change(MID, (), (both, cat))]
        ),
        read=[],
    )
    long = store(
        persona,
        NewRun("long", [Change(MID, (both,)), Change(LONG, (), (all_of_it,))]),
        read=[],
    )
    assert forget(persona, "cello", author=alice).run is not None
    undo(long, alice)
    assert text_of(persona, MID) == f"{cat}\n"
    undo(mid, alice)
    assert text_of(persona) == f"{cat}\n"
    assert not text_of(persona, MID) and not text_of(persona, LONG)


def test_a_wish_is_undone_wherever_its_line_stands_by_now(
    persona: Persona, alice: User
) -> None:
    said = line(new_conversation(alice, persona), "I like tea", "Noted")
    first = remember(persona, "likes green tea", author=alice, source=said[0])
    assert first.run is not None and first.line is not None
    move_entry(persona, SHORT, first.line, LONG, alice)
    undo_note(said[0].memory_notes.get(), alice)
    assert "tea" not in text_of(persona, LONG)
    second = remember(persona, "likes black coffee", author=alice, source=None)
    assert second.run is not None and second.line is not None
    edit_entry(persona, SHORT, second.line, "dislikes coffee", alice)
    with pytest.raises(EntryGone):
        undo(second.run, alice)
    second.run.refresh_from_db()
    assert second.run.state == State.APPLIED
    assert "dislikes coffee" in text_of(persona)


def test_undoing_that_a_known_line_was_pinned_says_where_that_is_over(
    persona: Persona, alice: User
) -> None:
    save_file(persona, MID, "- Tea\n", author=alice)
    pinned = remember(persona, "tea", author=alice, source=None)
    assert pinned.run is not None and pinned.line is not None
    move_entry(persona, MID, pinned.line, LONG, alice)
    with pytest.raises(EntryGone):
        undo(pinned.run, alice)


def test_a_persona_that_goes_meanwhile_keeps_no_other_from_passing(
    persona: Persona, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = create_persona(alice, template="companion", name="max", display_name="Max")
    for each in (other, persona):
        add = [{"file": SHORT, "remove": [], "add": ["- Tea."]}]
        MemoryRun.objects.create(
            persona=each, step="short", state="waiting", changes=add,
            passes_at=timezone.now(),
        )  # fmt: skip
    lock = files.locked_memory

    def gone_meanwhile(persona: Persona) -> AbstractContextManager[Any]:
        Persona.objects.filter(pk=other.pk).delete()
        return lock(persona)

    monkeypatch.setattr(runs, "locked_memory", gone_meanwhile)
    assert pass_due(timezone.now()) == 1
    assert "- Tea." in get_file(persona, SHORT).text
