"""Which lines of a memory file move up a tier, and when. Reads the database.

Synchronous; belongs into ``routing.db_pool``.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import islice
from typing import Final

from accounts.zones import zone_of
from personas.memory.files import FILE_BUDGET_TOKENS, LONG, MID, SHORT
from personas.memory.lines import Entry, entries_of
from personas.memory.sources import existing
from personas.memory.verdicts import USELESS
from personas.models import MemoryRun, Persona, PersonaFile
from routing.tokens import estimate_tokens

Step, State = MemoryRun.Step, MemoryRun.State
CROWDED: Final = 2 / 3
"""A file so full hands lines on, until it is down to ``ROOMY``."""
ROOMY: Final = 1 / 2
NEARLY_FULL: Final = 0.9
ONCE_IN: Final = timedelta(hours=20)
"""Lines that are merely old go up once a day."""
MOST_ENTRIES: Final = 60
MOST_TOKENS: Final = 3_000
TRIES: Final = 3
"""So often a model may answer without any use; then it goes on without it."""
APART: Final = timedelta(minutes=10)
"""Answers that follow sooner upon one that counts, by “Distil now”, do not count."""


@dataclass(frozen=True, slots=True)
class Tier:
    """A step from one file to the next."""

    step: str
    lower: str
    upper: str
    old_after: timedelta
    names: tuple[str, str]
    """Of both memories, for the model."""


UP: Final = (
    Tier(Step.MID, SHORT, MID, timedelta(days=7), ("short", "mid")),
    Tier(Step.LONG, MID, LONG, timedelta(days=30), ("mid", "long")),
)


def filled(file: PersonaFile) -> float:
    """Return how much of its budget a memory file takes."""
    return estimate_tokens(file.text) / FILE_BUDGET_TOKENS[file.name]


def going_up(
    persona: Persona, tier: Tier, file: PersonaFile, now: datetime
) -> tuple[Entry, ...]:
    """Return the lines of the lower file that move up now, the oldest first.

    Pinned ones stay, and so does what was drawn from messages that are all gone.
    """
    runs = persona.memory_runs.filter(step=tier.step)
    if runs.filter(state=State.WAITING).exists():
        return ()
    crowded = filled(file) > CROWDED
    last = runs.order_by("-created_at").first()
    lately = last is not None and last.created_at > now - ONCE_IN
    if lately and (not crowded or (last is not None and last.state == State.LEFT)):
        return ()
    entries = _movable(persona, file)
    day = (now - tier.old_after).astimezone(zone_of(persona.owner)).date()
    found = {e.raw: e for e in entries if e.said_on is not None and e.said_on < day}
    if crowded:
        room = estimate_tokens(file.text)
        goal = FILE_BUDGET_TOKENS[file.name] * ROOMY
        for entry in entries:
            if room <= goal:
                break
            room -= estimate_tokens(entry.raw)
            found.setdefault(entry.raw, entry)
    return _within(found.values())


def _movable(persona: Persona, file: PersonaFile) -> list[Entry]:
    """Return the entries that may move, the oldest first."""
    entries = [entry for entry in entries_of(file.text) if not entry.pinned]
    named = {source for entry in entries for source in entry.sources}
    there = existing(persona, named) if named else set()
    alive = [
        entry
        for entry in entries
        if not entry.sources or there.intersection(entry.sources)
    ]
    return sorted(alive, key=lambda entry: entry.said_on or date.max)


def _within(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    taken: list[Entry] = []
    room = MOST_TOKENS
    for entry in islice(entries, MOST_ENTRIES):
        room -= estimate_tokens(entry.raw)
        if taken and room < 0:
            break
        taken.append(entry)
    return tuple(taken)


def tries_in_vain(persona: Persona, step: str) -> int:
    """Return how many answers for a step were of no use, since the last that was.

    Calls that failed do not count, for nothing was
    answered, nor answers for which there was no room, or whose lines had changed.
    """
    runs = (
        persona.memory_runs.filter(step=step)
        .exclude(state=State.FAILED)
        .order_by("-created_at", "-id")
        .values_list("state", "explanation")[: 10 * TRIES]
    )
    count = 0
    for state, why in runs:
        if state != State.LEFT:
            break
        count += why.startswith(USELESS)
    return count


def given_up(
    persona: Persona, messages: Iterable[uuid.UUID], now: datetime
) -> set[uuid.UUID]:
    """Return which messages have led to enough useless answers, with one of now.

    Each has its own count, so that one that came later is not given up with others.
    """
    runs = (
        persona.memory_runs.filter(step=Step.SHORT, state=State.LEFT)
        .exclude(in_vain=[])
        .order_by("-created_at", "-id")
        .values_list("created_at", "in_vain")[: 10 * TRIES]
    )
    looks = [(moment, frozenset(ids)) for moment, ids in reversed(runs)]
    return {
        message
        for message in messages
        if _tries([at for at, ids in looks if str(message) in ids] + [now]) >= TRIES
    }


def _tries(moments: Iterable[datetime]) -> int:
    """Return how many of some moments, in their order, are far enough apart."""
    count, last = 0, None
    for moment in moments:
        if last is None or moment >= last + APART:
            count, last = count + 1, moment
    return count
