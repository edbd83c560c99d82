"""What a person asks their persona to remember, to forget, and to tell.

Each acts on all three files and on what would be distilled next, at once and without
review, as a run that can be undone. A wish is only ever its owner's: callers hand in
who asked, and nobody else's wish does anything.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date

from django.http import Http404
from django.utils import timezone

from accounts.models import User
from accounts.zones import zone_of
from personas.errors import FileRefused, WishRefused
from personas.files import USER, get_file
from personas.memory.changes import Change
from personas.memory.files import (
    SHORT,
    locked_memory,
    memory_of,
    over_budget,
    own_words,
)
from personas.memory.forgetting import Forgotten as Forgotten
from personas.memory.forgetting import check_owner
from personas.memory.forgetting import forget as forget
from personas.memory.lines import Entry, entries_of, fold, line_of, split_date
from personas.memory.matching import statements_of
from personas.memory.proposals import NewRun, store
from personas.models import MemoryRun, Message, Persona, PersonaFile
from personas.privacy import PRIVATE
from personas.starters import is_starter_text

OTHERS_WORDS = "Only what you wrote yourself, or were answered, can be remembered."
TEMPORARY = "A temporary chat leaves nothing behind, so nothing of it is remembered."
PAUSED = "Remembering is paused in this chat."
PRIVATE_CHAT = (
    "This chat is private and its persona is not: what is remembered may be read by "
    "models outside. Add the line on the memory page if you want that."
)


@dataclass(frozen=True, slots=True)
class Remembered:
    """What became of “remember this”."""

    line: str | None
    """The raw line that now says it."""
    already: str | None = None
    """The file in which it stood before; it was pinned there instead."""
    run: MemoryRun | None = None
    """To undo it; ``None`` when nothing had to be changed."""
    over_budget: bool = False
    """Short memory now has more tokens than it should."""

    @property
    def text(self) -> str:
        """What the line says, without date and marks."""
        return " ".join(entry.text for entry in entries_of(self.line or ""))


def remember(
    persona: Persona, text: str, *, author: User, source: Message | None
) -> Remembered:
    """Store a line in short memory, pinned; one that is known already is pinned.

    Args:
        text: What to remember, without the words that ask for it. A date at its
            beginning is the line's; else it is the day of the message, or today.
        author: Who asked; must be the persona's owner.
        source: The message in which it was said, for the link and the note beside it.

    Raises:
        WishRefused: No words, too long, no room in the file, or not from this chat.
        Http404: Somebody else asked, or the message is not of this persona.
    """
    check_owner(persona, author)
    if source is not None:
        _check_source(persona, source)
    try:
        said, private = own_words(text)
        said_on, said = split_date(said)
        new = Entry(
            raw="",
            text=said,
            said_on=said_on or _day(persona.owner, source),
            sources=(source.pk,) if source else (),
            pinned=True,
            private=private,
        )
        with locked_memory(persona) as files:
            return _remember(persona, files, new, source)
    except FileRefused as problem:
        raise WishRefused(str(problem)) from problem


def _remember(
    persona: Persona,
    files: dict[str, PersonaFile],
    new: Entry,
    source: Message | None,
) -> Remembered:
    file, known = _known_as(files, new) or (None, None)
    if file is None or known is None:
        line = line_of(new)
        change = Change(SHORT, add=(line,))
    else:
        marked = PRIVATE.search(known.raw) is not None
        if known.pinned and (marked or not new.private):
            return Remembered(known.raw, file)
        hidden = marked or new.private
        line = line_of(replace(known, pinned=True, private=hidden))
        change = Change(file, (known.raw,), (line,))
    wish = NewRun(
        MemoryRun.Step.REMEMBER,
        [change],
        messages=1 if source else 0,
        notes=[(source.pk, line)] if source else [],
    )
    covered = source is not None and _covers(new.text, source.text)
    run = store(persona, wish, read=[source.pk] if source and covered else [])
    if run.state != MemoryRun.State.APPLIED:
        raise FileRefused(
            f"There is no room in {change.file} for one more line: shorten it first."
        )
    short = memory_of(persona)[SHORT].text
    return Remembered(line, file, run, over_budget(SHORT, short))


def _known_as(files: dict[str, PersonaFile], new: Entry) -> tuple[str, Entry] | None:
    """Return where the memory says the same already, in short memory first."""
    words = fold(new.text) or new.text
    for name, file in files.items():
        for entry in entries_of(file.text):
            if (fold(entry.text) or entry.text) == words:
                return name, entry
    return None


def _covers(text: str, message: str) -> bool:
    """Return whether a message says little more than what was remembered of it."""
    return len(fold(text)) * 3 >= len(fold(message)) * 2


def _day(owner: User, source: Message | None) -> date:
    said_at = source.created_at if source else timezone.now()
    return said_at.astimezone(zone_of(owner)).date()


def _check_source(persona: Persona, source: Message) -> None:
    chat = source.conversation
    if chat.persona_id != persona.pk or chat.owner_id != persona.owner_id:
        raise Http404("There is no such message.")
    if source.from_guest:
        raise WishRefused(OTHERS_WORDS)
    if chat.temporary:
        raise WishRefused(TEMPORARY)
    if chat.memory_paused:
        raise WishRefused(PAUSED)
    if chat.private and not persona.private:
        raise WishRefused(PRIVATE_CHAT)


def known(persona: Persona, *, alone: bool = True) -> list[tuple[str, list[Entry]]]:
    """Return what a persona knows about its owner, by file; files without it are left.

    So is a ``USER.md`` in which nobody has written yet.

    Args:
        alone: Whether the owner alone reads it; otherwise private files and lines stay
            out, as they do in prompts.
    """
    files = [*memory_of(persona).values(), get_file(persona, USER)]
    said = [
        (
            file.name,
            [one for one in statements_of(file.text) if alone or not one.private],
        )
        for file in files
        if (alone or not file.private) and not is_starter_text(file.name, file.text)
    ]
    return [(name, entries) for name, entries in said if entries]
