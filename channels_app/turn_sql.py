"""The statements that every start of a turn runs, without composing them anew.

Between a message and its model call each tenth of a millisecond is felt, and the ORM
spends most of its time on writing the same SQL again. Columns and values still come
from the models, so that a changed field needs no change here.
"""

from __future__ import annotations

import functools
import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.db import connection
from django.db.models import DateTimeField, UUIDField

from personas.models import Conversation, Message

_MESSAGES = Message._meta.db_table
_CONVERSATIONS = Conversation._meta.db_table
# The literal state lets the database use the index of answers being written.
_STATE = f"""
SELECT
  EXISTS (SELECT 1 FROM {_MESSAGES} WHERE id = %s AND conversation_id = %s),
  EXISTS (SELECT 1 FROM {_MESSAGES} WHERE state = '{Message.State.GENERATING.value}'
          AND alive_at > %s AND conversation_id = %s)
"""  # noqa: S608  nothing in it comes from outside
_TOUCH = f"""
UPDATE {_CONVERSATIONS} SET current_message_id = %s, last_active_at = %s WHERE id = %s
"""  # noqa: S608  nothing in it comes from outside


def _id(value: uuid.UUID | None) -> Any:
    return UUIDField().get_db_prep_value(value, connection)


def _moment(value: datetime) -> Any:
    return DateTimeField().get_db_prep_value(value, connection)


def touch_conversation(
    conversation: uuid.UUID, *, leaf: uuid.UUID, now: datetime
) -> None:
    """Let the shown branch end with ``leaf`` and the conversation be the newest."""
    with connection.cursor() as cursor:
        cursor.execute(_TOUCH, [_id(leaf), _moment(now), _id(conversation)])


def state_of_conversation(
    conversation: uuid.UUID, *, message: uuid.UUID | None, alive_since: datetime
) -> tuple[bool, bool]:
    """Say whether it holds ``message``, and whether an answer is being written."""
    of_it = _id(conversation)
    with connection.cursor() as cursor:
        cursor.execute(_STATE, [_id(message), of_it, _moment(alive_since), of_it])
        holds, busy = cursor.fetchone()
    return bool(holds), bool(busy)


@functools.cache
def _insert(rows: int) -> str:
    columns = [str(field.column) for field in Message._meta.concrete_fields]
    row = f"({', '.join(['%s'] * len(columns))})"
    names, values = ", ".join(columns), ", ".join([row] * rows)
    return f"INSERT INTO {_MESSAGES} ({names}) VALUES {values}"  # noqa: S608


def insert_messages(messages: Sequence[Message]) -> None:
    """Store new messages with one statement, parents before children."""
    values = [
        field.get_db_prep_save(getattr(message, field.attname), connection)
        for message in messages
        for field in Message._meta.concrete_fields
    ]
    with connection.cursor() as cursor:
        cursor.execute(_insert(len(messages)), values)
