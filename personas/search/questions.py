"""What a question is about: its telling words, shortened, with others for the same.

Pure. English and German; words of other languages count as they are. A message that
answers a question seldom has its words: “When is my cello lesson?” – “Thursdays at five
I play the cello”. So words without meaning of their own are left out, endings are cut
off, and everyday words bring those that are often said instead, which count for less.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from personas.search.stems import SHORTEST_STEM, stem_of
from personas.search.synonyms import OTHERS, STOP_WORDS
from personas.search.words import Term, fold

MOST: Final = 12
"""Telling words of a question that are looked for; the longest stay."""
OTHER_WORD: Final = 0.45
"""What a word counts that is often said instead."""
_SINGLE_LETTERS: Final = 2


@dataclass(frozen=True, slots=True)
class Clue:
    """A word of a question in the forms that are looked for."""

    terms: tuple[Term, ...]
    weight: float = 1.0


def clues_of(text: str) -> list[Clue]:
    """Return what to look for; empty where a text says nothing in particular."""
    words = [word for word in dict.fromkeys(fold(text).split()) if _tells(word)]
    if len(words) > MOST:
        kept = set(sorted(words, key=len, reverse=True)[:MOST])
        words = [word for word in words if word in kept]
    clues = [Clue((_term(word),)) for word in words]
    said = {stem_of(word) for word in words}
    others = dict.fromkeys(
        other
        for word in words
        for other in OTHERS.get(stem_of(word), ())
        if stem_of(other) not in said
    )
    by_group: dict[tuple[str, ...], list[str]] = {}
    for other in others:
        by_group.setdefault(OTHERS[stem_of(other)], []).append(other)
    return clues + [
        Clue(tuple(_term(other) for other in group), OTHER_WORD)
        for group in by_group.values()
    ]


def _tells(word: str) -> bool:
    if word in STOP_WORDS:
        return False
    return len(word) >= _SINGLE_LETTERS or word.isdigit() or not word.isascii()


def _term(word: str) -> Term:
    """Return a word's stem as the beginning of words; short words stay exact."""
    stem = stem_of(word)
    return Term((stem,), prefix=len(stem) >= SHORTEST_STEM and not stem.isdigit())
