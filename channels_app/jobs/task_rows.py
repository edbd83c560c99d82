"""The two statements by which tasks move on, for each of thousands.

Written out, because putting an UPDATE together anew takes Django longer than it takes
the database to do it.
"""

from __future__ import annotations

import functools
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Final

from django.db import connection

from channels_app.models import QueuedTask

_FIELDS: Final = {field.name: field for field in QueuedTask._meta.local_concrete_fields}
_FIELDS.update({field.attname: field for field in _FIELDS.values()})
_ID: Final = _FIELDS["id"]


def begin(ids: Sequence[uuid.UUID], fields: Mapping[str, Any]) -> None:
    """Let new attempts at tasks begin, which are locked in this transaction."""
    counted = "state = 'processing', attempts = attempts + 1, tries = tries + 1"
    which = f"id IN ({', '.join(['%s'] * len(ids))})"
    values = [_ID.get_db_prep_value(pk, connection) for pk in ids]
    _update(f"{_set(tuple(fields))}, {counted} WHERE {which}", fields, values)


def end_attempt(task: QueuedTask, fields: Mapping[str, Any]) -> bool:
    """Write what came of an attempt; ``False`` when it is not the current one."""
    which = "id = %s AND attempts = %s AND state = 'processing'"
    values = [_ID.get_db_prep_value(task.pk, connection), task.attempts]
    return _update(f"{_set(tuple(fields))} WHERE {which}", fields, values) == 1


def _update(rest: str, fields: Mapping[str, Any], values: Sequence[Any]) -> int:
    written = [
        _FIELDS[name].get_db_prep_save(value, connection)
        for name, value in fields.items()
    ]
    with connection.cursor() as cursor:
        cursor.execute(rest, [*written, *values])
        return int(cursor.rowcount)


@functools.cache
def _set(names: tuple[str, ...]) -> str:
    quoted = connection.ops.quote_name
    columns = [f"{quoted(_FIELDS[name].column)} = %s" for name in names]
    table = quoted(QueuedTask._meta.db_table)
    return f"UPDATE {table} SET {', '.join(columns)}"  # noqa: S608  our own names
