"""What a person does to single lines of a memory."""

from __future__ import annotations

import uuid
from collections.abc import Callable

import pytest
from django.http import Http404
from django.utils import timezone

from accounts.models import User
from personas.conversations import delete_conversation
from personas.errors import EntryGone, FileRefused
from personas.files import MAX_FILE_BYTES, get_file, save_file, set_private
from personas.memory.files import (
    FILE_BUDGET_TOKENS,
    LONG,
    MAX_ENTRY_CHARS,
    MID,
    SHORT,
    add_entry,
    edit_entry,
    gone_sources,
    make_private,
    memory_of,
    move_entry,
    over_budget,
    pin_entry,
    remove_entry,
    settings_of,
)
from personas.memory.lines import entries_of, entry_line
from personas.models import MemorySettings, Persona
from tests.personas.trees import line, new_conversation

pytestmark = pytest.mark.django_db

TEXT = (
    "# Memory\n- a\n- 2026-01-02 b <!-- pin -->\n## Health <!-- private -->\n- knee\n"
)


def text_of(persona: Persona, name: str = SHORT) -> str:
    return get_file(persona, name).text


@pytest.fixture
def written(persona: Persona) -> Persona:
    save_file(persona, SHORT, TEXT, author=None)
    return persona


def test_a_persona_without_rows_has_empty_private_files_and_defaults(
    persona: Persona,
) -> None:
    persona.files.filter(name__startswith="MEMORY").delete()
    files = memory_of(persona)
    assert list(files) == [SHORT, MID, LONG] == list(FILE_BUDGET_TOKENS)
    assert all(file.private and file.text == "" for file in files.values())
    assert settings_of(persona).review_days == 0 and settings_of(persona).enabled
    assert not MemorySettings.objects.exists()


def test_each_change_is_a_revision_with_its_reason(
    written: Persona, alice: User
) -> None:
    steps: list[tuple[Callable[[], object], str, str]] = [
        (
            lambda: add_entry(written, SHORT, "c", alice),
            "Added a line",
            "- knee\n- c\n",
        ),
        (
            lambda: edit_entry(written, SHORT, "- a", "A", alice),
            "Edited a line",
            "# Memory\n- A\n",
        ),
        (
            lambda: pin_entry(written, SHORT, "- A", True, alice),
            "Pinned a line",
            "- A <!-- pin -->\n- 2026",
        ),
        (
            lambda: pin_entry(written, SHORT, "- A <!-- pin -->", False, alice),
            "Unpinned a line",
            "- A\n",
        ),
        (
            lambda: make_private(written, SHORT, "- A", True, alice),
            "Hid a line",
            "- A <!-- private -->\n",
        ),
        (
            lambda: make_private(written, SHORT, "- A <!-- private -->", False, alice),
            "Opened a line",
            "- A\n",
        ),
        (
            lambda: remove_entry(written, SHORT, "- A", alice),
            "Removed a line",
            "# Memory\n- 2026",
        ),
    ]
    for step, reason, piece in steps:
        before = get_file(written, SHORT).revision
        step()
        file = get_file(written, SHORT)
        newest = file.revisions.first()
        assert newest is not None and (newest.reason, newest.author) == (reason, alice)
        assert file.revision == before + 1 and piece in file.text


def test_editing_keeps_marks_and_place_and_takes_a_date(
    written: Persona, alice: User
) -> None:
    raw = "- 2026-01-02 b <!-- pin -->"
    new = edit_entry(written, SHORT, raw, "B <!-- pin -->\n- x", alice)
    assert new == "- 2026-01-02 B < !-- pin -- > - x <!-- pin -->"
    assert text_of(written) == TEXT.replace(raw, new)
    new = edit_entry(written, SHORT, new, "2026-03-04 c <!-- PRIVATE -->", alice)
    assert new == "- 2026-03-04 c <!-- pin --> <!-- private -->"


def test_a_file_from_elsewhere_keeps_its_line_ends(
    persona: Persona, alice: User
) -> None:
    save_file(persona, SHORT, "# A\r\n- a\r\n- b\r\n", author=alice)
    pin_entry(persona, SHORT, "- a", True, alice)
    remove_entry(persona, SHORT, "- b", alice)
    add_entry(persona, SHORT, "c", alice)
    assert text_of(persona) == "# A\r\n- a <!-- pin -->\r\n- c\r\n"


def test_a_line_that_changed_meanwhile_is_told(written: Persona, alice: User) -> None:
    pin_entry(written, SHORT, "- a", True, alice)
    before = text_of(written)
    for act in (
        lambda: edit_entry(written, SHORT, "- a", "x", alice),
        lambda: pin_entry(written, SHORT, "- a", False, alice),
        lambda: make_private(written, SHORT, "- a", True, alice),
        lambda: move_entry(written, SHORT, "- a", MID, alice),
        lambda: remove_entry(written, SHORT, "- a", alice),
        lambda: remove_entry(written, SHORT, "# Memory", alice),
    ):
        with pytest.raises(EntryGone, match="look at the memory"):
            act()
    assert text_of(written) == before and text_of(written, MID) == ""


def test_other_files_are_not_found(written: Persona, alice: User) -> None:
    for name in ("SOUL.md", "nothing.md", ""):
        with pytest.raises(Http404):
            remove_entry(written, name, "- a", alice)
        with pytest.raises(Http404):
            add_entry(written, name, "a", alice)
        with pytest.raises(Http404):
            move_entry(written, SHORT, "- a", name, alice)


def test_a_moved_line_is_in_one_file_and_as_private_as_before(
    written: Persona, alice: User
) -> None:
    assert move_entry(written, SHORT, "- a", MID, alice) == "- a"
    assert "- a\n" not in text_of(written) and text_of(written, MID) == "- a\n"
    assert move_entry(written, MID, "- a", MID, alice) == "- a"
    hidden = move_entry(written, SHORT, "- knee", MID, alice)
    assert hidden == "- knee <!-- private -->"
    set_private(get_file(written, LONG), False)
    assert move_entry(written, MID, "- a", LONG, alice) == "- a <!-- private -->"
    assert text_of(written, LONG) == "- a <!-- private -->\n"


def test_a_private_part_is_opened_in_the_file_only(
    written: Persona, alice: User
) -> None:
    with pytest.raises(FileRefused, match="private part"):
        make_private(written, SHORT, "- knee", False, alice)
    assert text_of(written) == TEXT


def test_limits_are_told_and_nothing_is_lost(written: Persona, alice: User) -> None:
    with pytest.raises(FileRefused, match="2,000"):
        add_entry(written, SHORT, "a" * (MAX_ENTRY_CHARS + 1), alice)
    with pytest.raises(FileRefused, match="“2026-02-30” is no day"):
        add_entry(written, SHORT, "2026-02-30 tea", alice)
    with pytest.raises(FileRefused, match="no words"):
        edit_entry(written, SHORT, "- a", " - ", alice)
    save_file(written, MID, "x" * MAX_FILE_BYTES, author=alice)
    with pytest.raises(FileRefused, match="at most"):
        move_entry(written, SHORT, "- a", MID, alice)
    assert text_of(written) == TEXT


def test_the_budget_counts_tokens() -> None:
    assert not over_budget(SHORT, "- word\n" * 100)
    assert over_budget(SHORT, "- word\n" * 2000)
    assert not over_budget(LONG, "- word\n" * 2000)


def test_gone_sources_are_those_nobody_can_open(
    persona: Persona, alice: User, bob: User, django_assert_num_queries: Callable
) -> None:
    chat, other = (new_conversation(alice, persona) for _ in range(2))
    kept, deleted = line(chat, "a", "b")
    (lost,) = line(other, "c")
    delete_conversation(other)
    deleted.deleted_at = timezone.now()
    deleted.save()
    never = uuid.uuid4()
    named = [kept.pk, deleted.pk, lost.pk, never]
    entries = [
        entry for one in named for entry in entries_of(entry_line("a", sources=[one]))
    ]
    with django_assert_num_queries(1):
        assert gone_sources(alice, entries) == {deleted.pk, lost.pk, never}
    assert gone_sources(bob, entries) == set(named)
    with django_assert_num_queries(0):
        assert gone_sources(alice, entries_of("- a")) == set()
