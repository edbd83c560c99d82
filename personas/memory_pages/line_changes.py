"""What people do to single lines of a memory on its page.

Each change is one revision of the file. A line is named by its file and its whole text,
so that nothing is done to another line than the one that was seen.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from django.http import Http404
from django.utils import timezone

from accounts.models import User
from personas import files
from personas.errors import EditConflict, EntryGone
from personas.memory import files as memory_files
from personas.memory.files import gone_sources, locked_memory, own_words
from personas.memory.lines import (
    entries_of,
    line_of,
    put_back,
    replaced,
    split_date,
)
from personas.memory_pages.shown import TITLES
from personas.models import Persona, PersonaFile
from personas.privacy import PRIVATE

KEPT = "Kept a line whose message was deleted"
RESTORED = "Took back a deletion"
_TRIES = 3


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be done to which line."""

    persona: Persona
    author: User
    file: str
    """Checked: one of the memory files."""
    raw: str
    """The whole line as the page showed it."""
    text: str = ""
    """New words, for those changes that need some."""
    to: str = ""
    """The file to move to, where it is moved; checked."""


@dataclass(frozen=True, slots=True)
class Done:
    """What was done, in a sentence."""

    said: str
    removed_at: int = 0
    """The revision of the file in which a line went, 0 if none did."""


def _add(wish: Wish) -> Done:
    said_on, _ = split_date(wish.text.strip())
    # A line says when it was said; what has no date was said today.
    text = wish.text if said_on else f"{timezone.localdate()} {wish.text}"
    own_words(wish.text)
    memory_files.add_entry(wish.persona, wish.file, text, wish.author)
    return Done(f"Added to {TITLES[wish.file].lower()}.")


def _edit(wish: Wish) -> Done:
    memory_files.edit_entry(wish.persona, wish.file, wish.raw, wish.text, wish.author)
    return Done("Saved.")


def _pin(wish: Wish) -> Done:
    memory_files.pin_entry(wish.persona, wish.file, wish.raw, True, wish.author)
    return Done("Pinned: it stays, word for word.")


def _unpin(wish: Wish) -> Done:
    memory_files.pin_entry(wish.persona, wish.file, wish.raw, False, wish.author)
    return Done("No longer pinned.")


def _private(wish: Wish) -> Done:
    memory_files.make_private(wish.persona, wish.file, wish.raw, True, wish.author)
    return Done("Private: it is used only when you are alone.")


def _open(wish: Wish) -> Done:
    memory_files.make_private(wish.persona, wish.file, wish.raw, False, wish.author)
    return Done("No longer private.")


def _move(wish: Wish) -> Done:
    memory_files.move_entry(wish.persona, wish.file, wish.raw, wish.to, wish.author)
    return Done(f"Moved to {TITLES[wish.to].lower()}.")


def _remove(wish: Wish) -> Done:
    memory_files.remove_entry(wish.persona, wish.file, wish.raw, wish.author)
    return Done("", files.get_file(wish.persona, wish.file).revision)


def _keep(wish: Wish) -> Done:
    """Keep a line whose message was deleted: it no longer names that message."""
    with locked_memory(wish.persona) as there:
        text = there[wish.file].text
        found = [entry for entry in entries_of(text) if entry.raw == wish.raw]
        if not found:
            raise EntryGone(wish.file)
        gone = gone_sources(wish.author, found)
        kept = replace(
            found[0],
            sources=tuple(one for one in found[0].sources if one not in gone),
            # A private part of the file hides it already.
            private=PRIVATE.search(wish.raw) is not None,
        )
        files.save_file(
            wish.persona,
            wish.file,
            replaced(text, wish.raw, line_of(kept)),
            author=wish.author,
            reason=KEPT,
        )
    return Done("Kept.")


CHANGES: Final[dict[str, Callable[[Wish], Done]]] = {
    "add": _add,
    "edit": _edit,
    "pin": _pin,
    "unpin": _unpin,
    "private": _private,
    "open": _open,
    "move": _move,
    "remove": _remove,
    "keep": _keep,
}
"""By the value of the button."""


# --- taking a deletion back -------------------------------------------------------


def removed_lines(file: PersonaFile, number: int) -> list[str]:
    """Return the lines that a revision took out; raises ``Http404`` when unknown."""
    if number < 2:
        raise Http404("There is no such version.")
    after = files.get_revision(file, number).text.split("\n")
    before = files.get_revision(file, number - 1).text.split("\n")
    return [line for line in before if line not in after and entries_of(line)]


def restore(persona: Persona, name: str, number: int, author: User) -> Done:
    """Put back what a revision took out, where it stood.

    Twice does it once: a line that stands in the file is not added again.
    """
    for _ in range(_TRIES):
        file = files.get_file(persona, name)
        lines = removed_lines(file, number)
        before = files.get_revision(file, number - 1).text
        text = put_back(file.text, lines, before=before)
        try:
            files.save_file(
                persona,
                name,
                text,
                author=author,
                reason=RESTORED,
                expected_revision=file.revision,
            )
        except EditConflict:
            continue
        return Done("It is back.")
    raise EditConflict(files.get_file(persona, name))
