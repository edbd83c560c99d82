"""Restores a persona from a leaving bundle: files with history, memory, conversations.

``store_persona`` belongs into a transaction: it stores everything of a persona or
raises. What it stores was read and checked before, see ``bundle_plan``.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from itertools import islice
from typing import Any, Final

from django.core.exceptions import ValidationError
from django.db.models import Model

from accounts.models import User
from personas.home import bundle_shapes as shapes
from personas.home.bundle_chats import Note, store_conversation
from personas.home.bundle_ids import Ids
from personas.home.bundle_plan import Plan, revisions_of
from personas.home.bundle_reader import BadEntry, BundleReader
from personas.memory.changes import Change, as_json
from personas.models import (
    FileRevision,
    MemoryNote,
    MemoryRun,
    MemorySettings,
    Persona,
    PersonaFile,
)
from personas.personas import MAX_PERSONAS, personas_visible_to

BATCH: Final = 200


def persona_names(bundle: BundleReader) -> list[str]:
    """Return the names of the personas in a bundle."""
    return sorted({name.split("/")[1] for name in bundle.names("personas/")})


def store_persona(
    bundle: BundleReader, user: User, plan: Plan, ids: Ids
) -> Counter[str]:
    """Store a persona that was read; return how much there was.

    Args:
        bundle: The bundle from which it was read.
        user: Whose persona it becomes.
        plan: From ``bundle_plan.read_persona``.
        ids: Has the ids that had to change.

    Raises:
        BadEntry: It cannot be taken; the caller's transaction must end.
    """
    if personas_visible_to(user).count() >= MAX_PERSONAS:
        raise BadEntry(f"A person has at most {MAX_PERSONAS} personas.")
    counts: Counter[str] = Counter()
    persona = _persona(plan.shape, user, plan.folder)
    notes: list[Note] = []
    for entry in plan.chats:
        stored = store_conversation(bundle, entry, persona, ids, notes)
        counts.update(conversations=1, messages=stored)
    counts["memory_runs"] = _store_runs(bundle, plan, persona, ids)
    _store_notes(notes, ids)
    counts["files"] = len(plan.shape.files)
    counts["revisions"] = _store_files(bundle, plan, persona, ids)
    return counts


def _persona(shape: shapes.PersonaShape, user: User, folder: str) -> Persona:
    values = shape.model_dump(exclude={"memory", "files", "created_at"})
    persona = Persona(owner=user, **values)
    try:
        persona.full_clean(validate_constraints=False)
    except ValidationError as error:
        raise BadEntry(f"{folder}/persona.json: {' '.join(error.messages)}") from None
    persona.save()
    Persona.objects.filter(pk=persona.pk).update(created_at=shape.created_at)
    if shape.memory is not None:
        MemorySettings.objects.create(persona=persona, **shape.memory.model_dump())
    return persona


# --- memory -------------------------------------------------------------------


def _store_runs(bundle: BundleReader, plan: Plan, persona: Persona, ids: Ids) -> int:
    items = bundle.items(f"{plan.folder}/memory_runs.json", "runs", shapes.RunShape)
    count = 0
    while part := list(islice(items, BATCH)):
        rows = [_run(run, persona, ids) for run in part]
        _create_at(rows, "created_at", [run.created_at for run in part])
        count += len(part)
    return count


def _store_notes(notes: list[Note], ids: Ids) -> None:
    rows = (
        MemoryNote(
            run_id=ids.of(note.run),
            message_id=note.message,
            line=ids.relinked(note.line),
            undone_at=note.undone_at,
        )
        for note in notes
    )
    MemoryNote.objects.bulk_create(rows, batch_size=BATCH)


def _run(shape: shapes.RunShape, persona: Persona, ids: Ids) -> MemoryRun:
    values = shape.model_dump(exclude={"id", "changes", "created_at"})
    changes = as_json(
        Change(
            change.file,
            tuple(map(ids.relinked, change.remove)),
            tuple(map(ids.relinked, change.add)),
            change.revision,
        )
        for change in shape.changes
    )
    return MemoryRun(id=ids.of(shape.id), persona=persona, changes=changes, **values)


# --- files --------------------------------------------------------------------


def _store_files(bundle: BundleReader, plan: Plan, persona: Persona, ids: Ids) -> int:
    """Store the files and all their versions; return how many versions."""
    files: dict[str, PersonaFile] = {}
    for each in plan.shape.files:
        text = bundle.text(f"{plan.folder}/files/{each.name}")
        values = each.model_dump(exclude={"updated_at"})
        files[each.name] = PersonaFile(
            persona=persona, text=ids.relinked(text), **values
        )
    moments = [each.updated_at for each in plan.shape.files]
    _create_at(list(files.values()), "updated_at", moments)
    count, versions = 0, revisions_of(bundle, plan.folder)
    while part := list(islice(versions, BATCH)):
        rows = [_revision(each, bundle, files, ids) for each in part]
        _create_at(rows, "created_at", [each.when for each in part])
        count += len(part)
    return count


def _revision(
    shape: shapes.RevisionShape,
    bundle: BundleReader,
    files: dict[str, PersonaFile],
    ids: Ids,
) -> FileRevision:
    file = files[shape.file]
    by_owner = shape.who == bundle.manifest.user_name
    return FileRevision(
        file=file,
        number=shape.number,
        text=ids.relinked(shape.text),
        author=file.persona.owner if by_owner else None,
        reason=shape.why,
    )


def _create_at(rows: list[Any], field: str, moments: list[datetime]) -> None:
    """Create rows and give them their own times instead of that of this moment."""
    if not rows:
        return
    model: type[Model] = type(rows[0])
    model._default_manager.bulk_create(rows)
    for row, moment in zip(rows, moments, strict=True):
        setattr(row, field, moment)
    model._default_manager.bulk_update(rows, [field])
