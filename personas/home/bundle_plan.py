"""Reads a persona of a bundle to its end before anything of it is stored.

What has a fault is found here, while nobody has to wait for the database, and ids are
chosen here. Nothing is kept but names and ids: what is stored is read once more.
"""

from __future__ import annotations

import unicodedata
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Final

from personas.files import MAX_FILE_BYTES, MAX_FILES, STANDARD_FILES
from personas.home import bundle_shapes as shapes
from personas.home.bundle_ids import Ids
from personas.home.bundle_reader import BadEntry, BundleReader
from personas.home.report import shown
from personas.models import Conversation, MemoryRun, Message

BATCH: Final = 500
MOST_RUNS: Final = 100_000
"""Changes of one persona's memory."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A persona that can be stored."""

    name: str
    folder: str
    shape: shapes.PersonaShape
    chats: tuple[str, ...]
    """Names of the entries of its conversations."""


def read_persona(bundle: BundleReader, name: str, ids: Ids) -> Plan:
    """Read all of a persona, and choose ids for it; nothing is written.

    Args:
        bundle: An open bundle.
        name: The name of one of the folders below ``personas/``.
        ids: Gets the ids that have to change.

    Raises:
        BadEntry: Something cannot be taken.
    """
    folder = f"personas/{name}"
    shape = bundle.object(f"{folder}/persona.json", shapes.PersonaShape)
    if shape.name != name:
        raise BadEntry(f"{folder}/persona.json names another persona.")
    _check_files(bundle, folder, shape)
    runs = _read_runs(bundle, f"{folder}/memory_runs.json", ids)
    names = bundle.names(f"{folder}/conversations/")
    chats = tuple(entry for entry in names if entry.endswith(".json"))
    for entry in chats:
        named = _read_conversation(bundle, entry, ids)
        if not named <= runs:
            raise BadEntry(f"{folder}/memory_runs.json lacks a run that has a note.")
    return Plan(name, folder, shape, chats)


def _read_runs(bundle: BundleReader, entry: str, ids: Ids) -> set[uuid.UUID]:
    found: set[uuid.UUID] = set()
    items = bundle.items(entry, "runs", shapes.RunShape)
    while batch := [run.id for run in islice(items, BATCH)]:
        ids.make_room(MemoryRun, batch, entry)
        found.update(batch)
        if len(found) > MOST_RUNS:
            raise BadEntry(f"{entry} holds more than {MOST_RUNS:,} runs.")
    return found


def _read_conversation(bundle: BundleReader, entry: str, ids: Ids) -> set[uuid.UUID]:
    """Check a conversation; return the runs that its messages name."""
    head = bundle.head(entry, "conversation", shapes.ConversationHead)
    ids.make_room(Conversation, [head.id], entry)
    parents: dict[uuid.UUID, uuid.UUID | None] = {}
    runs: set[uuid.UUID] = set()
    items = bundle.items(entry, "messages", shapes.MessageShape)
    while batch := list(islice(items, BATCH)):
        ids.make_room(Message, [each.id for each in batch], entry)
        for each in batch:
            parents[each.id] = each.parent
            runs.update(note.run for note in each.notes)
    if not _is_tree(parents) or head.shown not in {None, *parents}:
        raise BadEntry(f"The messages of {shown(entry)} do not hang together.")
    return runs


def _is_tree(parents: Mapping[uuid.UUID, uuid.UUID | None]) -> bool:
    """Say whether every message leads up to a first one."""
    sound: set[uuid.UUID] = set()
    for start in parents:
        path: set[uuid.UUID] = set()
        id: uuid.UUID | None = start
        while id is not None and id not in sound:
            if id in path or id not in parents:
                return False
            path.add(id)
            id = parents[id]
        sound |= path
    return True


# --- files --------------------------------------------------------------------


def _check_files(bundle: BundleReader, folder: str, shape: shapes.PersonaShape) -> None:
    _check_names(bundle, folder, shape)
    texts = {
        each.name: _checked(bundle.text(f"{folder}/files/{each.name}"), each.name)
        for each in shape.files
    }
    entry = f"{folder}/history.json"
    last = dict.fromkeys(texts, "")
    numbers: Counter[str] = Counter()
    for each in revisions_of(bundle, folder):
        numbers[each.file] += 1
        if each.file not in texts or each.number != numbers[each.file]:
            raise BadEntry(f"{entry} has a gap.")
        last[each.file] = _checked(each.text, each.file)
    for file in shape.files:
        name = file.name
        if (file.revision, texts[name]) != (numbers[name], last[name]):
            raise BadEntry(f"{entry} does not end with {name} as it is.")


def revisions_of(bundle: BundleReader, folder: str) -> Iterator[shapes.RevisionShape]:
    """Yield the versions of a persona's files."""
    return bundle.items(f"{folder}/history.json", "revisions", shapes.RevisionShape)


def _check_names(bundle: BundleReader, folder: str, shape: shapes.PersonaShape) -> None:
    names = [each.name for each in shape.files]
    there = [
        n.removeprefix(f"{folder}/files/") for n in bundle.names(f"{folder}/files/")
    ]
    if sorted(names) != there:
        raise BadEntry(f"{folder}/persona.json names other files than there are.")
    alike = {*names, *STANDARD_FILES}
    if len({_look(name) for name in alike}) < len(alike):
        raise BadEntry(f"{folder}/files/ holds two names that look the same.")
    if len(names) > MAX_FILES:
        raise BadEntry(f"{folder}/files/ holds more than {MAX_FILES} files.")


def _look(name: str) -> str:
    """Return how a name looks, whatever its letters are made of."""
    return unicodedata.normalize("NFKC", name).casefold()


def _checked(text: str, name: str) -> str:
    if "\0" in text:
        raise BadEntry(f"{name} contains a zero character, which is not text.")
    if len(text.encode()) > MAX_FILE_BYTES:
        raise BadEntry(f"{name} has more than {MAX_FILE_BYTES // 1024} KB.")
    return text
