"""Words without their endings, lightly: English and German. Pure."""

from __future__ import annotations

from typing import Final

SHORTEST_STEM: Final = 4
_ENDINGS: Final = (
    *("ations", "ation", "ings", "ing", "ies", "ied", "ers", "er", "ed", "es", "s"),
    *("ungen", "ung", "innen", "in", "ern", "en", "em", "e", "n", "ly", "y", "st", "t"),
)


def stem_of(word: str) -> str:
    """Return a folded word without its ending, at least four letters of it."""
    for ending in _ENDINGS:
        stem = word.removesuffix(ending)
        if stem != word and len(stem) >= SHORTEST_STEM:
            return stem
    return word
