"""Writes with one statement that many tasks were done; for PostgreSQL.

There each statement is a way to the server and back, and a thread that comes back
waits for its turn. The conditions are those of ``channels_app.jobs.leases``, which
alone calls this.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from django.db import connection

from channels_app.models import QueuedTask

_TYPES: Final = {
    "result": "text",
    "error_code": "text",
    "error": "text",
    "model": "text",
    "input_tokens": "bigint",
    "output_tokens": "bigint",
    "cost_nano_usd": "bigint",
    "conversation_id": "uuid",
}
"""Columns that differ from task to task, and their types."""
_STATE: Final = QueuedTask.State
_WRITE: Final = f"""
UPDATE {QueuedTask._meta.db_table} AS task
SET state = '{_STATE.DONE.value}', finished_at = clock_timestamp(), lease_until = NULL,
  cancel_asked = false,
  {", ".join(f"{name} = done.{name}" for name in _TYPES)}
FROM unnest(%s::uuid[], %s::integer[],
  {", ".join(f"%s::{kind}[]" for kind in _TYPES.values())}
) AS done(id, attempts, {", ".join(_TYPES)})
WHERE task.id = done.id AND task.attempts = done.attempts
  AND task.state = '{_STATE.PROCESSING.value}'
RETURNING task.id, task.finished_at
"""  # noqa: S608  nothing in it comes from outside


def write_done(
    tasks: Sequence[QueuedTask], fields: Sequence[Mapping[str, Any]]
) -> dict[uuid.UUID, datetime]:
    """Note that ``tasks`` were done, each with its fields.

    Returns when each of them ended; one whose lease was lost is not there.
    """
    keys: list[Any] = [[task.pk for task in tasks], [task.attempts for task in tasks]]
    columns = [[row[name] for row in fields] for name in _TYPES]
    with connection.cursor() as cursor:
        cursor.execute(_WRITE, keys + columns)
        return dict(cursor.fetchall())
