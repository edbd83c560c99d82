"""The figures as a table for the terminal and for ``docs/performance.md``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured value with what it must reach and what it aims at."""

    name: str
    value: float
    unit: str
    target: float | None = None
    aim: float | None = None
    more_is_better: bool = False
    digits: int = 1

    @property
    def verdict(self) -> str:
        """Say whether target and aim are reached."""
        if self.target is None:
            return ""
        if not self._reaches(self.target):
            return "missed"
        return "aim" if self.aim is not None and self._reaches(self.aim) else "ok"

    def _reaches(self, limit: float) -> bool:
        return self.value >= limit if self.more_is_better else self.value <= limit

    def cells(self) -> list[str]:
        """Return the row: name, value, target, aim, verdict."""
        return [
            self.name,
            f"{self.value:,.{self.digits}f} {self.unit}".strip(),
            self._limit(self.target),
            self._limit(self.aim),
            self.verdict,
        ]

    def _limit(self, limit: float | None) -> str:
        if limit is None:
            return ""
        sign = "≥" if self.more_is_better else "≤"
        return f"{sign} {limit:,g}"


HEADINGS = ["figure", "measured", "to reach", "to aim at", ""]


def as_text(figures: Sequence[Figure]) -> str:
    """Return a table for the terminal."""
    rows = [HEADINGS, *(figure.cells() for figure in figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in rows
    )


def as_markdown(figures: Sequence[Figure], machine: str) -> str:
    """Return the section for the page, between its markers."""
    lines = [
        BEGIN,
        f"Measured on {datetime.now(UTC):%Y-%m-%d}: {machine}.",
        "",
        "| figure | measured | to reach | to aim at | |",
        "|---|---:|---:|---:|---|",
        *("| " + " | ".join(figure.cells()) + " |" for figure in figures),
        END,
    ]
    return "\n".join(lines)


def write(path: Path, figures: Sequence[Figure], machine: str) -> None:
    """Replace the section between the markers of the page."""
    text = path.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    path.write_text(before + as_markdown(figures, machine) + after, encoding="utf-8")
