"""Runs: stored, reviewed, passed and undone by lines."""

from __future__ import annotations

import uuid
from datetime import UTC, date, datetime, timedelta

import pytest
from django.http import Http404
from django.utils import timezone

from accounts.models import User
from personas.conversations import delete_conversation
from personas.errors import EntryGone, FileRefused
from personas.files import MAX_FILE_BYTES, get_file, save_file, set_private
from personas.memory.files import LONG, MID, SHORT, edit_entry, pin_entry, remove_entry
from personas.memory.lines import entry_line
from personas.memory.runs import (
    CHANGED_SINCE,
    DELETED_SINCE,
    Change,
    NewRun,
    accept,
    changes_of,
    get_note_for_user,
    get_run_for_user,
    pass_due,
    preview,
    reject,
    runs_visible_to,
    store,
    undo,
    undo_note,
)
from personas.models import MemoryRun, MemorySettings, Message, Persona
from tests.personas.trees import line, new_conversation

pytestmark = pytest.mark.django_db

State = MemoryRun.State
BEFORE = "# Memory\n- old\n- pinned <!-- pin -->\n\nMore.\n"
OLD_OUT = Change(SHORT, ("- old",), ("- new",))


@pytest.fixture
def written(persona: Persona) -> Persona:
    save_file(persona, SHORT, BEFORE, author=None)
    return persona


@pytest.fixture
def said(written: Persona, alice: User) -> list[Message]:
    messages = line(new_conversation(alice, written), "tea", "good", "cello", "fine")
    return messages[::2]


def text_of(persona: Persona, name: str = SHORT) -> str:
    return get_file(persona, name).text


def review(persona: Persona, days: int | None) -> None:
    MemorySettings.objects.update_or_create(
        persona=persona, defaults={"review_days": days}
    )


def from_messages(said: list[Message]) -> NewRun:
    lines = [
        entry_line(one.text, said_on=date(2026, 3, 1), sources=[one.pk]) for one in said
    ]
    return NewRun(
        "short",
        [Change(SHORT, add=tuple(lines))],
        messages=len(said),
        model="m",
        input_tokens=10,
        output_tokens=5,
        cost_nano_usd=7,
        notes=[(one.pk, raw) for one, raw in zip(said, lines, strict=True)],
    )


def proposed(persona: Persona, *changes: Change, step: str = "short") -> MemoryRun:
    review(persona, None)
    return store(persona, NewRun(step, changes), read=[])


# --- storing ----------------------------------------------------------------------


def test_without_review_lines_are_stored_at_once_with_notes(
    written: Persona, said: list[Message]
) -> None:
    run = store(written, from_messages(said), read=[one.pk for one in said])
    assert run.state == State.APPLIED and run.decided_at and not run.passes_at
    assert (run.model, run.input_tokens, run.cost_nano_usd) == ("m", 10, 7)
    tea, cello = (f"- 2026-03-01 {one.text} <!-- from /m/{one.pk} -->" for one in said)
    assert text_of(written) == BEFORE.replace("pin -->\n", f"pin -->\n{tea}\n{cello}\n")
    revision = get_file(written, SHORT).revisions.first()
    assert revision is not None and revision.reason == "Distilled from 2 messages"
    assert revision.author is None
    assert not Message.objects.filter(role="user", distilled_at=None).exists()
    assert [note.line for note in run.notes.all()] == [tea, cello]


@pytest.mark.parametrize(
    ("new", "state"),
    [
        (NewRun("short"), State.EMPTY),
        (NewRun("short", explanation="Not safe."), State.LEFT),
        (NewRun("short", failed=True, explanation="No host answered."), State.FAILED),
    ],
)
def test_without_changes_a_run_says_why(
    written: Persona, said: list[Message], new: NewRun, state: str
) -> None:
    run = store(written, new, read=[said[0].pk])
    assert (run.state, run.explanation) == (state, new.explanation)
    said[0].refresh_from_db()
    assert said[0].distilled_at is not None and text_of(written) == BEFORE


def test_what_was_deleted_or_forgotten_meanwhile_is_not_stored(
    written: Persona, said: list[Message]
) -> None:
    new = from_messages(said)
    both = NewRun(
        "short", [Change(SHORT, ("- old",), new.changes[0].add)], notes=new.notes
    )
    Message.objects.filter(pk=said[0].pk).update(distilled_at=timezone.now())
    run = store(written, both, read=[one.pk for one in said])
    assert "tea" not in text_of(written) and "cello" in text_of(written)
    assert "- old\n" in text_of(written)
    assert [note.message_id for note in run.notes.all()] == [said[1].pk]


def test_a_line_names_few_of_its_messages_but_its_notes_name_all(
    written: Persona, said: list[Message]
) -> None:
    new = NewRun(
        "short",
        [Change(SHORT, add=("- both", "- cello"))],
        notes=[(said[0].pk, "- both"), (said[1].pk, "- both"), (said[1].pk, "- cello")],
    )
    Message.objects.filter(pk=said[0].pk).update(deleted_at=timezone.now())
    run = store(written, new, read=[one.pk for one in said])
    assert changes_of(run)[0].add == ("- cello",) and "both" not in text_of(written)


def test_when_everything_was_deleted_meanwhile_nothing_is_stored(
    written: Persona, said: list[Message]
) -> None:
    delete_conversation(said[0].conversation)
    run = store(written, from_messages(said), read=[one.pk for one in said])
    assert run.state == State.LEFT and "deleted or forgotten" in run.explanation
    assert text_of(written) == BEFORE and not run.notes.exists()


@pytest.mark.parametrize(
    "new",
    [
        NewRun("short", [Change(SHORT, ("- gone",), ("- new",))]),
        NewRun("mid", [Change(MID, add=("- new",))], rests_on=[(SHORT, "- gone")]),
    ],
)
def test_lines_changed_while_reading_leave_everything_to_the_next_time(
    written: Persona, said: list[Message], new: NewRun
) -> None:
    run = store(written, new, read=[said[0].pk])
    assert run.state == State.LEFT and "read again" in run.explanation
    assert text_of(written) == BEFORE and text_of(written, MID) == ""
    said[0].refresh_from_db()
    assert said[0].distilled_at is None


def test_pinned_lines_stay_whatever_a_run_wants(written: Persona) -> None:
    run = store(
        written,
        NewRun("short", [Change(SHORT, ("- old", "- pinned <!-- pin -->"), ("- n",))]),
        read=[],
    )
    assert "- pinned <!-- pin -->\n- n" in text_of(written)
    assert changes_of(run)[0].remove == ("- old",)


def test_private_memory_never_becomes_open_on_its_way_up(written: Persona) -> None:
    set_private(get_file(written, LONG), False)
    store(written, NewRun("long", [Change(LONG, add=("- a",))]), read=[])
    assert text_of(written, LONG) == "- a <!-- private -->\n"
    store(written, NewRun("mid", [Change(MID, add=("- a",))]), read=[])
    assert text_of(written, MID) == "- a\n"


@pytest.mark.parametrize(
    "change",
    [
        Change("SOUL.md", add=("- a",)),
        Change(SHORT, add=("a",)),
        Change(SHORT, add=("- a\n# b",)),
    ],
)
def test_changes_of_other_files_or_other_lines_are_refused(
    written: Persona, change: Change
) -> None:
    with pytest.raises(FileRefused):
        store(written, NewRun("short", [change]), read=[])
    run = proposed(written, OLD_OUT)
    with pytest.raises(FileRefused):
        accept(run, written.owner, [change])
    assert MemoryRun.objects.get().state == State.WAITING


def test_without_room_a_run_is_left_until_there_is(written: Persona) -> None:
    save_file(written, MID, "x" * MAX_FILE_BYTES, author=None)
    two = NewRun("mid", [OLD_OUT, Change(MID, add=("- more",))])
    run = store(written, two, read=[])
    assert run.state == State.LEFT and run.explanation.startswith("There was no room")
    assert text_of(written) == BEFORE  # not half of it
    assert accept(run, written.owner).state == State.LEFT
    save_file(written, MID, "x\n", author=None)
    run = accept(run, written.owner)
    assert (run.state, run.explanation) == (State.APPLIED, "")
    assert text_of(written, MID) == "x\n- more\n" and "- new" in text_of(written)


# --- review -----------------------------------------------------------------------


def test_a_run_waits_for_as_long_as_the_person_says(written: Persona) -> None:
    review(written, 3)
    run = store(written, NewRun("short", [OLD_OUT]), read=[])
    assert run.state == State.WAITING and text_of(written) == BEFORE
    assert run.passes_at is not None
    assert timedelta(days=2.9) < run.passes_at - timezone.now() <= timedelta(days=3)
    assert proposed(written, OLD_OUT).passes_at is None
    assert pass_due(timezone.now() + timedelta(days=2)) == 0
    assert pass_due(timezone.now() + timedelta(days=4)) == 1
    assert pass_due(timezone.now() + timedelta(days=4)) == 0
    assert text_of(written) == BEFORE.replace("- old\n", "").replace(
        "pin -->\n", "pin -->\n- new\n"
    )


def test_nothing_passes_that_was_changed_by_hand_or_switched_off(
    written: Persona, alice: User
) -> None:
    review(written, 1)
    run = store(written, NewRun("short", [OLD_OUT]), read=[])
    later = timezone.now() + timedelta(days=2)
    MemorySettings.objects.update(enabled=False)
    assert pass_due(later) == 0 and text_of(written) == BEFORE
    MemorySettings.objects.update(enabled=True)
    remove_entry(written, SHORT, "- old", alice)
    assert pass_due(later) == 0
    run.refresh_from_db()
    assert (run.state, run.passes_at) == (State.WAITING, None)
    assert run.explanation == CHANGED_SINCE
    assert accept(run, alice).state == State.APPLIED and "- new" in text_of(written)


def test_accepting_keeps_what_was_written_meanwhile(
    written: Persona, alice: User
) -> None:
    run = proposed(written, OLD_OUT)
    save_file(written, SHORT, f"{BEFORE}By hand.\n- mine\n", author=alice)
    ((_, before, after),) = preview(run)
    assert before == text_of(written)
    accept(run, alice)
    assert text_of(written) == after
    assert (
        after == "# Memory\n- pinned <!-- pin -->\n\nMore.\nBy hand.\n- mine\n- new\n"
    )
    revision = get_file(written, SHORT).revisions.first()
    assert revision is not None and revision.author == alice


def test_an_edited_proposal_is_stored_as_edited(
    written: Persona, said: list[Message], alice: User
) -> None:
    review(written, None)
    run = store(written, from_messages(said), read=[one.pk for one in said])
    mine = entry_line("Drinks tea", sources=[said[0].pk])
    run = accept(run, alice, [Change(SHORT, add=(mine,))])
    assert f"{mine}\n" in text_of(written) and "cello" not in text_of(written)
    assert [(n.message_id, n.line) for n in run.notes.all()] == [(said[0].pk, mine)]
    assert accept(proposed(written, OLD_OUT), alice, []).state == State.REJECTED


def test_what_was_deleted_while_it_waited_is_not_stored(
    written: Persona, said: list[Message], alice: User
) -> None:
    review(written, None)
    keys = [one.pk for one in said]
    first, second = (store(written, from_messages(said), read=[]) for _ in range(2))
    up = proposed(
        written,
        Change(MID, add=(entry_line("both", sources=keys),)),
        step="mid",
    )
    Message.objects.filter(pk=said[0].pk).update(deleted_at=timezone.now())
    assert "tea" not in preview(first)[0][2]
    accept(first, alice)
    assert "cello" in text_of(written) and "tea" not in text_of(written)
    assert accept(up, alice).state == State.APPLIED and "both" in text_of(written, MID)
    delete_conversation(said[0].conversation)
    second = accept(second, alice)
    assert (second.state, second.explanation) == (State.REJECTED, DELETED_SINCE)


def test_deciding_twice_changes_nothing(written: Persona, alice: User) -> None:
    run = proposed(written, OLD_OUT)
    accept(run, alice)
    text, revision = text_of(written), get_file(written, SHORT).revision
    assert accept(run, alice).state == State.APPLIED
    assert reject(run).state == State.APPLIED
    undo(run, alice)
    assert undo(run, alice).state == State.UNDONE
    assert accept(run, alice).state == reject(run).state == State.UNDONE
    assert text_of(written) == BEFORE != text
    assert get_file(written, SHORT).revision == revision + 1


def test_a_rejected_run_changes_nothing_and_has_no_notes(
    written: Persona, said: list[Message], alice: User
) -> None:
    review(written, None)
    run = reject(store(written, from_messages(said), read=[]))
    assert run.state == State.REJECTED and run.decided_at
    assert not run.notes.filter(undone_at=None).exists()
    assert accept(run, alice).state == State.REJECTED and text_of(written) == BEFORE


# --- undoing ----------------------------------------------------------------------


def test_undoing_gives_the_text_of_before(written: Persona, alice: User) -> None:
    for before in (BEFORE, BEFORE.replace("\n", "\r\n"), BEFORE.strip(), ""):
        save_file(written, SHORT, before, author=alice)
        add = Change(SHORT, (), ("- one", "- two"))
        run = store(written, NewRun("mid", [add]), read=[])
        assert preview(run) == [(SHORT, before, text_of(written))]
        undo(run, alice)
        assert text_of(written) == before
    revision = get_file(written, SHORT).revisions.first()
    assert revision is not None
    assert revision.reason == "Undone: distilled from short memory"


def test_undoing_keeps_what_was_written_meanwhile(
    written: Persona, alice: User
) -> None:
    change = Change(SHORT, ("- old",), ("- one", "- two", "- three"))
    run = store(written, NewRun("short", [change]), read=[])
    edit_entry(written, SHORT, "- two", "Two!", alice)
    pin_entry(written, SHORT, "- three", True, alice)
    save_file(written, SHORT, f"{text_of(written)}Mine.\n", author=alice)
    undo(run, alice)
    assert text_of(written) == (
        "# Memory\n- old\n- pinned <!-- pin -->\n- Two!\n- three <!-- pin -->\n"
        "\nMore.\nMine.\n"
    )


def test_undoing_removes_nothing_that_stood_there_before(
    written: Persona, alice: User
) -> None:
    run = store(
        written, NewRun("short", [Change(SHORT, add=("- old", "- new"))]), read=[]
    )
    assert changes_of(run)[0].add == ("- new",)
    undo(run, alice)
    assert text_of(written) == BEFORE


def test_a_line_that_only_got_a_mark_stays_in_its_place(
    written: Persona, alice: User
) -> None:
    change = Change(SHORT, ("- old",), ("- old <!-- private -->",))
    run = store(written, NewRun("short", [change]), read=[])
    assert text_of(written) == BEFORE.replace("- old", "- old <!-- private -->")
    undo(run, alice)
    assert text_of(written) == BEFORE


def test_undoing_without_room_changes_nothing(written: Persona, alice: User) -> None:
    run = store(written, NewRun("short", [Change(SHORT, ("- old",), ())]), read=[])
    full = "x" * MAX_FILE_BYTES
    save_file(written, SHORT, full, author=alice)
    with pytest.raises(FileRefused):
        undo(run, alice)
    run.refresh_from_db()
    assert run.state == State.APPLIED and text_of(written) == full


# --- notes ------------------------------------------------------------------------


def test_undoing_a_note_takes_its_line_alone(
    written: Persona, said: list[Message], alice: User
) -> None:
    run = store(written, from_messages(said), read=[])
    tea, cello = run.notes.all()
    pin_entry(written, SHORT, tea.line, True, alice)  # other marks do not matter
    assert undo_note(tea, alice).state == State.APPLIED
    assert undo_note(tea, alice).state == State.APPLIED
    assert "tea" not in text_of(written) and cello.line in text_of(written)
    undo(run, alice)
    assert text_of(written) == BEFORE
    cello.refresh_from_db()
    assert cello.undone_at is not None and undo_note(cello, alice).state == State.UNDONE


def test_a_note_whose_line_was_reworded_says_so(
    written: Persona, said: list[Message], alice: User
) -> None:
    run = store(written, from_messages(said), read=[])
    tea = run.notes.all()[0]
    edit_entry(written, SHORT, tea.line, "coffee", alice)
    with pytest.raises(EntryGone):
        undo_note(tea, alice)
    tea.refresh_from_db()
    assert tea.undone_at is None and "coffee" in text_of(written)


def test_undoing_a_note_that_waits_takes_the_line_out_of_the_proposal(
    written: Persona, said: list[Message], alice: User
) -> None:
    review(written, None)
    run = store(written, from_messages(said), read=[])
    tea, cello = run.notes.all()
    run = undo_note(tea, alice)
    assert run.state == State.WAITING and "tea" not in str(run.changes)
    run = undo_note(cello, alice)
    assert run.state == State.REJECTED and text_of(written) == BEFORE


# --- whose ------------------------------------------------------------------------


def test_only_the_owner_finds_runs_and_notes(
    written: Persona, said: list[Message], alice: User, bob: User, admin_user: User
) -> None:
    run = store(written, from_messages(said), read=[])
    note = run.notes.all()[0]
    assert get_run_for_user(alice, str(run.pk)) == run
    assert get_note_for_user(alice, str(note.pk)) == note
    assert list(runs_visible_to(alice)) == [run]
    for other in (bob, admin_user):
        assert not runs_visible_to(other).exists()
        with pytest.raises(Http404):
            get_run_for_user(other, run.pk)
        with pytest.raises(Http404):
            get_note_for_user(other, note.pk)
    for wrong in ("", "x", "²", "9" * 30, "-1"):
        with pytest.raises(Http404):
            get_run_for_user(alice, wrong)
        with pytest.raises(Http404):
            get_note_for_user(alice, wrong)
    with pytest.raises(Http404):
        get_run_for_user(alice, uuid.uuid4())


def test_messages_of_others_are_neither_marked_nor_noted(
    written: Persona, bob: User
) -> None:
    theirs = Persona.objects.create(owner=bob, name="x", display_name="X")
    (message,) = line(new_conversation(bob, theirs), "secret")
    new = NewRun("short", [Change(SHORT, add=("- a",))], notes=[(message.pk, "- a")])
    run = store(written, new, read=[message.pk])
    message.refresh_from_db()
    assert message.distilled_at is None and not run.notes.exists()


def test_time_of_passing_is_compared_with_the_time_given(written: Persona) -> None:
    review(written, 1)
    store(written, NewRun("short", [OLD_OUT]), read=[])
    assert pass_due(datetime(2000, 1, 1, tzinfo=UTC)) == 0
