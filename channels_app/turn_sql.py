"""The statements that every turn runs again and again, without composing them anew.

Between a message and its model call each tenth of a millisecond is felt, and what runs
in threads holds up the streams; the ORM would take three to ten times as long for these
and spend it on writing the same SQL again. Tables and conversions come from the models,
the names of the columns stand here: who renames a field changes both.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
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
_SAVE = f"""
UPDATE {_MESSAGES} SET text = %s, seams = COALESCE(%s, seams), alive_at = %s
WHERE id = %s AND state = '{Message.State.GENERATING.value}'
"""  # noqa: S608  nothing in it comes from outside


_UUID: UUIDField[Any, Any] = UUIDField()
_DATETIME: DateTimeField[Any, Any] = DateTimeField()


def _id(value: uuid.UUID | None) -> Any:
    return _UUID.get_db_prep_value(value, connection)


def _seams(value: Sequence[Mapping[str, Any]]) -> Any:
    field = Message._meta.get_field("seams")
    return field.get_db_prep_save(list(value), connection)


def _moment(value: datetime) -> Any:
    return _DATETIME.get_db_prep_value(value, connection)


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


def save_texts(
    texts: Mapping[uuid.UUID, tuple[str, Sequence[Mapping[str, Any]] | None]],
    *,
    now: datetime,
) -> None:
    """Save what answers that are still being written have so far.

    Each is a text and its seams; ``None`` leaves the seams as they are.
    """
    moment = _moment(now)
    rows = [
        (text, None if seams is None else _seams(seams), moment, _id(answer))
        for answer, (text, seams) in texts.items()
    ]
    with connection.cursor() as cursor:
        cursor.executemany(_SAVE, rows)
