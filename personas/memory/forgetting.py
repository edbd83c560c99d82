"""“Forget this”: lines leave the memory, and no message brings them back.

The messages that are meant are marked with ``forgotten_at``, which is the moment of the
run that undoing takes back: they are never distilled again, and never recalled.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection
from dataclasses import dataclass

from django.http import Http404
from django.utils import timezone

from accounts.models import User
from personas.errors import WishRefused
from personas.memory.changes import Change, from_json
from personas.memory.files import locked_memory
from personas.memory.lines import Entry, entries_of, fold
from personas.memory.matching import Wish, statements_of, unrelated, wish_of
from personas.memory.proposals import NewRun, create_run, decide, store
from personas.memory.runs import OPEN_STATES, drop_lines
from personas.models import MemoryNote, MemoryRun, Message, Persona, PersonaFile

SAY_WHAT = "Say in a few words what to forget."
NOT_RECALLED = "No line said it; the messages that say it are not recalled any more."
NOTHING_SAID_IT = "No line said it, and no message."
ONLY_WAITED = "What said it was only waiting for a review."
FORGOTTEN_SINCE = "You asked to forget what it would have stored."


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What became of “forget this”.

    Lines may be private: where others read along only their number may be told.
    """

    lines: tuple[tuple[str, str], ...] = ()
    """(file, raw line) that are gone; also those that only waited for review."""
    messages: int = 0
    """Messages that will never be distilled because of it."""
    run: MemoryRun | None = None
    """To undo it; ``None`` when there was nothing to forget. The wish is noted all the
    same, so that undoing the last one never means the one before."""
    ambiguous: tuple[tuple[str, str], ...] = ()
    """(file, raw line) that could be meant; nothing was removed."""


def forget(
    persona: Persona,
    text: str,
    *,
    author: User,
    exactly: Collection[str] | None = None,
    source: Message | None = None,
) -> Forgotten:
    """Remove the lines that say something, and see to it that they do not come back.

    Messages that say it, and those from which the lines were drawn, are never
    distilled nor recalled; what waits for review is taken back too. Where several lines
    match that say different things nothing happens, and they are listed; “everything
    about …” takes all of them, and a line that says just these words is the one.

    Args:
        text: What to forget, without the words that ask for it.
        author: Who asked; must be the persona's owner.
        exactly: The raw lines that are meant, as listed before.
        source: A message of this persona: the lines drawn from it are meant, and it
            is forgotten itself, whatever its words.

    Raises:
        WishRefused: The text says nothing that could be looked for.
        Http404: Somebody else asked.
    """
    check_owner(persona, author)
    wish = wish_of(text)
    # Read before the lock: there may be thousands, and everybody writes meanwhile.
    said = _Said.of(persona, wish)
    with locked_memory(persona) as files:
        open_runs = list(persona.memory_runs.filter(state__in=OPEN_STATES))
        all_lines = [*_in_files(files), *_in_runs(open_runs)]
        means, sure = _choice(wish, text, exactly, source, all_lines)
        meant = [(name, entry) for name, entry in all_lines if means(entry)]
        listed = tuple(dict.fromkeys((name, entry.raw) for name, entry in meant))
        if not sure and unrelated([entry for _, entry in meant]):
            return Forgotten(ambiguous=listed)
        sources = {one for _, entry in meant for one in entry.sources}
        if source is not None:
            sources.add(source.pk)
        undistilled = _never_distil(persona, said.not_to_distil | sources)
        run = _remove(persona, files, open_runs, meant)
        run = _never_recall(persona, said.meant | sources, run)
        if run is None:
            _wish_alone(persona, ONLY_WAITED if listed else NOTHING_SAID_IT)
        return Forgotten(listed, undistilled, run)


def _choice(
    wish: Wish,
    text: str,
    exactly: Collection[str] | None,
    source: Message | None,
    lines: list[tuple[str, Entry]],
) -> tuple[Callable[[Entry], bool], bool]:
    """Return which lines are meant, and whether that is sure though they differ.

    Raises ``WishRefused`` for words that say nothing.
    """
    if source is not None:
        return (lambda entry: source.pk in entry.sources), True
    if exactly is not None:
        return (lambda entry: entry.raw in exactly), True
    words = fold(text)
    if words and any(fold(entry.text) == words for _, entry in lines):
        return (lambda entry: fold(entry.text) == words), True
    if not wish:
        raise WishRefused(SAY_WHAT)
    return (lambda entry: wish.means(entry.text)), wish.everything


def _in_runs(open_runs: list[MemoryRun]) -> list[tuple[str, Entry]]:
    return [
        (change.file, entry)
        for run in open_runs
        for change in from_json(run.changes)
        for entry in entries_of("\n".join(change.add))
    ]


def _in_files(files: dict[str, PersonaFile]) -> list[tuple[str, Entry]]:
    return [
        (name, entry)
        for name, file in files.items()
        for entry in statements_of(file.text)
    ]


def _remove(
    persona: Persona,
    files: dict[str, PersonaFile],
    open_runs: list[MemoryRun],
    meant: list[tuple[str, Entry]],
) -> MemoryRun | None:
    """Remove lines from the files and from what waits; return the run for the files."""
    raws = {entry.raw for _, entry in meant}
    for run in open_runs:
        if any(raws.intersection(one.add) for one in from_json(run.changes)):
            drop_lines(run, raws, why=FORGOTTEN_SINCE)
    changes = [
        Change(name, tuple(dict.fromkeys(gone)))
        for name, file in files.items()
        if (gone := [one.raw for one in statements_of(file.text) if one.raw in raws])
    ]
    if not changes:
        return None
    MemoryNote.objects.filter(
        run__persona=persona, line__in=raws, undone_at=None
    ).update(undone_at=timezone.now())
    return store(persona, NewRun(MemoryRun.Step.FORGET, changes), read=[])


@dataclass(frozen=True, slots=True)
class _Said:
    """Messages of a persona that have the words of a wish."""

    meant: set[uuid.UUID]
    """They say it themselves."""
    not_to_distil: set[uuid.UUID]
    """Of the person; also those whose answers say it."""

    @classmethod
    def of(cls, persona: Persona, wish: Wish) -> _Said:
        """Look through all messages, however old: what was read may be recalled."""
        said = cls(set(), set())
        if not wish:
            return said
        rows = Message.objects.filter(conversation__persona=persona).order_by()
        for key, parent, role, text in rows.values_list(
            "pk", "parent", "role", "text"
        ).iterator(chunk_size=500):
            if wish.means(text):
                said.meant.add(key)
                source = key if role == Message.Role.USER else parent
                said.not_to_distil.update({source} if source else ())
        return said


def _never_distil(persona: Persona, messages: Collection[uuid.UUID]) -> int:
    """Mark messages as read; return how many were not yet."""
    wanted = sorted(messages)
    return sum(
        Message.objects.filter(
            pk__in=wanted[at : at + 500],
            conversation__persona=persona,
            role=Message.Role.USER,
            distilled_at=None,
        ).update(distilled_at=timezone.now())
        for at in range(0, len(wanted), 500)
    )


def _never_recall(
    persona: Persona, messages: Collection[uuid.UUID], run: MemoryRun | None
) -> MemoryRun | None:
    """Mark messages with the moment of a run; return it, made now where none was."""
    of_persona = Message.objects.filter(
        conversation__persona=persona, forgotten_at=None, deleted_at=None
    )
    wanted = sorted(messages)
    found = [
        key
        for at in range(0, len(wanted), 500)
        for key in of_persona.filter(pk__in=wanted[at : at + 500]).values_list(
            "pk", flat=True
        )
    ]
    if not found:
        return run
    if run is None:
        run = _wish_alone(persona, NOT_RECALLED, messages=len(found))
    for at in range(0, len(found), 500):
        rows = Message.objects.filter(pk__in=found[at : at + 500])
        rows.update(forgotten_at=run.created_at)
    return run


def _wish_alone(persona: Persona, why: str, *, messages: int = 0) -> MemoryRun:
    """Note a wish for which no line had to go."""
    new = NewRun(MemoryRun.Step.FORGET, explanation=why, messages=messages)
    run = create_run(persona, new, MemoryRun.State.APPLIED, [])
    return decide(run, MemoryRun.State.APPLIED)


def check_owner(persona: Persona, author: User) -> None:
    """Raise ``Http404`` for a wish that is not the owner's."""
    if author.pk != persona.owner_id:
        raise Http404("There is no such persona.")
