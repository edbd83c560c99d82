"""Which lines tell what an earlier one told, and what must not come back.

Lines are merged, reworded and moved by runs; nothing notes which line became which. It
is told by their words and by the messages that they name.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from django.db.models import Q

from personas.memory.changes import Change, from_json
from personas.memory.likeness import words_of
from personas.memory.lines import Entry, entries_of, fold
from personas.models import MemoryRun


def is_retold(entry: Entry, by: Sequence[Entry], rather_than: Sequence[Entry]) -> bool:
    """Return whether some lines tell at least as much of an entry as others do.

    An entry of which they tell nothing is not retold.
    """
    return _told(entry, by) >= max(_told(entry, rather_than), 1)


def _told(entry: Entry, lines: Iterable[Entry]) -> int:
    """Return how much of an entry the best of some lines has: words and messages."""
    words, sources = words_of(entry.text), set(entry.sources)
    return max(
        (
            len(words & words_of(each.text)) + len(sources.intersection(each.sources))
            for each in lines
        ),
        default=0,
    )


def folded(raw: str) -> str:
    """Return what a raw line says, for comparing."""
    return " ".join(fold(entry.text) for entry in entries_of(raw)) or fold(raw)


def forgotten_since(run: MemoryRun) -> set[str]:
    """Return what the person asked to forget after a run, folded (database).

    Also what had become a part of it: where a line of this run or a later one was
    forgotten, those that it took the place of are forgotten with it.
    """
    later = MemoryRun.objects.filter(
        Q(state=MemoryRun.State.APPLIED)
        | Q(state=MemoryRun.State.UNDONE) & ~Q(step=MemoryRun.Step.FORGET),
        persona=run.persona,
        created_at__gte=run.created_at,
    ).order_by("-created_at", "-id")
    gone: set[str] = set()
    for key, step, stored in later.values_list("pk", "step", "changes"):
        changes = from_json(stored)
        if step == MemoryRun.Step.FORGET:
            if key == run.pk:
                continue
            gone.update(folded(raw) for change in changes for raw in change.remove)
        elif gone:
            gone.update(_merged_into(gone, changes))
    return gone


def _merged_into(gone: set[str], changes: Sequence[Change]) -> Iterable[str]:
    """Yield which lines that a run removed went into lines that are forgotten."""
    added = [one for each in changes for one in entries_of("\n".join(each.add))]
    forgotten = [one for one in added if fold(one.text) in gone]
    others = [one for one in added if fold(one.text) not in gone]
    if not forgotten:
        return
    for change in changes:
        for entry in entries_of("\n".join(change.remove)):
            if is_retold(entry, forgotten, others):
                yield fold(entry.text)
