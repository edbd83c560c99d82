"""What stands beside a message that led to a line of the memory."""

from __future__ import annotations

import uuid
from collections.abc import Collection
from dataclasses import dataclass

from accounts.models import User
from personas.conversations import messages_visible_to
from personas.files import MEMORY_FILES
from personas.memory.lines import entries_of, fold
from personas.models import MemoryNote, MemoryRun, PersonaFile


@dataclass(frozen=True, slots=True)
class Note:
    """One line that was remembered because of a message."""

    id: int
    text: str
    """What the line says, without its date and marks."""


def notes_of(
    user: User, message_ids: Collection[uuid.UUID]
) -> dict[uuid.UUID, list[Note]]:
    """Return the notes of some of the person's messages, by one query or two.

    A line that was taken back, or is in no file of the memory any more, has none.
    """
    rows = list(
        MemoryNote.objects.filter(
            message__in=messages_visible_to(user).filter(pk__in=message_ids),
            undone_at=None,
            run__state=MemoryRun.State.APPLIED,
            run__persona__owner=user,
        ).values_list("pk", "message_id", "line", "run__persona_id")
    )
    if not rows:
        return {}
    known = _known({persona for *_, persona in rows})
    notes: dict[uuid.UUID, list[Note]] = {}
    for id, message, line, persona in rows:
        for entry in entries_of(line)[:1]:
            if (persona, fold(entry.text)) in known:
                notes.setdefault(message, []).append(Note(id, entry.text))
    return notes


def _known(personas: Collection[int]) -> set[tuple[int, str]]:
    """Return what the memories of personas say, folded, each with its persona."""
    files = PersonaFile.objects.filter(persona__in=personas, name__in=MEMORY_FILES)
    return {
        (persona, fold(entry.text))
        for persona, text in files.values_list("persona_id", "text")
        for entry in entries_of(text)
    }
