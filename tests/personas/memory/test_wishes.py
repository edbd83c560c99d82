"""“Remember this”, “forget this” and “what do you know about me?”."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest
from django.http import Http404
from django.utils import timezone

from accounts.models import User
from personas.errors import WishRefused
from personas.files import MAX_FILE_BYTES, USER, get_file, save_file, set_private
from personas.memory.files import LONG, MID, SHORT, settings_of
from personas.memory.lines import entries_of, entry_line
from personas.memory.runs import Change, NewRun, store, undo, undo_note
from personas.memory.wishes import forget, known, remember
from personas.models import MemoryRun, Message, Persona
from personas.personas import create_persona
from personas.starters import STARTER_KEYS
from tests.personas.trees import line, new_conversation

pytestmark = pytest.mark.django_db

State = MemoryRun.State


def text_of(persona: Persona, name: str = SHORT) -> str:
    return get_file(persona, name).text


@pytest.fixture
def said(persona: Persona, alice: User) -> list[Message]:
    """Four messages: of alice, answer, of alice, answer."""
    return line(
        new_conversation(alice, persona),
        "My cello lesson is on Mondays",
        "Noted",
        "What else?",
        "You could play the cello at a lesson",
    )


# --- remember ---------------------------------------------------------------------


def test_what_is_remembered_is_a_pinned_line_with_its_message(
    persona: Persona, alice: User, said: list[Message]
) -> None:
    alice.time_zone = "Pacific/Auckland"
    alice.save()
    persona = Persona.objects.get(pk=persona.pk)
    found = remember(
        persona, "Cello lesson\non Mondays <!-- pin -->", author=alice, source=said[0]
    )
    text = "Cello lesson on Mondays < !-- pin -- >"
    assert (
        found.line == f"- 2026-03-02 {text} <!-- pin --> <!-- from /m/{said[0].pk} -->"
    )
    assert (found.text, found.already, found.over_budget) == (text, None, False)
    assert text_of(persona) == f"{found.line}\n"
    assert found.run is not None and found.run.state == State.APPLIED
    assert [note.line for note in said[0].memory_notes.all()] == [found.line]
    revision = get_file(persona, SHORT).revisions.first()
    assert revision is not None
    assert (revision.reason, revision.author) == ("You asked to remember", alice)
    undo_note(said[0].memory_notes.get(), alice)
    assert text_of(persona) == ""


def test_a_wish_is_never_reviewed(persona: Persona, alice: User) -> None:
    memory = settings_of(persona)
    memory.review_days = None
    memory.save()
    assert remember(persona, "tea", author=alice, source=None).run is not None
    assert "tea" in text_of(persona)
    assert forget(persona, "tea", author=alice).run is not None
    assert "tea" not in text_of(persona)


def test_a_date_and_the_mark_that_hides_are_taken_from_the_words(
    persona: Persona, alice: User
) -> None:
    found = remember(
        persona, "2026-12-24 Party <!--PRIVATE-->", author=alice, source=None
    )
    assert found.line == "- 2026-12-24 Party <!-- pin --> <!-- private -->"


@pytest.mark.parametrize("name", [SHORT, MID, LONG])
def test_what_is_known_is_pinned_and_not_said_twice(
    persona: Persona, alice: User, said: list[Message], name: str
) -> None:
    old = entry_line("Likes tea.", said_on=date(2020, 1, 1))
    save_file(persona, name, f"# A\n{old}\n- x\n", author=alice)
    found = remember(persona, "likes TEA", author=alice, source=said[0])
    assert found.already == name and found.run is not None
    assert text_of(persona, name) == f"# A\n{old} <!-- pin -->\n- x\n"
    again = remember(persona, "Likes tea!", author=alice, source=said[0])
    assert (again.line, again.already, again.run) == (found.line, name, None)
    undo_note(said[0].memory_notes.get(), alice)
    assert text_of(persona, name) == f"# A\n{old}\n- x\n"


def test_remembering_hides_a_known_line_when_asked_and_never_opens_one(
    persona: Persona, alice: User
) -> None:
    save_file(persona, SHORT, "- tea <!-- pin -->\n", author=alice)
    remember(persona, "tea <!-- private -->", author=alice, source=None)
    hidden = "- tea <!-- pin --> <!-- private -->\n"
    assert text_of(persona) == hidden
    assert remember(persona, "tea", author=alice, source=None).run is None
    assert text_of(persona) == hidden


def test_a_message_that_says_nothing_else_is_not_distilled_again(
    persona: Persona, alice: User, said: list[Message]
) -> None:
    remember(persona, "Mondays", author=alice, source=said[0])
    said[0].refresh_from_db()
    assert said[0].distilled_at is None
    remember(persona, said[0].text, author=alice, source=said[0])
    said[0].refresh_from_db()
    assert said[0].distilled_at is not None


def test_only_the_budget_of_bytes_stops_it(persona: Persona, alice: User) -> None:
    save_file(persona, SHORT, "- much to read\n" * 1000, author=alice)
    assert remember(persona, "tea", author=alice, source=None).over_budget
    full = "x" * MAX_FILE_BYTES
    save_file(persona, SHORT, full, author=alice)
    with pytest.raises(WishRefused, match="no room in MEMORY_SHORT.md"):
        remember(persona, "coffee", author=alice, source=None)
    assert text_of(persona) == full
    assert MemoryRun.objects.count() == 1


@pytest.mark.parametrize(
    "text", ["", "  \n", "<!-- private -->", "x" * 3000, "2026-13-45 tea"]
)
def test_what_cannot_be_a_line_is_refused(
    persona: Persona, alice: User, text: str
) -> None:
    with pytest.raises(WishRefused):
        remember(persona, text, author=alice, source=None)
    assert not MemoryRun.objects.exists()


@pytest.mark.parametrize(
    ("field", "sentence"),
    [("temporary", "temporary"), ("memory_paused", "paused"), ("private", "private")],
)
def test_chats_that_leave_nothing_are_not_remembered(
    persona: Persona, alice: User, said: list[Message], field: str, sentence: str
) -> None:
    chat = said[0].conversation
    setattr(chat, field, True)
    chat.save()
    with pytest.raises(WishRefused, match=sentence):
        remember(persona, "tea", author=alice, source=said[0])
    assert text_of(persona) == ""


def test_a_private_persona_remembers_private_chats(
    persona: Persona, alice: User, said: list[Message]
) -> None:
    persona.private = True
    persona.save()
    said[0].conversation.private = True
    said[0].conversation.save()
    assert remember(persona, "tea", author=alice, source=said[0]).run is not None


def test_nobody_else_can_wish(
    persona: Persona, alice: User, bob: User, said: list[Message]
) -> None:
    said[0].from_guest = True
    with pytest.raises(WishRefused, match="yourself"):
        remember(persona, "tea", author=alice, source=said[0])
    with pytest.raises(Http404):
        remember(persona, "tea", author=bob, source=None)
    with pytest.raises(Http404):
        forget(persona, "tea", author=bob)
    other = Persona.objects.create(owner=alice, name="x", display_name="X")
    with pytest.raises(Http404):
        remember(other, "tea", author=alice, source=said[0])


# --- forget -----------------------------------------------------------------------


def test_forgetting_takes_all_three_files_messages_and_what_waits(
    persona: Persona, alice: User, said: list[Message]
) -> None:
    early = line(new_conversation(alice, persona), "Every week I make music")[0]
    cello = entry_line("Has a cello lesson", sources=[early.pk], pinned=True)
    texts = {
        SHORT: f"# A\n{cello}\n- tea\n",
        MID: "* cello lesson\n- x\n",
        LONG: "- 2020-01-01 The cello lesson!\n",
    }
    for name, text in texts.items():
        save_file(persona, name, text, author=alice)
    memory = settings_of(persona)
    memory.review_days = None
    memory.save()
    waiting = store(
        persona,
        NewRun("mid", [Change(MID, ("- x",), ("- x and cello lessons", "- other"))]),
        read=[],
    )
    gone = forget(persona, "my cello lessons", author=alice)
    assert text_of(persona) == "# A\n- tea\n"
    assert text_of(persona, MID) == "- x\n" and text_of(persona, LONG) == ""
    assert len(gone.lines) == 4 and gone.ambiguous == ()
    assert gone.messages == 3  # said, answered, and from where the line came
    assert not Message.objects.filter(role="user", distilled_at=None).exists()
    waiting.refresh_from_db()
    assert waiting.changes == [{"file": MID, "remove": [], "add": ["- other"]}]
    assert gone.run is not None
    undo(gone.run, alice)
    assert {name: text_of(persona, name) for name in texts} == texts
    revision = get_file(persona, MID).revisions.first()
    assert revision is not None and revision.reason == "Undone: you asked to forget"


def test_a_proposal_of_nothing_else_is_rejected(persona: Persona, alice: User) -> None:
    memory = settings_of(persona)
    memory.review_days = 1
    memory.save()
    run = store(persona, NewRun("short", [Change(SHORT, add=("- tea",))]), read=[])
    gone = forget(persona, "tea", author=alice)
    assert gone.lines == ((SHORT, "- tea"),) and gone.run is None
    run.refresh_from_db()
    assert run.state == State.REJECTED and "forget" in run.explanation


def test_lines_that_say_different_things_are_listed_instead(
    persona: Persona, alice: User, said: list[Message]
) -> None:
    text = "- cello lesson on Mondays\n- sold the cello for 900 euros\n"
    save_file(persona, SHORT, text, author=alice)
    asked = forget(persona, "cello", author=alice)
    assert asked.lines == () and asked.run is None and asked.messages == 0
    assert [raw for _, raw in asked.ambiguous] == text.strip().split("\n")
    assert text_of(persona) == text
    assert not Message.objects.exclude(distilled_at=None).exists()
    exactly = forget(persona, "cello", author=alice, exactly=[asked.ambiguous[1][1]])
    assert [raw for _, raw in exactly.lines] == ["- sold the cello for 900 euros"]
    assert text_of(persona) == "- cello lesson on Mondays\n"
    undo(exactly.run or MemoryRun(), alice)
    assert forget(persona, "everything about the cello", author=alice).run is not None
    assert text_of(persona) == ""


def test_messages_meant_are_marked_until_it_is_taken_back(
    persona: Persona, alice: User, said: list[Message]
) -> None:
    """Also where no line said it, and where they were distilled long ago."""
    Message.objects.update(distilled_at=timezone.now())
    gone = forget(persona, "everything about my cello lessons", author=alice)
    marked = Message.objects.exclude(forgotten_at=None)
    assert {message.pk for message in marked} == {said[0].pk, said[3].pk}
    assert gone.run is not None and gone.run.state == State.APPLIED
    again = forget(persona, "cello", author=alice)
    assert again.run is None
    undo(gone.run, alice)
    assert not marked.all().exists()


def test_forgetting_what_is_unknown_stops_it_from_being_learnt(
    persona: Persona, alice: User, said: list[Message]
) -> None:
    gone = forget(persona, "cello", author=alice)
    assert (gone.lines, gone.messages) == ((), 2)
    assert forget(persona, "cello", author=alice).messages == 0
    with pytest.raises(WishRefused, match="what to forget"):
        forget(persona, "that, please", author=alice)


def test_other_personas_keep_what_they_know(
    persona: Persona, alice: User, said: list[Message]
) -> None:
    other = Persona.objects.create(owner=alice, name="x", display_name="X")
    save_file(other, SHORT, "- cello\n", author=alice)
    (message,) = line(new_conversation(alice, other), "cello")
    save_file(persona, SHORT, entry_line("cello", sources=[message.pk]), author=alice)
    forget(persona, "cello", author=alice)
    message.refresh_from_db()
    assert text_of(other) == "- cello\n" and message.distilled_at is None


def test_a_forgotten_message_that_is_being_distilled_brings_nothing(
    persona: Persona, alice: User, said: list[Message]
) -> None:
    new = NewRun(
        "short",
        [Change(SHORT, add=(entry_line("Plays music", sources=[said[0].pk]),))],
    )
    forget(persona, "cello", author=alice)
    run = store(persona, new, read=[said[0].pk])
    assert run.state == State.LEFT and text_of(persona) == ""


def test_undoing_an_older_run_does_not_bring_back_what_was_forgotten(
    persona: Persona, alice: User
) -> None:
    save_file(persona, SHORT, "- tea\n- milk\n", author=alice)
    run = store(
        persona,
        NewRun(
            "mid", [Change(SHORT, ("- tea", "- milk")), Change(MID, add=("- Tea.",))]
        ),
        read=[],
    )
    forget(persona, "tea", author=alice)
    undo(run, alice)
    assert text_of(persona) == "- milk\n" and text_of(persona, MID) == ""


def test_a_forgotten_private_line_comes_back_private(
    persona: Persona, alice: User
) -> None:
    before = "- tea\n## Health <!-- private -->\n- knee\n"
    save_file(persona, SHORT, before, author=alice)
    run = forget(persona, "knee", author=alice).run
    assert run is not None
    save_file(persona, SHORT, "- tea\n", author=alice)
    undo(run, alice)
    assert text_of(persona) == "- tea\n- knee <!-- private -->\n"


def test_the_note_of_a_forgotten_line_is_gone(
    persona: Persona, alice: User, said: list[Message]
) -> None:
    remember(persona, "cello", author=alice, source=said[0])
    forget(persona, "cello", author=alice)
    assert said[0].memory_notes.get().undone_at is not None


# --- known ------------------------------------------------------------------------


def test_what_is_known_is_told_by_file(persona: Persona, alice: User) -> None:
    save_file(persona, SHORT, "# A\n- tea <!-- pin -->\n", author=alice)
    save_file(persona, LONG, "- a\n- b <!-- private -->\n* c\n", author=alice)
    save_file(persona, USER, "# About\nAna is a gardener.\n", author=alice)
    told = [(name, [one.text for one in found]) for name, found in known(persona)]
    assert told == [
        (SHORT, ["tea"]),
        (LONG, ["a", "b", "c"]),
        (USER, ["Ana is a gardener."]),
    ]
    assert known(persona, alone=False) == []
    set_private(get_file(persona, LONG), False)
    told = [(name, [one.text for one in f]) for name, f in known(persona, alone=False)]
    assert told == [(LONG, ["a", "c"])]


def test_what_a_starter_says_is_no_knowledge(alice: User) -> None:
    for key in STARTER_KEYS:
        persona = create_persona(alice, name=key, display_name=key, template=key)
        assert known(persona) == []
        text = get_file(persona, USER).text
        save_file(persona, USER, f"{text}\n- Ana is a gardener.\n", author=alice)
        ((name, entries),) = known(persona)
        assert name == USER and entries[-1].text == "Ana is a gardener."


def test_the_day_of_a_wish_without_a_message_is_today(
    persona: Persona, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timezone, "now", lambda: datetime(2026, 5, 6, 12, tzinfo=UTC))
    found = remember(persona, "tea", author=alice, source=None)
    (entry,) = entries_of(found.line or "")
    assert entry.said_on == date(2026, 5, 6)
