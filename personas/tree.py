"""The tree of messages of a conversation, walked inside the database.

A branch is the path from one message up to its root. It is followed by a recursive
query over primary keys, so that its cost depends on the branch alone: a few
milliseconds for 2,000 messages, however many other branches there are.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import connection
from django.db.models import QuerySet, UUIDField

from personas.models import Conversation, Message

# Both SQLite and PostgreSQL read this; the parameters are leaf, conversation and limit.
_PATH = """
WITH RECURSIVE path (id, parent_id, depth) AS (
    SELECT id, parent_id, 1 FROM personas_message
    WHERE id = %s AND conversation_id = %s
    UNION ALL
    SELECT above.id, above.parent_id, path.depth + 1
    FROM path JOIN personas_message AS above ON above.id = path.parent_id
    WHERE path.depth < %s
)
"""
_MESSAGES = f"""{_PATH}
SELECT message.* FROM path JOIN personas_message AS message ON message.id = path.id
ORDER BY path.depth DESC
"""  # noqa: S608 – joined from constants
# A message that was deleted keeps its place: others stand below it.
_TEXTS = f"""{_PATH}
SELECT message.role,
  CASE WHEN message.deleted_at IS NULL THEN message.text ELSE '' END,
  message.author_name, message.from_guest
FROM path JOIN personas_message AS message ON message.id = path.id
ORDER BY path.depth DESC
"""  # noqa: S608 – joined from constants
_LENGTH = f"{_PATH} SELECT COUNT(*) FROM path"  # noqa: S608 – joined from constants


@dataclass(frozen=True, slots=True)
class PathText:
    """What a prompt needs of one message."""

    role: str
    text: str
    author_name: str = ""
    """Who wrote it, where others write too."""
    from_guest: bool = False
    """Somebody else than the owner wrote it."""


def _parameters(
    conversation: Conversation, leaf_id: uuid.UUID, limit: int
) -> list[str | int | uuid.UUID]:
    as_key = UUIDField().get_db_prep_value
    return [as_key(leaf_id, connection), as_key(conversation.pk, connection), limit]


def path_to(
    conversation: Conversation, leaf_id: uuid.UUID, *, limit: int
) -> list[Message]:
    """Return the last messages of the branch that ends with a message.

    One query. At most ``limit`` messages, oldest first; none when the message is not
    of this conversation. Deleted ones come without a word of theirs.
    """
    parameters = _parameters(conversation, leaf_id, limit)
    messages = list(Message.objects.raw(_MESSAGES, parameters))
    for message in messages:
        if message.deleted_at is not None:
            message.text = message.author_name = message.reason = ""
            message.seams = []
    return messages


def path_texts(
    conversation: Conversation, leaf_id: uuid.UUID, *, limit: int
) -> list[PathText]:
    """Return the same as plain values, since a prompt reads many and needs little.

    What was deleted has an empty text.
    """
    with connection.cursor() as cursor:
        cursor.execute(_TEXTS, _parameters(conversation, leaf_id, limit))
        return [PathText(*row) for row in cursor.fetchall()]


def path_length(conversation: Conversation, leaf_id: uuid.UUID, *, limit: int) -> int:
    """Return how many messages the branch has, counting no further than ``limit``."""
    with connection.cursor() as cursor:
        cursor.execute(_LENGTH, _parameters(conversation, leaf_id, limit))
        (length,) = cursor.fetchone()
    return int(length)


def mark_siblings(conversation: Conversation, messages: Sequence[Message]) -> None:
    """Fill in ``sibling_ids`` of each message; one query, or two at the root."""
    parents = {message.parent_id for message in messages}
    found = list(_children(Message.objects.filter(parent_id__in=parents - {None})))
    if None in parents:
        found += _children(conversation.messages.filter(parent=None))
    # Sorted here: an order in the query tempts SQLite to scan the whole conversation.
    by_parent: dict[uuid.UUID | None, list[uuid.UUID]] = {}
    for _, message_id, parent_id in sorted(found, key=lambda row: row[:2]):
        by_parent.setdefault(parent_id, []).append(message_id)
    for message in messages:
        message.sibling_ids = tuple(by_parent.get(message.parent_id, (message.id,)))


def _children(
    messages: QuerySet[Message],
) -> QuerySet[Message, tuple[datetime, uuid.UUID, uuid.UUID | None]]:
    return messages.order_by().values_list("created_at", "id", "parent_id")


def newest_leaf_below(conversation: Conversation, message_id: uuid.UUID) -> uuid.UUID:
    """Follow the newest child from a message down to a leaf; one query."""
    rows: Iterable[tuple[uuid.UUID | None, uuid.UUID]] = conversation.messages.order_by(
        "created_at", "id"
    ).values_list("parent_id", "id")
    # Later rows win, so each parent keeps its newest child.
    newest_child = dict(rows)
    leaf = message_id
    while leaf in newest_child:
        leaf = newest_child[leaf]
    return leaf
