"""A persona's three memory files, and what a person does to single lines of them.

Each change is one revision of a file with its reason. A line is known by the file and
its raw text, and is changed under the lock of the persona's row: what somebody else
wrote into the file meanwhile stays, and a line that is gone is told instead of guessed.
Callers hand in a persona that they got through ``get_persona_for_user``.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from django.db import transaction
from django.http import Http404

from accounts.models import User
from personas.conversations import messages_visible_to
from personas.errors import EntryGone, FileRefused
from personas.files import MEMORY_FILES, new_file, save_file
from personas.memory.lines import (
    Entry,
    changed,
    clean_text,
    entries_of,
    entry_line,
    false_date,
    line_of,
    marked_private,
    replaced,
    split_date,
)
from personas.models import MemorySettings, Persona, PersonaFile
from personas.privacy import PRIVATE
from routing.tokens import estimate_tokens

SHORT, MID, LONG = MEMORY_FILES
FILE_BUDGET_TOKENS = {SHORT: 1500, MID: 2000, LONG: 4000}
"""What a file should have at most, so that its tier leaves room for the chat."""
MAX_ENTRY_CHARS = 2000
TOO_LONG = f"A line of the memory has at most {MAX_ENTRY_CHARS:,} characters."
NO_DATE = "“{date}” is no day of the calendar; write it as 2026-11-20, or leave it out."
NO_WORDS = "There are no words to keep in this."


def settings_of(persona: Persona) -> MemorySettings:
    """Return a persona's memory settings; the defaults, unsaved, where none are."""
    found = MemorySettings.objects.filter(persona=persona).first()
    return found or MemorySettings(persona=persona)


def memory_of(persona: Persona) -> dict[str, PersonaFile]:
    """Return the three files by name, short first; a missing one empty and unsaved."""
    files = {name: new_file(persona, name) for name in MEMORY_FILES}
    for file in persona.files.filter(name__in=MEMORY_FILES):
        files[file.name] = file
    return files


def over_budget(name: str, text: str) -> bool:
    """Return whether a memory file's text has more tokens than it should have."""
    return estimate_tokens(text) > FILE_BUDGET_TOKENS[name]


def gone_sources(user: User, entries: Iterable[Entry]) -> set[uuid.UUID]:
    """Return which source messages of entries the person cannot open any more.

    Deleted ones, those of deleted conversations, and ids that were never theirs; one
    query for all entries.
    """
    named = {source for entry in entries for source in entry.sources}
    if not named:
        return set()
    there = messages_visible_to(user).filter(pk__in=named, deleted_at=None)
    return named.difference(there.values_list("pk", flat=True))


@contextmanager
def locked_memory(persona: Persona) -> Iterator[dict[str, PersonaFile]]:
    """Give the three files as they are, in a transaction that nobody else changes.

    The persona's row is the lock, as in ``personas.files.save_file``; it may be taken
    again inside.

    Raises:
        Http404: The persona was deleted meanwhile.
    """
    with transaction.atomic():
        rows = Persona.objects.select_for_update(no_key=True).filter(pk=persona.pk)
        if rows.first() is None:
            raise Http404("There is no such persona.")
        yield memory_of(persona)


def own_words(text: str) -> tuple[str, bool]:
    """Return what a person wrote as the text of an entry, and whether it is private.

    The only mark that is taken from a person's words is the one that hides them.

    Raises:
        FileRefused: Nothing is left, it is too long, or begins with an impossible date.
    """
    private = bool(PRIVATE.search(text))
    text = clean_text(PRIVATE.sub(" ", text))
    if not text:
        raise FileRefused(NO_WORDS)
    if len(text) > MAX_ENTRY_CHARS:
        raise FileRefused(TOO_LONG)
    check_date(text)
    return text, private


def check_date(text: str) -> None:
    """Raise ``FileRefused`` where a text begins with a date that there is not."""
    if wrong := false_date(text):
        raise FileRefused(NO_DATE.format(date=wrong))


def add_entry(persona: Persona, file: str, text: str, author: User | None) -> str:
    """Add a line of a person's own words; return it raw.

    Raises:
        FileRefused: No words, too long, or no room in the file.
        Http404: Not a memory file.
    """
    text, private = own_words(text)
    line = entry_line(text, private=private)
    with locked_memory(persona) as files:
        before = _file(files, file).text
        after = changed(before, add=[line])
        save_file(persona, file, after, author=author, reason="Added a line")
    return line


def edit_entry(
    persona: Persona, file: str, raw: str, new_text: str, author: User | None
) -> str:
    """Let a line say something else; return it raw. Date, marks and place stay.

    A date at the beginning of the new text becomes the entry's date.

    Raises:
        EntryGone: The line is not in the file any more.
        FileRefused, Http404: As ``add_entry``.
    """
    text, hidden = own_words(new_text)
    said_on, text = split_date(text)
    with locked_memory(persona) as files:
        entry = _entry(files, file, raw)
        new = replace(
            entry,
            text=text,
            said_on=said_on or entry.said_on,
            private=PRIVATE.search(raw) is not None or hidden,
        )
        return _exchange(persona, files, file, raw, line_of(new), author, "Edited")


def pin_entry(
    persona: Persona, file: str, raw: str, pinned: bool, author: User | None
) -> str:
    """Pin a line, so that no distillation changes it, or let it go; return it raw.

    Raises:
        EntryGone: The line is not in the file any more.
        Http404: Not a memory file.
    """
    with locked_memory(persona) as files:
        entry = _entry(files, file, raw)
        new = replace(entry, pinned=pinned, private=PRIVATE.search(raw) is not None)
        why = "Pinned" if pinned else "Unpinned"
        return _exchange(persona, files, file, raw, line_of(new), author, why)


def make_private(
    persona: Persona, file: str, raw: str, private: bool, author: User | None
) -> str:
    """Mark a line as private, or open it; return it raw.

    Raises:
        EntryGone: The line is not in the file any more.
        FileRefused: It stands in a private part of the file, so that its own mark does
            not decide.
        Http404: Not a memory file.
    """
    with locked_memory(persona) as files:
        new = line_of(replace(_entry(files, file, raw), private=private))
        after = replaced(_file(files, file).text, raw, new)
        found = _find(after, new)
        if not private and found is not None and found.private:
            raise FileRefused(
                f"This line stands in a private part of {file}; edit the file to "
                "open it."
            )
        why = "Hid" if private else "Opened"
        return _exchange(persona, files, file, raw, new, author, why)


def move_entry(
    persona: Persona, file: str, raw: str, to_file: str, author: User | None
) -> str:
    """Move a line to another tier; return it raw as it stands there.

    A line that was private where it stood, by itself or by its file, stays private.

    Raises:
        EntryGone: The line is not in the file any more.
        FileRefused: No room in the other file.
        Http404: Not a memory file.
    """
    with locked_memory(persona) as files:
        source, target = _file(files, file), _file(files, to_file)
        entry = _entry(files, file, raw)
        if file == to_file:
            return raw
        hidden = entry.private or (source.private and not target.private)
        line = marked_private(raw) if hidden else raw
        after = changed(target.text, add=[line])
        save_file(
            persona, to_file, after, author=author, reason=f"Moved a line from {file}"
        )
        rest = changed(source.text, remove=[raw])
        save_file(
            persona, file, rest, author=author, reason=f"Moved a line to {to_file}"
        )
    return line


def remove_entry(persona: Persona, file: str, raw: str, author: User | None) -> None:
    """Take a line out of a file.

    Raises:
        EntryGone: The line is not in the file any more.
        Http404: Not a memory file.
    """
    with locked_memory(persona) as files:
        _entry(files, file, raw)
        rest = changed(files[file].text, remove=[raw])
        save_file(persona, file, rest, author=author, reason="Removed a line")


def _file(files: dict[str, PersonaFile], name: str) -> PersonaFile:
    if name not in files:
        raise Http404("There is no such file.")
    return files[name]


def _find(text: str, raw: str) -> Entry | None:
    return next((entry for entry in entries_of(text) if entry.raw == raw), None)


def _entry(files: dict[str, PersonaFile], name: str, raw: str) -> Entry:
    entry = _find(_file(files, name).text, raw)
    if entry is None:
        raise EntryGone(name)
    return entry


def _exchange(
    persona: Persona,
    files: dict[str, PersonaFile],
    file: str,
    raw: str,
    new: str,
    author: User | None,
    why: str,
) -> str:
    after = replaced(files[file].text, raw, new)
    save_file(persona, file, after, author=author, reason=f"{why} a line")
    return new
