"""Restores one conversation of a leaving bundle, message for message."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Final

from accounts.inserts import Batch
from personas.home import bundle_shapes as shapes
from personas.home.bundle_ids import Ids
from personas.home.bundle_reader import BundleReader
from personas.models import Conversation, Message, Persona

BATCH: Final = 500


@dataclass(frozen=True, slots=True)
class Note:
    """A line that a message led to; the message by its id here, the run by its old."""

    message: uuid.UUID
    run: uuid.UUID
    line: str
    undone_at: datetime | None


def store_conversation(
    bundle: BundleReader, entry: str, persona: Persona, ids: Ids, notes: list[Note]
) -> int:
    """Store a conversation and its messages; return how many messages.

    Args:
        bundle: An open bundle.
        entry: Name of the conversation's JSON file in it, which was checked.
        persona: Who answers in it; its owner becomes the owner.
        ids: Has the ids that had to change.
        notes: Gets the notes of its messages; their runs are stored later.
    """
    head = bundle.head(entry, "conversation", shapes.ConversationHead)
    values = head.model_dump(exclude={"id", "persona", "shown", "created_at"})
    conversation = Conversation.objects.create(
        id=ids.of(head.id), owner=persona.owner, persona=persona, **values
    )
    count = 0
    items = bundle.items(entry, "messages", shapes.MessageShape)
    while batch := list(islice(items, BATCH)):
        _store(batch, conversation, ids, notes)
        count += len(batch)
    Conversation.objects.filter(pk=conversation.pk).update(
        created_at=head.created_at,
        current_message=None if head.shown is None else ids.of(head.shown),
    )
    return count


def _store(
    batch: Sequence[shapes.MessageShape],
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
                # May come later: databases look at it when the transaction ends.
                parent_id=None if each.parent is None else ids.of(each.parent),
                conversation=conversation,
                owner_id=conversation.owner_id,
                **values,
            )
        )
        notes += [Note(id, n.run, n.line, n.undone_at) for n in each.notes]
    Batch(rows).insert()
