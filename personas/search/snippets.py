"""The piece of a text that shows why it was found, with the words marked. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Final

from personas.search.words import Term, Token, places, tokens

AROUND: Final = 90
"""Characters before the first place and, twice as many, behind it."""
LOOKED_THROUGH: Final = 20_000
MARKED: Final = 12
PLACES: Final = 40
"""Places of one term that are looked at."""

Snippet = tuple[tuple[str, bool], ...]
"""Pieces of text in their order, each with whether it is one of the words."""


def snippet(text: str, terms: Sequence[Term]) -> Snippet:
    """Return a piece of a text around the first word that was looked for."""
    found = list(tokens(text[:LOOKED_THROUGH]))
    marks = _marks(found, terms)
    start, end = _window(text, marks)
    pieces: list[tuple[str, bool]] = []
    at = start
    for first, last in marks:
        if first < at or last > end:
            continue
        pieces += [(text[at:first], False), (text[first:last], True)]
        at = last
    pieces.append((text[at:end], False))
    if start:
        pieces.insert(0, ("… ", False))
    if end < len(text):
        pieces.append((" …", False))
    return tuple((_plain(piece), marked) for piece, marked in pieces if piece)


def _marks(found: list[Token], terms: Sequence[Term]) -> list[tuple[int, int]]:
    """Return where the terms stand in the text, in its order, without overlaps."""
    words = [token.folded for token in found]
    spans = [
        (found[at].start, found[at + len(term.words) - 1].end)
        for term in terms
        for at in islice(places(words, term), PLACES)
    ]
    kept: list[tuple[int, int]] = []
    for span in sorted(spans):
        if not kept or span[0] >= kept[-1][1]:
            kept.append(span)
    return kept


def _window(text: str, marks: list[tuple[int, int]]) -> tuple[int, int]:
    """Return the piece with the most marks, cut at blanks."""
    if not marks:
        return 0, _blank_before(text, 3 * AROUND)
    best = max(
        marks[:MARKED],
        key=lambda mark: sum(mark[0] <= each[0] < mark[0] + AROUND for each in marks),
    )
    start = best[0] - AROUND
    if start <= 0:
        start = 0
    else:
        blank = text.find(" ", start, best[0])
        start = blank + 1 if blank >= 0 else start
    return start, _blank_before(text, max(best[1], start + 3 * AROUND))


def _blank_before(text: str, at: int) -> int:
    if at >= len(text):
        return len(text)
    blank = text.rfind(" ", at - 30, at + 1)
    return blank if blank > 0 else at


def _plain(piece: str) -> str:
    """Return a piece on one line, keeping the blanks at its ends."""
    return " ".join(piece.replace("\n", " ").replace("\r", " ").split(" "))
