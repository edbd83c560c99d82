"""What a check of ``manage.py doctor`` is, and what it finds."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final, Literal

Status = Literal["ok", "warn", "fail"]
WITHIN_S: Final = 10.0
"""How long a check may take unless it says otherwise."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor; no text of a person and no secret is in it."""

    status: Status
    name: str
    sentence: str
    cure: str = ""
    """What to do about it, in a sentence."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing to look at.

    ``look`` runs on a thread of its own, may use the database, and yields findings;
    none at all where it does not apply.
    """

    name: str
    look: Callable[[], Iterable[Finding]]
    within_s: float = WITHIN_S


def ok(name: str, sentence: str) -> Finding:
    """Return a finding that all is well."""
    return Finding("ok", name, sentence)


def warn(name: str, sentence: str, cure: str = "") -> Finding:
    """Return a finding that somebody should know of."""
    return Finding("warn", name, sentence, cure)


def fail(name: str, sentence: str, cure: str) -> Finding:
    """Return a finding that something does not work, with what to do."""
    return Finding("fail", name, sentence, cure)
