"""Decides what of the distilling model's answer may be stored. Pure.

A line counts only where it names what it is from, that was really shown, and shares a
word with it, so that nothing invented is stored. Lines that are pinned stay as they
are, and at least ``KEPT_SHARE`` of the earlier entries survive. An answer that breaks
these rules loses its say over earlier lines: what is new and sound in it is added, and
the rest left alone. That the file stays within its budget is seen to where the lines
are made (``personas.memory.drafts``).
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence, Set
from dataclasses import dataclass, field, replace
from typing import Any, Final

from personas.memory.answers import Line, Parsed
from personas.memory.instructions import Material
from personas.memory.likeness import keep, share, words_of
from personas.memory.lines import Entry, fold
from personas.memory.sources import Said

KEPT_SHARE: Final = 0.8
LINE_CHARACTERS: Final = 400
MOST_REPLACED: Final = 3
"""So many earlier lines one line may take the place of; a new message changes one."""
USELESS: Final = "The model's answer was not usable: "
UNUSABLE: Final = f"{USELESS}none of its lines says its source."
UNKNOWN: Final = f"{USELESS}none of its lines names a source that there is."
UNRELATED: Final = f"{USELESS}none of its lines shares a word with its source."
CHANGES_PINNED: Final = "it would have changed a pinned line"
LOSES_TOO_MUCH: Final = "it would have lost more than a fifth of the earlier lines"
WITHOUT_SOURCE: Final = "some of its lines had no source that they share a word with"
REPLACES_TOO_MANY: Final = "one of its lines would have replaced too many others"
TOO_LONG: Final = "some of its lines were too long"


@dataclass(frozen=True, slots=True)
class Draft:
    """A line to be stored, and where it is from."""

    text: str
    messages: tuple[Said, ...] = ()
    replaces: tuple[Entry, ...] = ()
    """Entries of the same file whose place it takes."""
    takes: tuple[Entry, ...] = ()
    """Entries of the memory below that it takes over."""
    private: bool = False
    """It says what a private line says, or has a word that only those have."""


@dataclass(frozen=True, slots=True)
class Rewritten:
    """The answer counts as it is; ``dropped`` are entries that go without a trace."""

    drafts: tuple[Draft, ...]
    dropped: tuple[Entry, ...] = ()


@dataclass(frozen=True, slots=True)
class Appended:
    """Earlier lines of the file stay untouched; ``why`` goes on “because …”."""

    drafts: tuple[Draft, ...]
    why: str


@dataclass(frozen=True, slots=True)
class LeftAlone:
    """Nothing is stored; ``why`` is one sentence."""

    why: str


@dataclass(frozen=True, slots=True)
class Nothing:
    """There was nothing worth keeping, or nothing to change."""


Verdict = Rewritten | Appended | LeftAlone | Nothing


@dataclass(frozen=True, slots=True)
class Present:
    """What of the material is still as it was shown."""

    said: frozenset[uuid.UUID]
    """Ids of messages."""
    entries: frozenset[str]
    """Raw lines of the file."""
    lower: frozenset[str]
    hidden: tuple[frozenset[str], ...] = ()
    """Words of each private line that the file which is written must not tell."""

    @classmethod
    def of(cls, material: Material) -> Present:
        """Return everything."""
        return cls(
            frozenset(one.id for one in material.said),
            frozenset(entry.raw for entry in material.entries),
            frozenset(entry.raw for entry in material.lower),
        )


def judge(
    parsed: Parsed, material: Material, present: Present | None = None
) -> Verdict:
    """Decide what of an answer may be stored.

    Args:
        parsed: The answer.
        material: What the model was shown.
        present: What of it is still there; lines from anything else are dropped
            silently, since it was deleted or changed while the model worked.
    """
    if parsed.says_nothing:
        return Nothing()
    if not parsed.lines:
        return LeftAlone(UNUSABLE)
    reading = _Reading(material, present or Present.of(material))
    for line in parsed.lines:
        reading.take(line)
    if parsed.unsourced:
        reading.flaws.append(WITHOUT_SOURCE)
    reading.check_kept()
    return reading.verdict()


@dataclass(slots=True)
class _Reading:
    """One answer being judged."""

    material: Material
    present: Present
    drafts: list[Draft] = field(default_factory=list)
    dropped: list[Entry] = field(default_factory=list)
    flaws: list[str] = field(default_factory=list)
    why_without: str = UNUSABLE
    """What is to be told where no line has a source."""
    gone: bool = False
    """Something that a line names is not there any more."""

    def take(self, line: Line) -> None:
        """Take one line, or note what is wrong with it."""
        draft = self._resolved(line)
        if draft is None:
            return
        if any(entry.pinned for entry in (*draft.replaces, *draft.takes)):
            self.flaws.append(CHANGES_PINNED)
            draft = _without_earlier(draft)
        if line.text and len(draft.replaces) > self._most_replaced():
            self.flaws.append(REPLACES_TOO_MANY)
            draft = replace(draft, replaces=())
        if not line.text:
            self._drop(draft)
        elif len(line.text) > LINE_CHARACTERS:
            self.flaws.append(TOO_LONG)
        elif draft.messages or draft.takes or draft.replaces:
            self._add(draft)

    def _resolved(self, line: Line) -> Draft | None:
        """Return a line with what it names; ``None`` = it cannot count."""
        material, present = self.material, self.present
        messages: list[Said] = []
        replaces: list[Entry] = []
        takes: list[Entry] = []
        lists: dict[str, list[Any]] = {"m": messages, "e": replaces, "s": takes}
        for letter, number in line.numbers:
            shelf = {"m": material.said, "e": material.entries, "s": material.lower}
            things: Sequence[Any] = shelf[letter]
            if not 1 <= number <= len(things):
                self._without_source(UNKNOWN)
                return None
            lists[letter].append(things[number - 1])
        here = (
            all(one.id in present.said for one in messages)
            and all(entry.raw in present.entries for entry in replaces)
            and all(entry.raw in present.lower for entry in takes)
        )
        if not here:
            self.gone = True
            return None
        return Draft(line.text, tuple(messages), tuple(replaces), tuple(takes))

    def _most_replaced(self) -> int:
        return 1 if self.material.said else MOST_REPLACED

    def _drop(self, draft: Draft) -> None:
        # New messages may change a line, but nothing they say makes one vanish.
        if not self.material.said:
            self.dropped += [*draft.replaces, *draft.takes]

    def _add(self, draft: Draft) -> None:
        if self.material.said and not draft.messages:
            return  # an earlier line in other words; it stays as it is
        if self._is_known(draft):
            return
        words = words_of(draft.text)
        earlier = (*draft.takes, *draft.replaces)
        from_messages = [f"{one.text} {one.answer}" for one in draft.messages]
        from_entries = [one.text for one in earlier]
        source = from_messages if self.material.said else from_entries
        if not share(words, words_of(" ".join(source))):
            self._without_source(UNRELATED)
            return
        texts = [one.text for one in draft.messages] + [one.text for one in earlier]
        own = words_of(" ".join(texts))
        self.drafts.append(replace(draft, private=self._tells_hidden(words, own)))

    def _without_source(self, why: str) -> None:
        self.flaws.append(WITHOUT_SOURCE)
        if self.why_without != UNRELATED:
            self.why_without = why

    def _tells_hidden(self, words: Set[str], own: Set[str]) -> bool:
        """Say whether a line repeats a private one, or has a word only from there."""
        return any(
            hidden <= words or share(words - own, hidden)
            for hidden in self.present.hidden
        )

    def _is_known(self, draft: Draft) -> bool:
        """Say whether a line says nothing that the memory does not say already."""
        said = fold(draft.text)
        if not draft.messages and not draft.takes:
            return [fold(entry.text) for entry in draft.replaces] == [said]
        if draft.replaces or draft.takes:
            return False
        there = [entry.text for entry in self.material.entries]
        there += [*self.material.known, *(one.text for one in self.drafts)]
        return any(fold(text) == said for text in there)

    def check_kept(self) -> None:
        """Note a flaw where too few earlier entries survive, of either file.

        One whose place is taken survives in the lines that take it if they have half of
        its words.
        """
        gone = {entry.raw for entry in self.dropped}
        gone |= self._named() - _survivors(self.drafts)
        for entries in (self.material.entries, self.material.lower):
            lost = gone & {entry.raw for entry in entries}
            if len(lost) > (1 - KEPT_SHARE) * len(entries) + 1e-9:
                self.flaws.append(LOSES_TOO_MUCH)
                return

    def _named(self) -> set[str]:
        return {
            entry.raw
            for draft in self.drafts
            for entry in (*draft.replaces, *draft.takes)
        }

    def verdict(self) -> Verdict:
        """Return the decision."""
        if not self.flaws:
            if self.drafts or self.dropped:
                return Rewritten(tuple(self.drafts), tuple(self.dropped))
            return Nothing()
        there = _survivors(self.drafts)
        kept = [each for draft in self.drafts if (each := _only_new(draft, there))]
        if not kept:
            return LeftAlone(
                self.why_without if WITHOUT_SOURCE in self.flaws else _told(self)
            )
        return Appended(tuple(kept), self.flaws[0])


def _told(reading: _Reading) -> str:
    return f"{USELESS}{reading.flaws[0]}."


def _survivors(drafts: Sequence[Draft]) -> set[str]:
    """Return the raw lines of the entries that live on in the drafts naming them."""
    words: dict[str, set[str]] = {}
    entries: dict[str, Entry] = {}
    for draft in drafts:
        for entry in (*draft.replaces, *draft.takes):
            entries[entry.raw] = entry
            words.setdefault(entry.raw, set()).update(words_of(draft.text))
    return {raw for raw in words if keep(words[raw], words_of(entries[raw].text))}


def _without_earlier(draft: Draft) -> Draft:
    """Return a draft that changes no earlier line, because it named a pinned one."""
    takes = tuple(entry for entry in draft.takes if not entry.pinned)
    return replace(draft, replaces=(), takes=takes)


def _only_new(draft: Draft, survivors: Set[str]) -> Draft | None:
    """Return what a draft adds while every earlier line of the file stays.

    A line of the memory below is taken over only where it survives.
    """
    takes = tuple(entry for entry in draft.takes if entry.raw in survivors)
    if not draft.messages and not takes:
        return None
    return replace(draft, replaces=(), takes=takes)
