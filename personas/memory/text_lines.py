"""A text as lines that can be taken out and put in. Pure.

The text keeps how its lines end and whether the last one does, so that taking out what
was put in gives the very same text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

BULLET = "- "
"""What an entry begins with."""


def bare(line: str) -> str:
    """Return a line without the carriage return of a file from elsewhere."""
    return line.removesuffix("\r")


def lines_of(text: str) -> list[str]:
    """Return the raw lines of a text."""
    return [bare(line) for line in text.split("\n")]


@dataclass(slots=True)
class TextLines:
    """A text taken apart: its lines, how they end, and whether the last one does."""

    lines: list[str]
    line_end: str
    """``"\\r"`` or nothing; what stands before each line feed."""
    closed: bool

    @classmethod
    def of(cls, text: str) -> TextLines:
        """Take a text apart."""
        lines = text.split("\n")
        closed = lines[-1] == ""
        if closed:
            lines.pop()
        return cls(lines, "\r" if "\r\n" in text else "", closed)

    def text(self) -> str:
        """Return the whole text; one without lines is empty."""
        end = "\n" if self.closed and self.lines else ""
        text = "\n".join(self.lines) + end
        return text if self.closed else text.removesuffix(self.line_end)

    def end_of_entries(self) -> int:
        """Return where a new entry goes: behind the last one and its further lines."""
        at = len(self.lines)
        while at and not self.lines[at - 1].startswith(BULLET):
            at -= 1
        return self._behind(at) if at else len(self.lines)

    def _behind(self, at: int) -> int:
        """Skip lines that belong to the entry above: those that are indented."""
        while at < len(self.lines) and re.match(r"[ \t]+\S", self.lines[at]):
            at += 1
        return at

    def place_behind(self, above: Sequence[str]) -> int | None:
        """Return the place behind the nearest of the lines above that is still here."""
        here = {bare(line): at for at, line in enumerate(self.lines)}
        for line in reversed(above):
            if line and line in here:
                return here[line] + 1
        return 0 if not above else None

    def insert(self, at: int, new: Sequence[str]) -> None:
        """Put lines before the one at ``at``."""
        if new and at and at == len(self.lines) and self.line_end:
            self.lines[-1] = bare(self.lines[-1]) + self.line_end
        self.lines[at:at] = [line + self.line_end for line in new]
