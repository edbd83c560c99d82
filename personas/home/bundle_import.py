"""Restores a persona from a leaving bundle: files with history, memory, conversations.

Run ``take_persona`` in a transaction: it takes everything of a persona or raises. A
persona whose name the person has already is left as it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

from django.core.exceptions import ValidationError
from django.db.models import Model

from accounts.models import User
from personas.files import MAX_FILE_BYTES, MAX_FILES
from personas.home import bundle_shapes as shapes
from personas.home.bundle_chats import Note, take_conversation
from personas.home.bundle_ids import Ids
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


def take_persona(
    bundle: BundleReader, user: User, name: str, ids: Ids
) -> Counter[str] | None:
    """Restore one persona; return how much there was, or ``None`` if it is there.

    Args:
        bundle: An open bundle.
        user: Whose persona it becomes.
        name: One of ``persona_names``.
        ids: Gets the ids that had to change.

    Raises:
        BadEntry: Something cannot be taken; the caller's transaction must end.
    """
    if personas_visible_to(user).filter(name=name).exists():
        return None
    if personas_visible_to(user).count() >= MAX_PERSONAS:
        raise BadEntry(f"A person has at most {MAX_PERSONAS} personas.")
    folder = f"personas/{name}"
    shape = bundle.object(f"{folder}/persona.json", shapes.PersonaShape)
    if shape.name != name:
        raise BadEntry(f"{folder}/persona.json names another persona.")
    counts: Counter[str] = Counter()
    persona = _persona(shape, user, folder)
    notes: list[Note] = []
    for entry in bundle.names(f"{folder}/conversations/"):
        if entry.endswith(".json"):
            taken = take_conversation(bundle, entry, persona, ids, notes)
            counts.update(conversations=1, messages=taken)
    counts["memory_runs"] = _take_runs(bundle, folder, persona, ids, notes)
    counts["files"] = len(shape.files)
    counts["revisions"] = _take_files(bundle, folder, persona, shape, ids)
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


def _take_runs(
    bundle: BundleReader, folder: str, persona: Persona, ids: Ids, notes: list[Note]
) -> int:
    entry = f"{folder}/memory_runs.json"
    found = list(bundle.items(entry, "runs", shapes.RunShape))
    known = {run.id for run in found}
    if len(known) < len(found):
        raise BadEntry(f"{entry} holds a run twice.")
    if any(note.run not in known for note in notes):
        raise BadEntry(f"{entry} lacks a run that a message names.")
    for start in range(0, len(found), BATCH):
        part = found[start : start + BATCH]
        ids.make_room(MemoryRun, [run.id for run in part])
        rows = [_run(run, persona, ids) for run in part]
        _create_at(rows, "created_at", [run.created_at for run in part])
    MemoryNote.objects.bulk_create(
        (
            MemoryNote(
                run_id=ids.of(note.run),
                message_id=note.message,
                line=ids.relinked(note.line),
                undone_at=note.undone_at,
            )
            for note in notes
        ),
        batch_size=BATCH,
    )
    return len(found)


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


def _take_files(
    bundle: BundleReader,
    folder: str,
    persona: Persona,
    shape: shapes.PersonaShape,
    ids: Ids,
) -> int:
    """Store the files and all their versions; return how many versions."""
    _check_names(bundle, folder, shape)
    files: dict[str, PersonaFile] = {}
    for each in shape.files:
        text = _text(bundle.text(f"{folder}/files/{each.name}"), each.name)
        values = each.model_dump(exclude={"updated_at"})
        files[each.name] = PersonaFile(
            persona=persona, text=ids.relinked(text), **values
        )
    moments = [each.updated_at for each in shape.files]
    _create_at(list(files.values()), "updated_at", moments)
    return _take_history(bundle, folder, files, ids)


def _take_history(
    bundle: BundleReader, folder: str, files: dict[str, PersonaFile], ids: Ids
) -> int:
    """Store all versions of the files; raises ``BadEntry`` where they do not fit."""
    entry = f"{folder}/history.json"
    last = dict.fromkeys(files, "")
    numbers: Counter[str] = Counter()
    for part in _parts(bundle, entry):
        for each in part:
            numbers[each.file] += 1
            if each.file not in files or each.number != numbers[each.file]:
                raise BadEntry(f"{entry} has a gap.")
            last[each.file] = ids.relinked(_text(each.text, each.file))
        rows = [_revision(each, bundle, files, ids) for each in part]
        _create_at(rows, "created_at", [each.when for each in part])
    for name, file in files.items():
        if (file.revision, file.text) != (numbers[name], last[name]):
            raise BadEntry(f"{entry} does not end with {name} as it is.")
    return numbers.total()


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


def _parts(bundle: BundleReader, entry: str) -> Iterator[list[shapes.RevisionShape]]:
    """Yield the versions a few at a time: each may be as long as a file."""
    part: list[shapes.RevisionShape] = []
    for each in bundle.items(entry, "revisions", shapes.RevisionShape):
        part.append(each)
        if len(part) == BATCH:
            yield part
            part = []
    if part:
        yield part


def _check_names(bundle: BundleReader, folder: str, shape: shapes.PersonaShape) -> None:
    names = [each.name for each in shape.files]
    there = [
        n.removeprefix(f"{folder}/files/") for n in bundle.names(f"{folder}/files/")
    ]
    if sorted(names) != there:
        raise BadEntry(f"{folder}/persona.json names other files than there are.")
    if len({name.casefold() for name in names}) < len(names):
        raise BadEntry(f"{folder}/files/ holds two names that look the same.")
    if len(names) > MAX_FILES:
        raise BadEntry(f"{folder}/files/ holds more than {MAX_FILES} files.")


def _text(text: str, name: str) -> str:
    if "\0" in text:
        raise BadEntry(f"{name} contains a zero character, which is not text.")
    if len(text.encode()) > MAX_FILE_BYTES:
        raise BadEntry(f"{name} has more than {MAX_FILE_BYTES // 1024} KB.")
    return text


def _create_at(rows: list[Any], field: str, moments: list[datetime]) -> None:
    """Create rows and give them their own times instead of that of this moment."""
    if not rows:
        return
    model: type[Model] = type(rows[0])
    model._default_manager.bulk_create(rows)
    for row, moment in zip(rows, moments, strict=True):
        setattr(row, field, moment)
    model._default_manager.bulk_update(rows, [field])
