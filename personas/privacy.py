"""Which lines of a persona file are for its owner's eyes alone, and other marks.

Three marks, all HTML comments, so that they do not show in rendered Markdown:

* ``- Has a cello lesson on Mondays <!-- private -->`` – this line.
* ``## Health <!-- private -->`` – this heading and everything below it, until the next
  heading of the same or a higher level.
* ``<!-- private -->`` alone on a line – everything after it, until a line
  ``<!-- /private -->`` or the end of the file.

In doubt a line counts as private: case and blanks inside the mark do not matter, nor
where in the line it stands.

Memory lines have two more marks, ``<!-- pin -->`` and ``<!-- from /m/… -->``, the
messages it was drawn from (``personas.memory.lines``). They are read as freely, and no
mark of any kind enters a prompt.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

PRIVATE = re.compile(r"<!--\s*private\s*-->", re.IGNORECASE)
PIN = re.compile(r"<!--\s*pin\s*-->", re.IGNORECASE)
SOURCES = re.compile(r"<!--\s*from(?:[\s,]+/m/[^\s<>,]*)+[\s,]*-->", re.IGNORECASE)
_END = re.compile(r"<!--\s*/\s*private\s*-->", re.IGNORECASE)
_MARKS = (PIN, SOURCES, PRIVATE, _END)
_NESTED = 3
"""How often a line is looked at: what is left without marks may join into one."""
_HEADING = re.compile(r"\A {0,3}(#{1,6})(?:\s|\Z)")


def without_marks(line: str) -> str:
    """Return one line without any of the marks and without blanks at its end."""
    for _ in range(_NESTED):
        if "<!--" not in line:
            break
        for mark in _MARKS:
            line = mark.sub("", line)
    return line.rstrip()


def _without_others(line: str) -> str:
    """Return a line without pin and sources, which could stand inside of a mark."""
    return SOURCES.sub("", PIN.sub("", line))


def _judged(text: str) -> Iterator[tuple[str, bool, bool]]:
    """Yield for each line: itself without its marks, is it private, has it a place.

    Lines of nothing but marks have no place in a prompt.
    """
    in_block = False
    section_level = 0  # level of the private heading above, 0 = none
    for line in text.split("\n"):
        bare = without_marks(line)
        marked = bool(PRIVATE.search(line) or PRIVATE.search(_without_others(line)))
        if heading := _HEADING.match(bare):
            level = len(heading[1])
            if level <= section_level:
                section_level = 0
            if marked and not section_level:
                section_level = level
        private = marked or in_block or section_level > 0
        if marked and not bare.strip():
            in_block = True
        elif _END.search(line):
            in_block = False
        yield bare, private, bool(bare) or not any(m.search(line) for m in _MARKS)


def privacy_of_lines(text: str) -> list[bool]:
    """Return for each line of a text, parted at ``"\\n"``, whether it is private."""
    if "<!--" not in text:
        return [False] * (text.count("\n") + 1)
    return [private for _, private, _ in _judged(text)]


def readable_text(text: str, *, alone: bool) -> str:
    """Return the text as it may enter a prompt, without the marks themselves.

    Args:
        alone: Whether the owner alone is present; otherwise private lines are gone.
    """
    if "<!--" not in text:
        return text.strip()
    kept = (
        line
        for line, private, has_place in _judged(text)
        if has_place and (alone or not private)
    )
    return "\n".join(kept).strip()
