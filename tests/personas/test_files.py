"""Saving, restoring and naming the files of a persona."""

from __future__ import annotations

import pytest
from django.http import Http404

from accounts.models import User
from personas import files
from personas.errors import EditConflict, FileRefused
from personas.files import (
    MAX_FILE_BYTES,
    MAX_FILES,
    SOUL,
    STANDARD_FILES,
    add_file,
    clean_name,
    delete_file,
    files_of,
    get_file,
    restore_revision,
    save_file,
    set_private,
)
from personas.models import FileRevision, Persona


def test_each_save_makes_one_numbered_revision(alice: User, persona: Persona) -> None:
    before = get_file(persona, SOUL).revision
    file = save_file(persona, SOUL, "one", author=alice, reason="first")
    file = save_file(persona, SOUL, "two", author=None, reason="x" * 300)
    assert file.revision == before + 2 and file.text == "two"
    numbers = [revision.number for revision in file.revisions.all()]
    assert numbers == list(range(file.revision, 0, -1))
    newest, previous = file.revisions.all()[:2]
    assert (newest.text, newest.author, len(newest.reason)) == ("two", None, 200)
    assert (previous.text, previous.author, previous.reason) == ("one", alice, "first")


def test_unchanged_text_makes_no_revision(alice: User, persona: Persona) -> None:
    file = get_file(persona, SOUL)
    again = save_file(persona, SOUL, file.text, author=alice, expected_revision=0)
    assert again.revision == file.revision == file.revisions.count()


def test_unchanged_empty_standard_file_is_not_written(
    alice: User, persona: Persona
) -> None:
    file = save_file(persona, "MEMORY_MID.md", "", author=alice, expected_revision=0)
    assert file.pk is None and file.private


def test_conflict_keeps_the_saved_text_and_hands_it_over(
    alice: User, persona: Persona
) -> None:
    opened = get_file(persona, SOUL)
    save_file(persona, SOUL, "phone", author=alice, expected_revision=opened.revision)
    with pytest.raises(EditConflict) as caught:
        save_file(
            persona, SOUL, "laptop", author=alice, expected_revision=opened.revision
        )
    assert caught.value.current.text == get_file(persona, SOUL).text == "phone"
    assert caught.value.code == "conflict" and SOUL in str(caught.value)
    merged = save_file(
        persona,
        SOUL,
        "phone and laptop",
        author=alice,
        expected_revision=caught.value.current.revision,
    )
    assert merged.revision == opened.revision + 2


def test_two_editors_of_a_file_that_did_not_exist_conflict(
    alice: User, persona: Persona
) -> None:
    save_file(persona, "MEMORY_LONG.md", "a", author=alice, expected_revision=0)
    with pytest.raises(EditConflict):
        save_file(persona, "MEMORY_LONG.md", "b", author=alice, expected_revision=0)


def test_restore_makes_a_new_revision(alice: User, persona: Persona) -> None:
    original = get_file(persona, SOUL).text
    save_file(persona, SOUL, "changed", author=alice)
    file = restore_revision(get_file(persona, SOUL), 1, author=alice)
    assert (file.text, file.revision) == (original, 3)
    assert file.revisions.first().reason == "Restored version 1"
    assert restore_revision(file, 1, author=alice).revision == 3
    with pytest.raises(Http404):
        restore_revision(file, 99, author=alice)
    with pytest.raises(Http404):
        restore_revision(get_file(persona, "MEMORY_MID.md"), 1, author=alice)


@pytest.mark.parametrize(
    "name",
    [
        "notes.md",
        "Küche.md",
        "a.b.txt",
        "x.json",
        "Meeting notes 2.md",
        "_.md",
        "日記.txt",
    ],
)
def test_good_names_pass(name: str) -> None:
    assert clean_name(f" {name} ") == name


def test_names_have_one_unicode_form() -> None:
    assert clean_name("Ku\u0308che.md") == "K\u00fcche.md"


@pytest.mark.parametrize(
    "name",
    [
        "",
        "notes",
        ".md",
        ".hidden.md",
        "../notes.md",
        "a/b.md",
        "a\\b.md",
        "/etc/passwd.md",
        "a..md",
        "a...md",
        "nul\0.md",
        "line\nbreak.md",
        "note.md\n.exe",
        "note.MD",
        "note.html",
        "note.md.exe",
        "note .md",
        "-note.md",
        "a\u202egnp.md",
        "a\u2215b.md",
        "<svg onload=alert(1)>.md",
        "n" * 62 + ".md",
    ],
)
def test_bad_names_are_refused(alice: User, persona: Persona, name: str) -> None:
    count = persona.files.count()
    with pytest.raises(FileRefused):
        save_file(persona, name, "text", author=alice)
    assert persona.files.count() == count


@pytest.mark.parametrize("name", ["soul.md", "Memory_Short.md", "tasks.json"])
def test_look_alikes_of_other_names_are_refused(
    alice: User, persona: Persona, name: str
) -> None:
    with pytest.raises(FileRefused, match="too close"):
        add_file(persona, name, author=alice)


def test_add_file_refuses_one_that_exists(alice: User, persona: Persona) -> None:
    file = add_file(persona, "notes.md", author=alice)
    assert (file.text, file.revision, file.private) == ("", 1, False)
    for name in ("notes.md", SOUL):
        with pytest.raises(FileRefused, match="already"):
            add_file(persona, name, author=alice)
    with pytest.raises(FileRefused, match="too close"):
        add_file(persona, "Notes.md", author=alice)


def test_size_is_counted_in_bytes(alice: User, persona: Persona) -> None:
    save_file(persona, SOUL, "ü" * (MAX_FILE_BYTES // 2), author=alice)
    with pytest.raises(FileRefused, match="at most 64 KB"):
        save_file(persona, SOUL, "ü" * (MAX_FILE_BYTES // 2) + "x", author=alice)


@pytest.mark.parametrize("text", ["zero \0 byte", "lone \ud800 surrogate"])
def test_what_is_not_text_is_refused(alice: User, persona: Persona, text: str) -> None:
    with pytest.raises(FileRefused, match="not text"):
        save_file(persona, SOUL, text, author=alice)


def test_number_of_files_is_limited(alice: User, persona: Persona) -> None:
    for number in range(MAX_FILES - persona.files.count()):
        add_file(persona, f"note{number}.md", author=alice)
    with pytest.raises(FileRefused, match="at most 40 files"):
        add_file(persona, "one-more.md", author=alice)
    assert save_file(persona, SOUL, "still works", author=alice).text == "still works"


def test_files_of_lists_standard_files_first(alice: User, persona: Persona) -> None:
    add_file(persona, "b.md", author=alice)
    add_file(persona, "a.md", author=alice)
    assert list(files_of(persona)) == [*STANDARD_FILES, "a.md", "b.md"]
    assert files_of(persona)["MEMORY_MID.md"].pk is None


def test_get_file_raises_404_for_unknown_free_files(persona: Persona) -> None:
    assert get_file(persona, "MEMORY_MID.md").text == ""
    with pytest.raises(Http404):
        get_file(persona, "notes.md")


def test_only_free_files_can_be_deleted(alice: User, persona: Persona) -> None:
    file = add_file(persona, "notes.md", author=alice)
    delete_file(file)
    assert not FileRevision.objects.filter(file__name="notes.md").exists()
    with pytest.raises(FileRefused, match="empty it"):
        delete_file(get_file(persona, SOUL))


def test_set_private_survives_later_saves(alice: User, persona: Persona) -> None:
    set_private(get_file(persona, SOUL), True)
    set_private(get_file(persona, "MEMORY_MID.md"), False)
    save_file(persona, SOUL, "new", author=alice)
    save_file(persona, "MEMORY_MID.md", "new", author=alice)
    assert get_file(persona, SOUL).private
    assert not get_file(persona, "MEMORY_MID.md").private
    assert files.get_file(persona, "MEMORY_MID.md").revision == 1
