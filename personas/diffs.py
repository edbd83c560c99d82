"""The difference between two texts, line by line, as plain values for a page.

Nothing here is HTML: the template escapes each line.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Literal

CONTEXT_LINES = 3
MAX_LINES = 4000
"""Texts with more lines together are not compared; matching them takes too long."""

Kind = Literal["same", "added", "removed", "gap"]


@dataclass(frozen=True, slots=True)
class DiffLine:
    """One line; a ``gap`` stands for unchanged lines and has no text."""

    kind: Kind
    text: str = ""


def diff(before: str, after: str) -> list[DiffLine]:
    """Return the changed lines with a few unchanged ones around; empty when equal."""
    if before == after:
        return []
    old, new = _lines(before), _lines(after)
    if len(old) + len(new) > MAX_LINES:
        return [*_marked("removed", old), *_marked("added", new)]
    found: list[DiffLine] = []
    matcher = difflib.SequenceMatcher(None, old, new)
    for group in matcher.get_grouped_opcodes(CONTEXT_LINES):
        if found or group[0][1] > 0:
            found.append(DiffLine("gap"))
        for tag, old_start, old_end, new_start, new_end in group:
            if tag == "equal":
                found += _marked("same", old[old_start:old_end])
            else:
                found += _marked("removed", old[old_start:old_end])
                found += _marked("added", new[new_start:new_end])
    return found


def _lines(text: str) -> list[str]:
    return text.split("\n") if text else []


def _marked(kind: Kind, lines: list[str]) -> list[DiffLine]:
    return [DiffLine(kind, line) for line in lines]
