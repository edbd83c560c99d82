"""A person's personas and conversations on their way into a leaving bundle.

Only what the person sees is written: nothing of others, nothing deleted. Temporary
conversations, which are meant to vanish, stay behind. Batches are small, so memory
hardly grows with the number of messages: a conversation costs two ids for each.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final, TypeVar

from django.utils.text import slugify

from accounts.models import User
from accounts.zones import zone_of
from personas.conversations import conversations_visible_to, messages_visible_to
from personas.home import bundle_shapes as shapes
from personas.home.bundle_texts import as_markdown
from personas.home.bundle_zip import BundleWriter
from personas.models import (
    Conversation,
    FileRevision,
    MemoryNote,
    MemoryRun,
    MemorySettings,
    Message,
    Persona,
)
from personas.personas import personas_visible_to

BATCH: Final = 500
_SLUG: Final = 40
S = TypeVar("S", bound=shapes.Shape)


def write_personas(writer: BundleWriter, user: User) -> None:
    """Write everything below ``personas/``."""
    for persona in personas_visible_to(user):
        folder = f"personas/{persona.name}"
        _write_files(writer, folder, persona)
        _write_runs(writer, folder, persona)
        chats = conversations_visible_to(user).filter(persona=persona, temporary=False)
        for conversation in chats.order_by("created_at", "id"):
            _write_conversation(writer, folder, conversation)
        writer.counts["personas"] += 1


# --- files and memory ---------------------------------------------------------


def _write_files(writer: BundleWriter, folder: str, persona: Persona) -> None:
    files = list(persona.files.order_by("name"))
    writer.put_object(f"{folder}/persona.json", _persona(persona, files))
    for file in files:
        writer.put(f"{folder}/files/{file.name}", file.text)
    writer.counts["files"] += len(files)
    writer.counts["revisions"] += writer.put_list(
        f"{folder}/history.json",
        head=("history", shapes.HistoryHead(persona=persona.name)),
        items=("revisions", _revisions(persona)),
    )


def _persona(persona: Persona, files: list[Any]) -> shapes.PersonaShape:
    memory = MemorySettings.objects.filter(persona=persona).first()
    return filled(
        shapes.PersonaShape,
        persona,
        memory=filled(shapes.MemorySettingsShape, memory) if memory else None,
        files=[filled(shapes.FileShape, file) for file in files],
    )


def _revisions(persona: Persona) -> Iterator[shapes.RevisionShape]:
    rows = FileRevision.objects.filter(file__persona=persona)
    rows = rows.select_related("file", "author").order_by("file__name", "number")
    for row in rows.iterator(chunk_size=50):
        yield shapes.RevisionShape.model_construct(
            file=row.file.name,
            number=row.number,
            who=row.author.username if row.author else None,
            when=row.created_at,
            why=row.reason,
            text=row.text,
        )


def _write_runs(writer: BundleWriter, folder: str, persona: Persona) -> None:
    rows = MemoryRun.objects.filter(persona=persona).order_by("created_at", "id")
    writer.counts["memory_runs"] += writer.put_list(
        f"{folder}/memory_runs.json",
        head=("memory", shapes.RunsHead(persona=persona.name)),
        items=(
            "runs",
            (filled(shapes.RunShape, row) for row in rows.iterator(chunk_size=BATCH)),
        ),
    )


# --- conversations ------------------------------------------------------------


@dataclass(slots=True)
class _Tree:
    """How the messages of a conversation hang together, without the deleted ones."""

    parents: dict[uuid.UUID, uuid.UUID | None] = field(default_factory=dict)
    deleted: set[uuid.UUID] = field(default_factory=set)
    newest: uuid.UUID | None = None

    def kept(self, id: uuid.UUID | None) -> uuid.UUID | None:
        """Return a message, or the nearest one above it that is not deleted."""
        while id is not None and id in self.deleted:
            id = self.parents[id]
        return id if id in self.parents else None

    def above(self, id: uuid.UUID) -> uuid.UUID | None:
        """Return the parent of a message, as far as it is kept."""
        return self.kept(self.parents.get(id))

    def path_to(self, id: uuid.UUID | None) -> list[uuid.UUID]:
        """Return the branch that ends with a message, the oldest first."""
        path = []
        while id is not None:
            path.append(id)
            id = self.above(id)
        return path[::-1]


def _tree(conversation: Conversation) -> _Tree:
    tree = _Tree()
    # Deleted messages too: what stands below one moves up to the next above it.
    rows = conversation.messages.order_by("created_at", "id")
    named = rows.values_list("id", "parent_id", "deleted_at")
    for id, parent, deleted_at in named.iterator(chunk_size=BATCH):
        tree.parents[id] = parent
        if deleted_at is None:
            tree.newest = id
        else:
            tree.deleted.add(id)
    return tree


def _write_conversation(
    writer: BundleWriter, folder: str, conversation: Conversation
) -> None:
    tree = _tree(conversation)
    shown = tree.kept(conversation.current_message_id) or tree.newest
    head = filled(
        shapes.ConversationHead,
        conversation,
        persona=conversation.persona.name,
        shown=shown,
    )
    base = _free_name(writer, f"{folder}/conversations", conversation)
    writer.counts["messages"] += writer.put_list(
        f"{base}.json",
        head=("conversation", head),
        items=("messages", _messages(conversation, tree)),
    )
    with writer.entry(f"{base}.md") as entry:
        zone = zone_of(conversation.owner)
        for piece in as_markdown(conversation, tree.path_to(shown), zone):
            entry.write(piece.encode())
    writer.counts["conversations"] += 1


def _free_name(writer: BundleWriter, folder: str, conversation: Conversation) -> str:
    """Return where a conversation goes: by its day and its first words."""
    slug = slugify(conversation.title)[:_SLUG].strip("-_") or "chat"
    day = f"{conversation.created_at:%Y-%m-%d}"
    for id in (conversation.pk.hex[:8], conversation.pk.hex):
        name = f"{folder}/{day}-{slug}-{id}"
        if not writer.has(f"{name}.json"):
            break
    return name


def _messages(conversation: Conversation, tree: _Tree) -> Iterator[shapes.MessageShape]:
    rows = messages_visible_to(conversation.owner).filter(
        conversation=conversation, deleted_at=None
    )
    # Plain values: a model's instance for each costs half as much time again.
    plain = rows.order_by("created_at", "id").values(*_STORED, "alive_at")
    source = plain.iterator(chunk_size=BATCH)
    while batch := list(islice(source, BATCH)):
        notes = _notes([row["id"] for row in batch])
        for row in batch:
            alive_at = row.pop("alive_at")
            if row["state"] == Message.State.GENERATING:
                # Where it goes to nobody will finish it.
                row["state"] = Message.State.INTERRUPTED.value
                row["finished_at"] = alive_at
            yield shapes.MessageShape.model_construct(
                **row, parent=tree.above(row["id"]), notes=notes.get(row["id"], [])
            )


_STORED: Final = [
    name for name in shapes.MessageShape.model_fields if name not in ("parent", "notes")
]
"""Fields of a message that go out as they are."""


def _notes(ids: list[uuid.UUID]) -> dict[uuid.UUID, list[shapes.NoteShape]]:
    found: dict[uuid.UUID, list[shapes.NoteShape]] = {}
    for note in MemoryNote.objects.filter(message__in=ids).order_by("id"):
        shape = shapes.NoteShape.model_construct(
            run=note.run_id, line=note.line, undone_at=note.undone_at
        )
        found.setdefault(note.message_id, []).append(shape)
    return found


def filled(kind: type[S], row: Any, **others: Any) -> S:
    """Fill a shape from the fields of a row that have its names.

    Nothing is checked: what stands in the database goes out as it is.
    """
    values = {
        name: others[name] if name in others else getattr(row, name)
        for name in kind.model_fields
    }
    return kind.model_construct(**values)
