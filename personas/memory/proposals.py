"""What a distillation proposes, and how it is stored: at once, or waiting for review.

A model's call takes long; meanwhile the person may have forgotten, deleted or changed
what it read. So everything is looked at again under the lock before it is stored.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from django.db import transaction
from django.utils import timezone

from accounts.models import User
from personas.errors import FileRefused
from personas.memory.changes import (
    Change,
    apply,
    as_json,
    checked,
    kept_hidden,
    without_lines,
    without_pinned,
)
from personas.memory.files import locked_memory, settings_of
from personas.memory.lines import entries_of, lines_of
from personas.models import MemoryNote, MemoryRun, Message, Persona, PersonaFile

State, Step = MemoryRun.State, MemoryRun.Step
WISHES = (Step.REMEMBER, Step.FORGET)
"""What a person asked for: never reviewed, never cut down."""
READ_AGAIN = (
    "The memory was changed while it was being read; nothing was stored, and it is "
    "read again."
)
NOT_ANY_MORE = (
    "What would have been stored was deleted or forgotten while it was being read."
)


@dataclass(frozen=True, slots=True)
class NewRun:
    """What came of reading: changes, or none and why.

    Without changes it is a failure (``failed``), left alone (with an ``explanation``)
    or simply empty.
    """

    step: str
    """One of ``MemoryRun.Step``."""
    changes: Sequence[Change] = ()
    appended: bool = False
    explanation: str = ""
    """One sentence for the person; cut at 300 characters."""
    messages: int = 0
    model: str = ""
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost_nano_usd: int | None = None
    notes: Sequence[tuple[uuid.UUID, str]] = ()
    """(message, raw line that it led to)"""
    failed: bool = False
    in_vain: Sequence[uuid.UUID] = ()
    """Messages that led to an answer of no use, and are to be read again."""
    rests_on: Sequence[tuple[str, str]] = field(default=())
    """(file, raw line) that new lines were drawn from; lines to be removed count too.
    Where one of them is gone nothing is stored."""


def store(persona: Persona, new: NewRun, *, read: Sequence[uuid.UUID]) -> MemoryRun:
    """Store what came of reading, in one transaction, and mark what was read.

    Applied at once where the person wants no review, else it waits for them. Lines
    drawn from messages that were deleted or forgotten since they were read are left
    out; pinned lines stay. Where lines were changed that the reading rests on, nothing
    is stored and nothing counts as read.

    Args:
        read: The messages that were read and need not be read again, whatever came of
            it; empty where a failure is to be tried again.

    Raises:
        FileRefused: The changes name other files, or lines that are no entries.
    """
    changes = checked(new.changes)
    with locked_memory(persona) as files:
        if stale([*changes, *_as_changes(new.rests_on)], files):
            return create_run(persona, new, State.LEFT, [], explanation=READ_AGAIN)
        if new.step not in WISHES:
            changes = kept_hidden(_permitted(persona, new, changes, read), files)
        _mark_read(persona, read)
        if not changes:
            lost = NOT_ANY_MORE if new.changes and not new.explanation else ""
            why = new.explanation or lost
            return create_run(persona, new, _state_of(new, why), [], explanation=why)
        days = settings_of(persona).review_days
        if days == 0 or new.step in WISHES:
            author = persona.owner if new.step in WISHES else None
            return _apply_at_once(persona, new, changes, files, author=author)
        run = create_run(persona, new, State.WAITING, changes)
        if days is not None:
            run.passes_at = timezone.now() + timedelta(days=days)
            run.save(update_fields=["passes_at"])
        return run


def _state_of(new: NewRun, why: str) -> str:
    if new.failed:
        return State.FAILED
    return State.LEFT if why else State.EMPTY


def _as_changes(lines: Iterable[tuple[str, str]]) -> list[Change]:
    return [Change(file, (raw,)) for file, raw in lines]


def stale(changes: Iterable[Change], files: dict[str, PersonaFile]) -> bool:
    """Return whether a line that is to be replaced is not there any more."""
    return any(
        set(change.remove).difference(lines_of(files[change.file].text))
        for change in changes
    )


def _permitted(
    persona: Persona, new: NewRun, changes: list[Change], read: Sequence[uuid.UUID]
) -> list[Change]:
    """Return the changes without lines from what may not be stored any more.

    A line names few of its messages, the notes all of them.
    """
    still = Message.objects.filter(
        pk__in=read,
        conversation__persona=persona,
        conversation__deleted_at=None,
        deleted_at=None,
        distilled_at=None,
    )
    lost = set(read).difference(still.values_list("pk", flat=True))
    unwanted = {
        entry.raw
        for change in changes
        for entry in entries_of("\n".join(change.add))
        if lost.intersection(entry.sources)
    }
    unwanted.update(raw for message, raw in new.notes if message in lost)
    return without_pinned(without_lines(changes, unwanted))


def _mark_read(persona: Persona, read: Sequence[uuid.UUID]) -> None:
    Message.objects.filter(
        pk__in=read, conversation__persona=persona, distilled_at=None
    ).update(distilled_at=timezone.now())


def _apply_at_once(
    persona: Persona,
    new: NewRun,
    changes: list[Change],
    files: dict[str, PersonaFile],
    *,
    author: User | None,
) -> MemoryRun:
    reason = reason_of(MemoryRun(step=new.step, messages=new.messages))
    try:
        with transaction.atomic():
            done = apply(persona, files, changes, author=author, reason=reason)
    except FileRefused as problem:
        why = no_room(problem)
        return create_run(persona, new, State.LEFT, changes, explanation=why)
    run = create_run(persona, new, State.APPLIED, done)
    decide(run, State.APPLIED)
    return run


def create_run(
    persona: Persona,
    new: NewRun,
    state: str,
    changes: Sequence[Change],
    *,
    explanation: str | None = None,
) -> MemoryRun:
    """Make the row of a run, with the notes for those lines that it adds."""
    run = MemoryRun.objects.create(
        persona=persona,
        step=new.step,
        state=state,
        changes=as_json(changes),
        appended=new.appended and bool(changes),
        explanation=(new.explanation if explanation is None else explanation)[:300],
        messages=new.messages,
        in_vain=[str(message) for message in new.in_vain],
        model=new.model[:200],
        input_tokens=new.input_tokens,
        output_tokens=new.output_tokens,
        cost_nano_usd=new.cost_nano_usd,
    )
    added = {raw for change in changes for raw in change.add}
    there = Message.objects.filter(
        pk__in=[message for message, _ in new.notes], conversation__persona=persona
    )
    known = set(there.values_list("pk", flat=True))
    MemoryNote.objects.bulk_create(
        MemoryNote(run=run, message_id=message, line=raw)
        for message, raw in new.notes
        if message in known and raw in added
    )
    return run


def decide(
    run: MemoryRun, state: str, changes: Sequence[Change] | None = None
) -> MemoryRun:
    """Give a run its state as of now, and what it really changed."""
    run.state, run.decided_at, run.passes_at = state, timezone.now(), None
    if changes is not None:
        run.changes = as_json(changes)
    run.save()
    return run


def recall_again(run: MemoryRun) -> None:
    """Take back that the messages which a wish to forget meant are not recalled."""
    Message.objects.filter(
        conversation__persona=run.persona_id, forgotten_at=run.created_at
    ).update(forgotten_at=None)


def no_room(problem: FileRefused) -> str:
    """Return the sentence of a run for which a file has no room."""
    return f"There was no room: {problem} Shorten the file, then accept this."


def reason_of(run: MemoryRun) -> str:
    """Return why a run changes a file, for the file's history."""
    if run.step == Step.SHORT:
        count = f"{run.messages:,} message{'' if run.messages == 1 else 's'}"
        return f"Distilled from {count}"
    if run.step == Step.MID:
        return "Distilled from short memory"
    if run.step == Step.LONG:
        return "Distilled from mid memory"
    return str(Step(run.step).label)
