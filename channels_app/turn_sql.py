"""The statements that every turn runs again and again, without composing them anew.

Between a message and its model call each tenth of a millisecond is felt, and what runs
in threads holds up the streams; the ORM would take three to ten times as long for these
and spend it on writing the same SQL again. Tables and conversions come from the models,
the names of the columns stand here: who renames a field changes both.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from django.db import connection, transaction
from django.db.models import DateTimeField, UUIDField

from personas.models import Conversation, Message

_NORMAL = 1
"""SQLite's level that syncs at checkpoints only; 2 is FULL."""
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
UPDATE {_MESSAGES} SET text = %s, alive_at = %s
WHERE id = %s AND state = '{Message.State.GENERATING.value}'
"""  # noqa: S608  nothing in it comes from outside


_UUID: UUIDField[Any, Any] = UUIDField()
_DATETIME: DateTimeField[Any, Any] = DateTimeField()


def _id(value: uuid.UUID | None) -> Any:
    return _UUID.get_db_prep_value(value, connection)


def _moment(value: datetime) -> Any:
    return _DATETIME.get_db_prep_value(value, connection)


@contextmanager
def quick_transaction() -> Iterator[None]:
    """Commit without waiting for the disk; the next usual commit makes it durable.

    For the start of a turn that is the ledger's reservation, which always comes before
    the network call. A crash of the process loses nothing; a power cut in between
    loses a message that nobody has seen answered.
    Source: SQLite's page on ``PRAGMA synchronous``; PostgreSQL's on
    ``synchronous_commit``.
    """
    if connection.in_atomic_block:
        with transaction.atomic():
            yield
        return
    sqlite = connection.vendor == "sqlite"
    level = _synchronous() if sqlite else 0
    if level > _NORMAL:
        _set_synchronous(_NORMAL)
    try:
        with transaction.atomic():
            if connection.vendor == "postgresql":
                with connection.cursor() as cursor:
                    cursor.execute("SET LOCAL synchronous_commit TO off")
            yield
    finally:
        if level > _NORMAL:
            _set_synchronous(level)


def _synchronous() -> int:
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA synchronous")
        return int(cursor.fetchone()[0])


def _set_synchronous(level: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"PRAGMA synchronous={level}")


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


def save_texts(texts: Mapping[uuid.UUID, str], *, now: datetime) -> None:
    """Save what answers that are still being written have so far."""
    moment = _moment(now)
    rows = [(text, moment, _id(answer)) for answer, text in texts.items()]
    with connection.cursor() as cursor:
        cursor.executemany(_SAVE, rows)
