"""Jobs of Procrastinate and rows of ours, which come and go together.

A job carries the id of a row and nothing else. It is deferred in the transaction that
lets the row wait, and taken away in the one that claims the row, so that neither is
there without the other: whatever dies, a waiting row has its job and a claimed one its
lease. Everything here is synchronous, on Django's connection.

Source: procrastinate/sql/schema.sql of version 3.10.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

from django.db import connection
from django.db.models import BooleanField, Count
from django.db.models.expressions import RawSQL
from procrastinate.contrib.django import app as django_side
from procrastinate.jobs import Job

from accounts.transactions import quick_transaction
from channels_app.jobs import leases
from channels_app.jobs.clock import now as clock_now
from channels_app.models import QueuedTask

QUEUE: Final = "cortex"
TASK: Final = "cortex.task"
SWEPT_AT_ONCE: Final = 500

# Several at once; the library's own function takes one at a time and leaves it there
# to be ended later, and each of that is a way to the server and back.
_TAKE: Final = """
DELETE FROM procrastinate_jobs WHERE id = ANY(ARRAY(
  SELECT id FROM procrastinate_jobs
  WHERE status = 'todo' AND queue_name = %s
    AND (scheduled_at IS NULL OR scheduled_at <= now())
  ORDER BY priority DESC, id LIMIT %s FOR UPDATE SKIP LOCKED
)) RETURNING -priority, id, args ->> 'task'
"""
_ROUND: Final = """
SELECT -MAX(priority) FROM procrastinate_jobs
WHERE status = 'todo' AND scheduled_at IS NULL
"""
_WITHOUT_JOB: Final = f"""
NOT EXISTS (
  SELECT FROM procrastinate_jobs AS job
  WHERE job.status = 'todo' AND job.queue_name = %s
    AND job.args ->> 'task' = {QueuedTask._meta.db_table}.id::text
)
"""


def defer(tasks: Sequence[QueuedTask]) -> None:
    """Defer a job for each of ``tasks``, which are saved and wait."""
    if not tasks:
        return
    now = clock_now()
    django_side.job_manager.batch_defer_jobs(
        [
            Job(
                queue=QUEUE,
                task_name=TASK,
                lock=None,
                queueing_lock=None,
                priority=-number,
                task_kwargs={"task": str(task.pk)},
                scheduled_at=task.not_before if task.not_before > now else None,
            )
            for task, number in zip(tasks, _rounds(tasks, now), strict=True)
        ]
    )


def _rounds(tasks: Sequence[QueuedTask], now: datetime) -> Iterable[int]:
    """Give each task its round: people's lines take turns, one task in each round.

    So a thousand tasks of one person hold up others by one task and not a thousand.
    """
    with connection.cursor() as cursor:
        cursor.execute(_ROUND)
        current = cursor.fetchone()[0] or 0
    waiting = QueuedTask.objects.filter(
        owner__in={task.owner_id for task in tasks},
        state=QueuedTask.State.PENDING,
        not_before__lte=now,
    )
    counts = waiting.order_by().values_list("owner").annotate(Count("pk"))
    places = Counter(dict(counts))
    places -= Counter(task.owner_id for task in tasks if task.not_before <= now)
    for task in tasks:
        yield current + places[task.owner_id]
        places[task.owner_id] += 1


def take(worker: str, limit: int) -> list[QueuedTask]:
    """Take up to ``limit`` due jobs away and claim their rows, in one transaction.

    The job of a row that waits no longer (cancelled, claimed, gone) ends silently.
    """
    with quick_transaction():
        while jobs := _taken(limit):
            claimed = {task.pk: task for task in leases.claim_these(worker, jobs)}
            if claimed:
                return [claimed[pk] for pk in jobs if pk in claimed]
    return []


def _taken(limit: int) -> list[uuid.UUID]:
    """Remove up to ``limit`` due jobs; return their rows' ids, the first ones first."""
    with connection.cursor() as cursor:
        cursor.execute(_TAKE, [QUEUE, limit])
        jobs = sorted(cursor.fetchall())
    return list(dict.fromkeys(uuid.UUID(task) for _, _, task in jobs))


def sweep() -> int:
    """Announce due rows that have no job; return how many.

    Such as those that waited when the installation moved here from SQLite.
    """
    waiting = QueuedTask.objects.filter(
        RawSQL(_WITHOUT_JOB, [QUEUE], BooleanField()),  # noqa: S611 -- ours alone
        state=QueuedTask.State.PENDING,
        not_before__lte=clock_now(),
    )
    with quick_transaction():
        tasks = list(waiting.order_by("not_before", "pk")[:SWEPT_AT_ONCE])
        defer(tasks)
    return len(tasks)
