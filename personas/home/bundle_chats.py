"""Restores one conversation of a leaving bundle, message for message."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Final

from personas.home import bundle_shapes as shapes
from personas.home.bundle_ids import Ids
from personas.home.bundle_reader import BadEntry, BundleReader
from personas.home.report import shown
from personas.models import Conversation, Message, Persona

BATCH: Final = 500


@dataclass(frozen=True, slots=True)
class Note:
    """A line that a message led to; the message by its id here, the run by its old."""

    message: uuid.UUID
    run: uuid.UUID
    line: str
    undone_at: datetime | None


def take_conversation(
    bundle: BundleReader, entry: str, persona: Persona, ids: Ids, notes: list[Note]
) -> int:
    """Store a conversation and its messages; return how many messages.

    Args:
        bundle: An open bundle.
        entry: Name of the conversation's JSON file in it.
        persona: Who answers in it; its owner becomes the owner.
        ids: Gets the ids that had to change.
        notes: Gets the notes of its messages; their runs are stored later.

    Raises:
        BadEntry: Something cannot be taken; the caller's transaction must end.
    """
    head = bundle.head(entry, "conversation", shapes.ConversationHead)
    ids.make_room(Conversation, [head.id])
    values = head.model_dump(exclude={"id", "persona", "shown", "created_at"})
    conversation = Conversation.objects.create(
        id=ids.of(head.id), owner=persona.owner, persona=persona, **values
    )
    parents: dict[uuid.UUID, uuid.UUID | None] = {}
    for batch in _batches(bundle.items(entry, "messages", shapes.MessageShape)):
        for each in batch:
            if each.id in parents:
                raise BadEntry(f"{shown(entry)} holds a message twice.")
            parents[each.id] = each.parent
        ids.make_room(Message, [each.id for each in batch])
        _store(batch, conversation, ids, notes)
    _relink_parents(conversation, parents, ids)
    if not _is_tree(parents) or head.shown not in {None, *parents}:
        raise BadEntry(f"The messages of {shown(entry)} do not hang together.")
    Conversation.objects.filter(pk=conversation.pk).update(
        created_at=head.created_at,
        current_message=None if head.shown is None else ids.of(head.shown),
    )
    return len(parents)


def _batches(
    items: Iterator[shapes.MessageShape],
) -> Iterator[list[shapes.MessageShape]]:
    while batch := list(islice(items, BATCH)):
        yield batch


def _store(
    batch: list[shapes.MessageShape],
    conversation: Conversation,
    ids: Ids,
    notes: list[Note],
) -> None:
    rows = []
    for each in batch:
        values = each.model_dump(exclude={"id", "parent", "notes"})
        id = ids.of(each.id)
        rows.append(
            Message(
                id=id,
                parent_id=None if each.parent is None else ids.of(each.parent),
                conversation=conversation,
                owner_id=conversation.owner_id,
                **values,
            )
        )
        notes += [Note(id, n.run, n.line, n.undone_at) for n in each.notes]
    Message.objects.bulk_create(rows)


def _relink_parents(
    conversation: Conversation,
    parents: Mapping[uuid.UUID, uuid.UUID | None],
    ids: Ids,
) -> None:
    """Correct messages that came before a parent whose id had to change."""
    for id, parent in parents.items():
        if parent is not None and parent in ids.changed:
            rows = conversation.messages.filter(pk=ids.of(id), parent=parent)
            rows.update(parent=ids.of(parent))


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
