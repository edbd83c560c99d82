"""How ``manage.py home`` says what became of a home or a bundle."""

from __future__ import annotations

from typing import Any, Final

from personas.home.report import Outcome
from personas.home.report import Report as Report

MOST_SAID: Final = 200
"""Lines of one kind that are printed; ``--json`` has them all."""
WORDS: Final = {
    Outcome.TAKEN: "taken",
    Outcome.KEPT: "there already",
    Outcome.LEFT: "left",
}
TRIAL: Final = "This was a trial; nothing was changed."
NOTHING_NEW: Final = "Everything is there already; nothing was changed."
NOTHING_CHANGED: Final = "Nothing was changed."


def as_text(report: Report, *, dry_run: bool = False) -> str:
    """Return the report for people: what was taken, kept, left, and what to do next."""
    lines: list[str] = []
    for outcome, word in WORDS.items():
        of_kind = [f"{word}: {line.where}: {line.text}" for line in report.of(outcome)]
        rest = len(of_kind) - MOST_SAID
        lines += of_kind[:MOST_SAID]
        if rest > 0:
            lines.append(f"{word}: … and {rest:,} more (--json names them all)")
    lines += [f"next: {hint}" for hint in report.hints]
    if dry_run:
        lines.append(TRIAL)
    elif not report.changed:
        lines.append(NOTHING_NEW if report.complete else NOTHING_CHANGED)
    return "\n".join(lines)


def as_value(report: Report, *, dry_run: bool = False) -> dict[str, Any]:
    """Return the report for ``--json``; the lines are those of ``as_text``."""
    return {
        "changed": report.changed and not dry_run,
        "complete": report.complete,
        "dry_run": dry_run,
        **{
            outcome.value: [
                {"where": line.where, "text": line.text} for line in report.of(outcome)
            ]
            for outcome in Outcome
        },
        "next": report.hints,
    }


def exit_code(report: Report) -> int:
    """Return 0 when everything was taken or was there, 1 when something was left."""
    return 0 if report.complete else 1
