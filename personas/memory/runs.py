"""Runs: each change of a memory as one thing to review, accept, reject and undo.

States change only under the lock of the persona's row and are read again there, so that
doing anything twice, or at two places at once, has one effect. Files are changed by
lines (``personas.memory.changes``), so that what a person wrote meanwhile stays.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime

from django.db import transaction
from django.http import Http404
from django.shortcuts import get_object_or_404
from django.utils import timezone

from accounts.models import User
from personas.errors import EntryGone, FileRefused
from personas.files import save_file
from personas.memory.changes import Change as Change
from personas.memory.changes import (
    apply,
    as_json,
    checked,
    from_json,
    new_text,
    take_out,
    taken_back,
    without_lines,
)
from personas.memory.files import gone_sources, locked_memory, memory_of
from personas.memory.lines import entries_of, lines_of
from personas.memory.lookups import get_note_for_user as get_note_for_user
from personas.memory.lookups import get_run_for_user as get_run_for_user
from personas.memory.lookups import notes_visible_to as notes_visible_to
from personas.memory.lookups import runs_visible_to as runs_visible_to
from personas.memory.proposals import NewRun as NewRun
from personas.memory.proposals import decide, no_room, reason_of, recall_again, stale
from personas.memory.proposals import store as store
from personas.memory.retold import folded, forgotten_since
from personas.models import MemoryNote, MemoryRun, PersonaFile

State, Step = MemoryRun.State, MemoryRun.Step
OPEN_STATES = (State.WAITING, State.LEFT)
"""What can still be accepted: one that waits, one for which there was no room."""
DELETED_SINCE = "The messages it was drawn from were deleted."
CHANGED_SINCE = "The memory was changed since this was proposed; please look at it."


def changes_of(run: MemoryRun) -> list[Change]:
    """Return what a run changes: proposed as long as it is open, then done."""
    return from_json(run.changes)


def preview(
    run: MemoryRun, files: Mapping[str, PersonaFile] | None = None
) -> list[tuple[str, str, str]]:
    """Return (file, before, after) for each file that a run is about.

    For one that is in the memory: the file as it would be without it, and as it is. For
    any other: the file as it is, and as the run would make it.

    Args:
        files: The memory as it is, where it was read already.
    """
    files = memory_of(run.persona) if files is None else files
    shown = []
    for change in _proposed(run):
        now = files[change.file].text
        if run.state == State.APPLIED:
            shown.append((change.file, taken_back(run.persona, now, change), now))
        else:
            shown.append((change.file, now, new_text(now, change)))
    return shown


def accept(
    run: MemoryRun, author: User | None, changes: Iterable[Change] | None = None
) -> MemoryRun:
    """Put what a run proposes into the memory; return the run as it is now.

    Nothing happens to one that is not open any more. Where a file has no room the run
    is left alone and says so; it can be accepted again.

    Args:
        author: Who accepted it; ``None`` when it passed by itself.
        changes: What the person made of the proposal; ``None`` = as proposed.

    Raises:
        FileRefused: The edited changes name other files, or lines that are no entries.
    """
    edited = None if changes is None else checked(changes)
    with _locked(run) as (run, files):
        if run.state not in OPEN_STATES or not (edited or run.changes):
            return run
        wanted = _proposed(run) if edited is None else edited
        if not wanted:
            return _turn_down(run, DELETED_SINCE if edited is None else "")
        try:
            with transaction.atomic():
                done = apply(
                    run.persona, files, wanted, author=author, reason=reason_of(run)
                )
        except FileRefused as problem:
            run.explanation = no_room(problem)
            return decide(run, State.LEFT, wanted)
        run.explanation = "" if run.state == State.LEFT else run.explanation
        decide(run, State.APPLIED, done)
        _keep_notes(run, done)
        return run


def _proposed(run: MemoryRun) -> list[Change]:
    """Return what a run changes, without what was drawn from messages now deleted.

    New messages must all be there still; of older ones, which an entry of another tier
    names, one suffices.
    """
    changes = changes_of(run)
    if run.state not in OPEN_STATES:
        return changes
    entries = [entry for one in changes for entry in entries_of("\n".join(one.add))]
    gone = gone_sources(run.persona.owner, entries)
    few = any if run.step == Step.SHORT else all
    unwanted = {
        entry.raw
        for entry in entries
        if entry.sources and few(source in gone for source in entry.sources)
    }
    return without_lines(changes, unwanted)


def reject(run: MemoryRun) -> MemoryRun:
    """Keep an open run out of the memory; return it as it is now."""
    with _locked(run) as (run, _):
        if run.state in OPEN_STATES:
            _turn_down(run, run.explanation)
        return run


def _turn_down(run: MemoryRun, why: str) -> MemoryRun:
    run.notes.filter(undone_at=None).update(undone_at=timezone.now())
    run.explanation = why
    return decide(run, State.REJECTED)


def undo(run: MemoryRun, author: User | None) -> MemoryRun:
    """Take what a run did out of the memory again; return the run as it is now.

    What it added goes, what it removed comes back to its place; lines that somebody
    changed since stay as they are. What the person asked to forget since does not come
    back, nor what went into it. What was remembered on request goes from wherever it
    stands by now.

    Raises:
        EntryGone: It was remembered on request, and its line is not there any more.
        FileRefused: A file has no room for what would come back.
    """
    with _locked(run) as (run, files):
        if run.state != State.APPLIED:
            return run
        changes = changes_of(run)
        if run.step != Step.REMEMBER or any(change.remove for change in changes):
            _take_back(run, files, changes, author)
        else:
            for line in (line for change in changes for line in change.add):
                take_out(run.persona, files, line, author=author)
        run.notes.filter(undone_at=None).update(undone_at=timezone.now())
        if run.step == Step.FORGET:
            recall_again(run)
        return decide(run, State.UNDONE)


def _take_back(
    run: MemoryRun,
    files: dict[str, PersonaFile],
    changes: Sequence[Change],
    author: User | None,
) -> None:
    forgotten = forgotten_since(run)
    reason = f"Undone: {_small(reason_of(run))}"
    for change in changes:
        before = files[change.file].text
        if run.step == Step.REMEMBER and not set(change.add) & set(lines_of(before)):
            raise EntryGone("the memory")
        back = tuple(raw for raw in change.remove if folded(raw) not in forgotten)
        taken = replace(change, remove=back)
        text = taken_back(run.persona, before, taken)
        save_file(run.persona, change.file, text, author=author, reason=reason)


def undo_note(note: MemoryNote, author: User | None) -> MemoryRun:
    """Take the one line of a note out again; return its run as it is now.

    Raises:
        EntryGone: Somebody changed the line, or it went into another one.
        FileRefused: As ``undo``.
    """
    with _locked(note.run) as (run, files):
        note = run.notes.select_for_update().get(pk=note.pk)
        if note.undone_at is not None:
            return run
        if run.state == State.APPLIED and run.step == Step.REMEMBER:
            return undo(run, author)
        if run.state == State.APPLIED:
            take_out(run.persona, files, note.line, author=author)
        note.undone_at = timezone.now()
        note.save(update_fields=["undone_at"])
        if run.state in OPEN_STATES:
            drop_lines(run, {note.line}, why="")
        return run


def drop_lines(run: MemoryRun, unwanted: set[str], *, why: str) -> None:
    """Take lines out of what an open run proposes; without others it is rejected.

    Called with the memory locked.
    """
    rest = without_lines(changes_of(run), unwanted)
    run.notes.filter(line__in=unwanted, undone_at=None).update(undone_at=timezone.now())
    if rest:
        run.changes = as_json(rest)
        run.save(update_fields=["changes"])
    else:
        run.explanation = why or run.explanation
        decide(run, State.REJECTED, [])


def pass_due(now: datetime) -> int:
    """Accept the runs whose time to be reviewed is over; return how many passed.

    One that would replace lines that are not there any more goes on waiting, without a
    time: what a person changed by hand is not to come back by itself. Where a person
    switched the memory off, nothing passes.
    """
    due = MemoryRun.objects.filter(state=State.WAITING, passes_at__lte=now).exclude(
        persona__memory_settings__enabled=False
    )
    passed = 0
    for run in due.select_related("persona").order_by("created_at"):
        with suppress(Http404):  # its persona was deleted meanwhile
            passed += _pass(run)
    return passed


def _pass(run: MemoryRun) -> bool:
    with _locked(run) as (run, files):
        if run.state != State.WAITING:
            return False
        if stale(changes_of(run), files):
            run.passes_at, run.explanation = None, CHANGED_SINCE
            run.save(update_fields=["passes_at", "explanation"])
            return False
        return accept(run, None).state == State.APPLIED


@contextmanager
def _locked(run: MemoryRun) -> Iterator[tuple[MemoryRun, dict[str, PersonaFile]]]:
    """Give a run and the memory as they are, until the end of the transaction."""
    with locked_memory(run.persona) as files:
        now = MemoryRun.objects.select_related("persona__owner").filter(pk=run.pk)
        yield get_object_or_404(now), files


def _keep_notes(run: MemoryRun, done: Sequence[Change]) -> None:
    """Let each note show the line that was stored; without one there is no note."""
    entries = [entry for change in done for entry in entries_of("\n".join(change.add))]
    stored = {entry.raw for entry in entries}
    by_source = {source: entry for entry in entries for source in entry.sources}
    for note in run.notes.filter(undone_at=None).exclude(line__in=stored):
        if entry := by_source.get(note.message_id):
            note.line = entry.raw
            note.save(update_fields=["line"])
        else:
            note.delete()


def _small(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]
