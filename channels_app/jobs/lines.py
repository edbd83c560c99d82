"""Whose task is next: each person has a line of their own, and the lines take turns.

So a thousand tasks of one person hold up others by one task each round and not by a
thousand. Each process remembers for itself whom it served last; a process that starts
anew begins with whoever has waited longest.
"""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, Final

from django.db import connection
from django.db.models import DateTimeField

from channels_app.models import QueuedTask

_TASKS = QueuedTask._meta.db_table
_WAITING = f"state = '{QueuedTask.State.PENDING.value}'"
# One seek in the index of waiting tasks for each person who has some, however many.
_LINES: Final = f"""
WITH RECURSIVE line(owner_id) AS (
  SELECT (SELECT MIN(owner_id) FROM {_TASKS} WHERE {_WAITING})
  UNION ALL
  SELECT (SELECT MIN(owner_id) FROM {_TASKS}
          WHERE {_WAITING} AND owner_id > line.owner_id)
  FROM line WHERE line.owner_id IS NOT NULL
)
SELECT owner_id, first_at FROM (
  SELECT owner_id, (SELECT MIN(not_before) FROM {_TASKS}
    WHERE {_WAITING} AND owner_id = line.owner_id) AS first_at
  FROM line WHERE line.owner_id IS NOT NULL
) AS each_line
WHERE first_at <= %s
"""  # noqa: S608  nothing in it comes from outside
_HEADS: Final = f"""
SELECT id, owner_id, not_before FROM (
  SELECT id, owner_id, not_before FROM {_TASKS}
  WHERE owner_id = %s AND {_WAITING} AND not_before <= %s
  ORDER BY not_before, id LIMIT %s
) AS heads
"""  # noqa: S608  nothing in it comes from outside
_DATETIME: DateTimeField[Any, Any] = DateTimeField()

_served: dict[int, int] = {}
"""When this process last claimed a task of each person, in a count of its own."""
_count = itertools.count(1)


def lines_in_turn(now: datetime) -> list[int]:
    """Return who has tasks whose time has come, whoever was served longest ago first.

    One cheap query, without a lock.
    """
    with connection.cursor() as cursor:
        cursor.execute(_LINES, [_DATETIME.get_db_prep_value(now, connection)])
        found = cursor.fetchall()
    found.sort(key=lambda line: (_served.get(line[0], 0), line[1]))
    return [owner_id for owner_id, _ in found]


def served(owners: Iterable[int]) -> None:
    """Note whose tasks were claimed, in their order."""
    for owner_id in owners:
        _served[owner_id] = next(_count)


def due_heads(owners: Sequence[int], now: datetime, limit: int) -> list[uuid.UUID]:
    """Return up to ``limit`` tasks: the first of each line, the second of each, …"""
    moment = _DATETIME.get_db_prep_value(now, connection)
    query = " UNION ALL ".join([_HEADS] * len(owners))
    values = [value for owner in owners for value in (owner, moment, limit)]
    with connection.cursor() as cursor:
        cursor.execute(query, values)
        rows = cursor.fetchall()
    lines: dict[int, list[tuple[Any, Any]]] = {owner: [] for owner in owners}
    for pk, owner, not_before in rows:
        lines[owner].append((not_before, pk))
    rounds = itertools.zip_longest(*map(sorted, lines.values()))
    chosen = [head[1] for heads in rounds for head in heads if head is not None]
    return [pk if isinstance(pk, uuid.UUID) else uuid.UUID(pk) for pk in chosen[:limit]]
