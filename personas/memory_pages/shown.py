"""What the memory pages show of lines and files, as plain values for templates."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from uuid import UUID

from accounts.models import User
from personas.files import MEMORY_FILES
from personas.memory.files import FILE_BUDGET_TOKENS, gone_sources, memory_of
from personas.memory.lines import Entry, entries_of, fold
from personas.models import Persona, PersonaFile
from personas.privacy import PRIVATE, readable_text
from routing.tokens import estimate_tokens

TITLES = {
    MEMORY_FILES[0]: "Short memory",
    MEMORY_FILES[1]: "Mid memory",
    MEMORY_FILES[2]: "Long memory",
}
HINTS = {
    MEMORY_FILES[0]: "What happened lately.",
    MEMORY_FILES[1]: "What mattered in the last weeks.",
    MEMORY_FILES[2]: "What lasts.",
}


@dataclass(frozen=True, slots=True)
class ShownEntry:
    """One line of a memory file."""

    key: str
    """Stands for the line in ids of the page; marks do not change it."""
    entry: Entry
    words: str
    """Its date and its text, as they are edited."""
    file: str
    sources: tuple[UUID, ...]
    """Messages that can be opened."""
    gone: int
    """How many of its messages were deleted."""
    marked_private: bool
    """Its own mark says so, not the part of the file that it stands in."""
    others: tuple[tuple[str, str], ...]
    """The files it can move to, each with its title."""


@dataclass(frozen=True, slots=True)
class Tier:
    """One memory file with its lines."""

    file: PersonaFile
    title: str
    hint: str
    entries: tuple[ShownEntry, ...]
    """Those that the search found, newest at the end as in the file."""
    count: int
    """All lines, also those that the search hides."""
    tokens: int
    budget_tokens: int
    has_more_text: bool
    """The file also says something that is not a line of a list."""

    @property
    def is_over(self) -> bool:
        """Whether the file is longer than distillation would ever make it."""
        return self.tokens > self.budget_tokens


def tiers_of(persona: Persona, user: User, search: str = "") -> list[Tier]:
    """Return the three memory files of a persona.

    Args:
        user: The owner; only messages that they may see count as there.
        search: Words that a line must contain, all of them; empty = every line.
    """
    files = memory_of(persona)
    entries = {name: entries_of(files[name].text) for name in MEMORY_FILES}
    gone = gone_sources(user, (one for each in entries.values() for one in each))
    words = fold(search).split()
    return [_tier(files[name], entries[name], words, gone) for name in MEMORY_FILES]


def _tier(
    file: PersonaFile, entries: list[Entry], wanted: list[str], gone: set[UUID]
) -> Tier:
    seen: Counter[str] = Counter()
    shown = []
    for entry in entries:
        words = words_of(entry)
        seen[words] += 1
        if _matches(entry, wanted):
            key = _key(file.name, words, seen[words])
            shown.append(_shown(file.name, entry, key, gone))
    rest = set(file.text.split("\n")) - {entry.raw for entry in entries}
    return Tier(
        file=file,
        title=TITLES[file.name],
        hint=HINTS[file.name],
        entries=tuple(shown),
        count=len(entries),
        tokens=estimate_tokens(readable_text(file.text, alone=True)),
        budget_tokens=FILE_BUDGET_TOKENS[file.name],
        has_more_text=any(
            line.strip() and not line.lstrip().startswith("#") for line in rest
        ),
    )


def _key(file: str, words: str, number: int) -> str:
    """Name a line by its words; of several with the same ones by its number, from 1."""
    digest = hashlib.sha256(f"{file}\n{words}\n{number}".encode(errors="replace"))
    return digest.hexdigest()[:12]


def _matches(entry: Entry, words: list[str]) -> bool:
    if not words:
        return True
    text = fold(f"{entry.said_on or ''} {entry.text}")
    return all(word in text for word in words)


def _shown(file: str, entry: Entry, key: str, gone: set[UUID]) -> ShownEntry:
    sources = tuple(source for source in entry.sources if source not in gone)
    return ShownEntry(
        key=key,
        entry=entry,
        words=words_of(entry),
        file=file,
        sources=sources,
        gone=len(entry.sources) - len(sources),
        marked_private=PRIVATE.search(entry.raw) is not None,
        others=tuple((name, TITLES[name]) for name in MEMORY_FILES if name != file),
    )


def shown_text(text: str) -> str:
    """Return a memory file as people read it: marks as words, no links to messages."""
    return "\n".join(shown_line(line) for line in text.rstrip("\n").split("\n"))


def shown_line(line: str) -> str:
    """Return one line as people read it, such as ``2026-11-20 Plays (pinned)``."""
    entries = entries_of(line)
    if not entries:
        return line
    entry = entries[0]
    marks = [
        word
        for word, holds in (("pinned", entry.pinned), ("private", entry.private))
        if holds
    ]
    end = f" ({', '.join(marks)})" if marks else ""
    return f"{words_of(entry)}{end}"


def words_of(entry: Entry) -> str:
    """Return the date and the words of a line, as they are edited in a review."""
    return f"{entry.said_on} {entry.text}" if entry.said_on else entry.text
