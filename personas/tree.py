"""The tree of messages of a conversation, walked inside the database.

A branch is the path from one message up to its root. It is followed by a recursive
query over primary keys, so that its cost depends on the branch alone: a few
milliseconds for 2,000 messages, however many other branches there are.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence

from django.db import connection
from django.db.models import UUIDField

from personas.models import Conversation, Message

# Both SQLite and PostgreSQL read this; the only parameters are the leaf and the limit.
_PATH = """
WITH RECURSIVE path (id, parent_id, depth) AS (
    SELECT id, parent_id, 0 FROM personas_message WHERE id = %s
    UNION ALL
    SELECT above.id, above.parent_id, path.depth + 1
    FROM path JOIN personas_message AS above ON above.id = path.parent_id
)
SELECT message.*, (SELECT COUNT(*) FROM path) AS path_length
FROM path JOIN personas_message AS message ON message.id = path.id
WHERE path.depth < %s
ORDER BY path.depth DESC
"""


def path_to(leaf_id: uuid.UUID, *, limit: int) -> tuple[list[Message], int]:
    """Return the last messages of the branch that ends with a message.

    One query. Returns at most ``limit`` messages, oldest first, and the length of
    the whole branch; an unknown message gives an empty branch.
    """
    key = UUIDField().get_db_prep_value(leaf_id, connection)
    messages = list(Message.objects.raw(_PATH, [key, limit]))
    length = messages[0].path_length if messages else 0  # type: ignore[attr-defined]
    return messages, length


def mark_siblings(conversation: Conversation, messages: Sequence[Message]) -> None:
    """Fill in ``sibling_ids`` of each message; one query, or two at the root."""
    parents = {message.parent_id for message in messages}
    by_parent: dict[uuid.UUID | None, list[uuid.UUID]] = {}
    rows = conversation.messages.order_by("created_at", "id")
    found = list(
        rows.filter(parent_id__in=parents - {None}).values_list("parent_id", "id")
    )
    if None in parents:
        found += rows.filter(parent=None).values_list("parent_id", "id")
    for parent_id, message_id in found:
        by_parent.setdefault(parent_id, []).append(message_id)
    for message in messages:
        message.sibling_ids = tuple(by_parent.get(message.parent_id, (message.id,)))


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
