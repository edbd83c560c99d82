"""Which lines and messages a wish in plain words means. Pure.

A wish means whatever contains all of its significant words, in any order. Endings do
not matter (``lesson`` and ``lessons``); writing systems without blanks between words
are compared by what they contain.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from personas.memory.lines import Entry, entries_of, fold, lines_of
from personas.privacy import privacy_of_lines, without_marks

_ENDINGS = {"s": 3, "es": 4, "d": 4, "ed": 4, "ing": 4, "e": 5, "n": 5, "en": 5}
"""Endings that do not matter, each with the letters that must stand before it."""
_RELATED = 0.5
"""Two lines say the same where so much of their significant words is in both."""
_MANY = 50
"""So many different lines never say one thing; comparing more takes too long."""
_UNPARTED = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u9fff]")
_EVERYTHING = re.compile(r"\A(?:please |bitte )?(?:everything|anything|all|alles)\b")
_BULLET = re.compile(r"\A\s*(?:[-*+]|[0-9]{1,3}[.)])\s+")
_HEADING = re.compile(r"\A\s{0,3}#{1,6}(?:\s|\Z)")
_SAY_NOTHING = """
    about all also always am an and any anything are as at be been but by can could did
    do does everything for forget from had has have he her his how if in into is it its
    just know like likes me my of on or our please remember said she so some still than
    that the their them then there they thing this those to told user was we were what
    when where which who will with would you your
    aber alles am an auf auch aus bei bin bist bitte das dass dem den der des die du ein
    eine einem einen einer es für hab habe hat ich ihm ihn ihr im ist kann mein meine
    meinem meinen meiner mich mir mit nicht noch oder sein seine sich sie sind über um
    und uns vergiss vom von war was wer wie wir zu zum zur
    """


@dataclass(frozen=True, slots=True)
class Wish:
    """The words of a wish, ready to be compared."""

    parted: tuple[frozenset[str], ...]
    """For each significant word the forms that count as it."""
    contained: tuple[str, ...]
    """Words of writing systems without blanks."""
    everything: bool
    """All that is about it is meant, whether or not it says the same."""

    def __bool__(self) -> bool:
        return bool(self.parted or self.contained)

    def means(self, text: str) -> bool:
        """Return whether a text has all of the words."""
        if not self:
            return False
        if text.isascii():  # folding would change nothing but capitals and signs
            plain = text.lower()
            if any(min(forms, key=len) not in plain for forms in self.parted):
                return False
        folded = fold(text)
        words = set(folded.split())
        return all(part in folded for part in self.contained) and not any(
            forms.isdisjoint(words) for forms in self.parted
        )


def wish_of(text: str) -> Wish:
    """Return what a person asked for; false when its words say nothing."""
    words = significant(text)
    return Wish(
        tuple(_forms(word) for word in words if not _UNPARTED.search(word)),
        tuple(word for word in words if _UNPARTED.search(word)),
        bool(_EVERYTHING.match(fold(text))),
    )


_SILENT = frozenset(fold(_SAY_NOTHING).split())


def significant(text: str) -> list[str]:
    """Return the folded words of a text that say what it is about, each once."""
    return [
        word
        for word in dict.fromkeys(fold(text).split())
        if word not in _SILENT
        and (len(word) > 1 or word.isdigit() or _UNPARTED.search(word))
    ]


def _forms(word: str) -> frozenset[str]:
    """Return the word, itself with one ending more, and with one less."""
    forms = {word}
    for ending, letters in _ENDINGS.items():
        if len(word) >= letters:
            forms.add(word + ending)
        if len(stem := word.removesuffix(ending)) >= letters:
            forms.add(stem)
    return frozenset(forms)


def statements_of(text: str) -> list[Entry]:
    """Return all that a file says: its entries, and its other lines with words.

    Headings and lines of nothing but marks say nothing.
    """
    entries = {entry.raw: entry for entry in entries_of(text)}
    found = []
    for raw, private in zip(lines_of(text), privacy_of_lines(text), strict=True):
        said = without_marks(raw)
        bare = _BULLET.sub("", said).strip()
        if raw in entries:
            found.append(entries[raw])
        elif fold(bare) and not _HEADING.match(said):
            found.append(Entry(raw=raw, text=bare, private=private))
    return found


def unrelated(entries: Sequence[Entry]) -> bool:
    """Return whether entries say more than one thing."""
    if len({fold(entry.text) for entry in entries}) > _MANY:
        return True
    different = {(fold(entry.text), entry.sources): entry for entry in entries}
    groups: list[list[Entry]] = []
    for entry in different.values():
        near = [group for group in groups if any(_alike(entry, one) for one in group)]
        groups = [group for group in groups if group not in near]
        groups.append([entry, *(one for group in near for one in group)])
    return len(groups) > 1


def _alike(one: Entry, other: Entry) -> bool:
    if set(one.sources).intersection(other.sources) or fold(one.text) == fold(
        other.text
    ):
        return True
    words, others = set(significant(one.text)), set(significant(other.text))
    both = sum(not _forms(word).isdisjoint(others) for word in words)
    return both > 0 and both >= _RELATED * (len(words) + len(others) - both)
