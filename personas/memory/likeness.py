"""Whether two texts speak of the same, by the beginnings of their words. Pure."""

from __future__ import annotations

import re
from collections.abc import Set
from typing import Final

from personas.memory.lines import fold

STEM: Final = 4
"""Words count as the same from so many equal letters on, whatever their endings."""
_WIDE: Final = re.compile("[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u9fff]")
"""Scripts that put no blanks between words."""
_SAY_NOTHING: Final = """
    the and for are was has have with that this they them their from will would not you
    your his her she him its but about does did been being want wants like likes user
    person der die das und ist hat sich mit ein eine einen nicht von auf les des une est
    pas que pour dans avec los las una por con para
"""


def words_of(text: str) -> frozenset[str]:
    """Return the beginnings of a text's words; of scripts without blanks its pairs.

    Words that say nothing of what a sentence is about are left out.
    """
    return _beginnings(text) - _EVERYWHERE


def _beginnings(text: str) -> frozenset[str]:
    found: set[str] = set()
    for word in fold(text).split():
        if _WIDE.search(word):
            found |= {word[at : at + 2] for at in range(max(len(word) - 1, 1))}
        elif word.isdigit():
            found.add(word)
        elif len(word) >= STEM - 1:
            found.add(word[:STEM])
    return frozenset(found)


_EVERYWHERE: Final = _beginnings(_SAY_NOTHING)


def share(words: Set[str], others: Set[str]) -> bool:
    """Say whether two texts have a word in common."""
    return not words.isdisjoint(others)


def keep(words: Set[str], earlier: Set[str]) -> bool:
    """Say whether a text still has at least half of the words of an earlier one."""
    return bool(earlier) and 2 * len(words & earlier) >= len(earlier)
