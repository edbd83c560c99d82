"""Words that are spelt alike, for a search that finds nothing."""

from __future__ import annotations

from difflib import SequenceMatcher
from typing import Final

from django.db import connection

from personas.search.index import text_index
from personas.search.index_base import Wanted
from personas.search.words import Term

SHORTEST: Final = 4
"""Letters of a word for which others are tried."""
ALIKE: Final = 0.75
"""Twice the letters in common ÷ the letters of both; below it words are unlike."""
CONTAINED: Final = 0.7
"""How alike a word counts that contains the one looked for."""
MOST: Final = 3
TRIED: Final = 12


def similar_words(owner_id: int, term: Term) -> tuple[Term, ...]:
    """Return the words of a person's messages that are most like one; maybe none.

    A word that stands in their messages as it is is its own only answer.
    """
    if len(term.words) > 1 or len(word := term.words[0]) < SHORTEST:
        return ()
    if _occurs(owner_id, term):
        return (term,)
    near = [
        (likeness, other)
        for other in text_index().alike(connection, owner_id, word)
        if (likeness := _likeness(word, other))
    ]
    found = []
    for _, other in sorted(near, reverse=True)[:TRIED]:
        if _occurs(owner_id, candidate := Term((other,))):
            found.append(candidate)
        if len(found) == MOST:
            break
    return tuple(found)


def _occurs(owner_id: int, term: Term) -> bool:
    return bool(text_index().newest(connection, Wanted(owner_id, [[term]]), 1))


def _likeness(word: str, other: str) -> float:
    if word in other and word != other:
        return CONTAINED
    if abs(len(word) - len(other)) > 3:
        return 0.0
    matcher = SequenceMatcher(None, other, word, autojunk=False)
    if matcher.real_quick_ratio() < ALIKE or matcher.quick_ratio() < ALIKE:
        return 0.0
    ratio = matcher.ratio()
    return ratio if ratio >= ALIKE else 0.0
