"""What became of a home or a bundle: one list of lines, each about one thing.

Everything is named that was taken, that was there already, or that was left where it
is. Names come from foreign disks and archives, so they are made printable first. No
line holds a text of a message, of a memory or a secret.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass, field

LONGEST_NAME = 240


class Outcome(enum.StrEnum):
    """What became of a thing."""

    TAKEN = "taken"
    KEPT = "kept"
    LEFT = "left"


@dataclass(frozen=True, slots=True)
class Line:
    """One thing: where it is, such as ``alice/persona/inara/SOUL.md``, and a text."""

    outcome: Outcome
    where: str
    text: str


@dataclass(slots=True)
class Report:
    """The lines in the order in which things were met, and commands to run next."""

    lines: list[Line] = field(default_factory=list)
    hints: list[str] = field(default_factory=list)
    """Each a command line for whoever runs the machine."""

    def taken(self, where: str, text: str) -> None:
        """Note what was taken over or written."""
        self.lines.append(Line(Outcome.TAKEN, shown(where), text))

    def kept(self, where: str, text: str) -> None:
        """Note what was there already and stays as it is."""
        self.lines.append(Line(Outcome.KEPT, shown(where), text))

    def left(self, where: str, text: str) -> None:
        """Note what was refused, with one sentence that says why."""
        self.lines.append(Line(Outcome.LEFT, shown(where), text))

    def of(self, outcome: Outcome) -> Iterator[Line]:
        """Yield the lines with one outcome."""
        return (line for line in self.lines if line.outcome is outcome)

    @property
    def changed(self) -> bool:
        """Whether anything was taken."""
        return any(True for _ in self.of(Outcome.TAKEN))

    @property
    def complete(self) -> bool:
        """Whether nothing was left behind."""
        return not any(True for _ in self.of(Outcome.LEFT))


def shown(name: str) -> str:
    """Return a foreign name on one line: escapes for all that does not print."""
    text = "".join(
        char if char.isprintable() else ascii(char)[1:-1] for char in name[:1000]
    )
    return text if len(text) <= LONGEST_NAME else f"{text[: LONGEST_NAME - 1]}…"
