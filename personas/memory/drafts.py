"""From a verdict to changes of files: dated lines with sources, within budgets. Pure.

A new line has the date of its newest message. One that takes the place of others keeps
their newest date, names their messages and is private where one of them was; so is one
that tells more of private lines than its own sources do. What is not named in an answer
moves up word for word.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Final

from personas.memory.changes import Change, new_text
from personas.memory.files import FILE_BUDGET_TOKENS, over_budget
from personas.memory.lines import Entry, entry_line, marked_private
from personas.memory.verdicts import Appended, Draft, LeftAlone, Rewritten, Verdict

FULL: Final = (
    "{file} has no room for it, with at most {budget:,} tokens; move, shorten or "
    "remove some of its lines."
)
_APPENDED: Final = "Added, and the earlier lines left as they are, because {why}."


@dataclass(frozen=True, slots=True)
class Made:
    """What is to be stored; without changes ``why`` may say why."""

    changes: tuple[Change, ...] = ()
    notes: tuple[tuple[uuid.UUID, str], ...] = ()
    """(message, line that it led to)"""
    appended: bool = False
    why: str = ""
    """One sentence, where there is something to tell."""
    useless: bool = False
    """The answer was of no use; another one may be."""


@dataclass(slots=True)
class _Making:
    """Changes of the file that is written, and of the one that lines come from."""

    file: str
    text: str
    lower_file: str
    remove: list[str] = field(default_factory=list)
    add: list[str] = field(default_factory=list)
    taken: list[str] = field(default_factory=list)
    notes: list[tuple[uuid.UUID, str]] = field(default_factory=list)

    def take(self, draft: Draft) -> None:
        """Add one line."""
        line = line_for(draft)
        self.add.append(line)
        self.remove += [entry.raw for entry in draft.replaces]
        self.taken += [entry.raw for entry in draft.takes]
        self.notes += [(one.id, line) for one in draft.messages]

    def move(self, entries: Sequence[Entry]) -> bool:
        """Move lines up as they are, as many as there is room for; say if all are."""
        for entry in entries:
            if entry.raw in self.taken:
                continue
            line = marked_private(entry.raw) if entry.private else entry.raw
            if not self._fits([*self.add, line]):
                return False
            self.add.append(line)
            self.taken.append(entry.raw)
        return True

    def fits(self) -> bool:
        """Say whether the file keeps to its budget."""
        return self._fits(self.add)

    def _fits(self, add: Sequence[str]) -> bool:
        after = new_text(self.text, Change(self.file, tuple(self.remove), tuple(add)))
        return not over_budget(self.file, after) or len(after) <= len(self.text)

    def changes(self) -> tuple[Change, ...]:
        """Return what happens to both files."""
        changes = (
            Change(self.file, _each_once(self.remove), _each_once(self.add)),
            Change(self.lower_file, _each_once(self.taken)),
        )
        return tuple(change for change in changes if change)


def make(
    verdict: Verdict,
    file: str,
    text: str,
    *,
    lower_file: str = "",
    up: Sequence[Entry] = (),
) -> Made:
    """Return what a verdict does to the files.

    Args:
        verdict: What of the answer counts.
        file: The memory file that is written.
        text: What it says at this moment.
        lower_file: Where lines come from, when they move up a tier.
        up: The lines that move up, in the words of the answer or in their own.
    """
    if isinstance(verdict, LeftAlone):
        return Made(why=verdict.why, useless=True)
    making = _Making(file, text, lower_file)
    if isinstance(verdict, Rewritten | Appended):
        for draft in verdict.drafts:
            making.take(draft)
    if isinstance(verdict, Rewritten):
        here = {entry.raw for entry in up}
        for entry in verdict.dropped:
            (making.taken if entry.raw in here else making.remove).append(entry.raw)
    if not making.fits():
        return Made(why=full(file))
    moved_all = making.move(up)
    if not making.changes():
        return Made(why="" if moved_all else full(file))
    why = ""
    if isinstance(verdict, Appended):
        why = _APPENDED.format(why=verdict.why)
    return Made(
        changes=making.changes(),
        notes=tuple(dict.fromkeys(making.notes)),
        appended=isinstance(verdict, Appended),
        why=why,
    )


def full(file: str) -> str:
    """Return what a person is told of a file without room."""
    return FULL.format(file=file, budget=FILE_BUDGET_TOKENS[file])


def line_for(draft: Draft) -> str:
    """Return the raw line of a draft."""
    earlier = (*draft.replaces, *draft.takes)
    said = sorted(draft.messages, key=lambda one: one.said_on, reverse=True)
    dated = sorted(earlier, key=lambda one: one.said_on or date.min, reverse=True)
    days = [one.said_on for one in (said or dated)]
    ids = [one.id for one in said] + [id for one in dated for id in one.sources]
    return entry_line(
        draft.text,
        said_on=days[0] if days else None,
        sources=ids,
        private=draft.private or any(entry.private for entry in earlier),
    )


def _each_once(lines: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(lines))
