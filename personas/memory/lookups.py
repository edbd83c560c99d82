"""Which runs and notes a person may see: those of their own personas."""

from __future__ import annotations

import uuid

from django.db.models import QuerySet
from django.http import Http404

from accounts.models import User
from personas.models import MemoryNote, MemoryRun


def runs_visible_to(user: User) -> QuerySet[MemoryRun]:
    """Return the runs of the person's own personas, newest first, with the persona."""
    return MemoryRun.objects.filter(persona__owner=user).select_related("persona")


def get_run_for_user(user: User, id: uuid.UUID | str) -> MemoryRun:
    """Return one run; raises ``Http404``, also for something that is not an id."""
    try:
        key = id if isinstance(id, uuid.UUID) else uuid.UUID(str(id))
    except ValueError:
        key = None
    run = runs_visible_to(user).filter(pk=key).first() if key else None
    if run is None:
        raise Http404("There is no such change of a memory.")
    return run


def notes_visible_to(user: User) -> QuerySet[MemoryNote]:
    """Return the notes beside messages of the person, with run and persona."""
    return MemoryNote.objects.filter(
        run__persona__owner=user, message__conversation__owner=user
    ).select_related("run__persona")


def get_note_for_user(user: User, id: int | str) -> MemoryNote:
    """Return one note; raises ``Http404``, also for something that is not an id."""
    digits = str(id)
    note = None
    if digits.isascii() and digits.isdigit() and len(digits) < 19:
        note = notes_visible_to(user).filter(pk=int(digits)).first()
    if note is None:
        raise Http404("There is no such note.")
    return note
