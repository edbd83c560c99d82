"""Which lines of a persona file are for its owner's eyes alone.

Three marks, all HTML comments, so that they do not show in rendered Markdown:

* ``- Has a cello lesson on Mondays <!-- private -->`` – this line.
* ``## Health <!-- private -->`` – this heading and everything below it, until the next
  heading of the same or a higher level.
* ``<!-- private -->`` alone on a line – everything after it, until a line
  ``<!-- /private -->`` or the end of the file.

In doubt a line counts as private: case and blanks inside the mark do not matter, nor
where in the line it stands.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_MARK = re.compile(r"<!--\s*private\s*-->", re.IGNORECASE)
_END = re.compile(r"<!--\s*/\s*private\s*-->", re.IGNORECASE)
_HEADING = re.compile(r"\A {0,3}(#{1,6})(?:\s|\Z)")


def _lines(text: str) -> Iterator[tuple[str, bool]]:
    """Yield each line without its marks, and whether it is private."""
    in_block = False
    section_level = 0  # level of the private heading above, 0 = none
    for line in text.split("\n"):
        bare = _END.sub("", _MARK.sub("", line)).rstrip()
        marked = bool(_MARK.search(line))
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
        if bare or not (marked or _END.search(line)):
            yield bare, private


def readable_text(text: str, *, alone: bool) -> str:
    """Return the text as it may enter a prompt, without the marks themselves.

    Args:
        alone: Whether the owner alone is present; otherwise private lines are gone.
    """
    if "<!--" not in text:
        return text.strip()
    kept = (line for line, private in _lines(text) if alone or not private)
    return "\n".join(kept).strip()
