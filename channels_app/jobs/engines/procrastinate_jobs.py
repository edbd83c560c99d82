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
from collections.abc import Iterator, Sequence
from typing import Any, Final

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
LINED_UP_AT_ONCE: Final = 500

# Several at once; the library's own function takes one at a time and leaves it there
# to be ended later, and each of that is a way to the server and back. Only the indexes
# of migration 0011 are in the order of "-priority" and without what is for later.
_TAKE: Final = """
DELETE FROM procrastinate_jobs WHERE id = ANY(ARRAY(
  SELECT id FROM procrastinate_jobs
  WHERE status = 'todo' AND queue_name = %s AND scheduled_at IS NULL
  ORDER BY -priority, id LIMIT %s FOR UPDATE SKIP LOCKED
)) RETURNING -priority, id, args ->> 'task'
"""
_TAKE_DUE: Final = """
DELETE FROM procrastinate_jobs WHERE id = ANY(ARRAY(
  SELECT id FROM procrastinate_jobs
  WHERE status = 'todo' AND queue_name = %s AND scheduled_at <= now()
  ORDER BY scheduled_at LIMIT %s FOR UPDATE SKIP LOCKED
)) RETURNING args ->> 'task'
"""
_ROUND: Final = """
SELECT -priority FROM procrastinate_jobs
WHERE status = 'todo' AND scheduled_at IS NULL ORDER BY -priority LIMIT 1
"""
_WITHOUT_JOB: Final = f"""
NOT EXISTS (
  SELECT FROM procrastinate_jobs AS job
  WHERE job.status = 'todo' AND job.queue_name = %s
    AND job.args ->> 'task' = {QueuedTask._meta.db_table}.id::text
)
"""


def defer(tasks: Sequence[QueuedTask]) -> None:
    """Defer a job for each of ``tasks``, which are saved and wait.

    What is for later gets its place in its owner's line when its time has come.
    """
    if tasks:
        _line_up()  # they stand before these
        _defer(tasks)


def _defer(tasks: Sequence[QueuedTask]) -> None:
    now = clock_now()
    due = [task for task in tasks if task.not_before <= now]
    later = [task for task in tasks if task.not_before > now]
    jobs = [_job(task, -number) for task, number in zip(due, _rounds(due), strict=True)]
    jobs += [_job(task, 0, scheduled_at=task.not_before) for task in later]
    if jobs:
        django_side.job_manager.batch_defer_jobs(jobs)


def _job(task: QueuedTask, priority: int, **fields: Any) -> Job:
    return Job(
        queue=QUEUE,
        task_name=TASK,
        lock=None,
        queueing_lock=None,
        priority=priority,
        task_kwargs={"task": str(task.pk)},
        **fields,
    )


def _rounds(tasks: Sequence[QueuedTask]) -> Iterator[int]:
    """Give each task its round: people's lines take turns, one task in each round.

    So a thousand tasks of one person hold up others by one task and not a thousand.
    """
    if not tasks:
        return
    with connection.cursor() as cursor:
        cursor.execute(_ROUND)
        first = cursor.fetchone()
    current = first[0] if first else 0
    up_to_these = QueuedTask.objects.filter(
        owner__in={task.owner_id for task in tasks},
        state=QueuedTask.State.PENDING,
        not_before__lte=max(task.not_before for task in tasks),
    )
    counts = up_to_these.order_by().values_list("owner").annotate(Count("pk"))
    places = Counter(dict(counts))
    places -= Counter(task.owner_id for task in tasks)
    for task in tasks:
        yield current + places[task.owner_id]
        places[task.owner_id] += 1


def take(worker: str, limit: int) -> list[QueuedTask]:
    """Take up to ``limit`` due jobs away and claim their rows, in one transaction.

    The job of a row that waits no longer (cancelled, claimed, gone) ends silently.
    """
    with quick_transaction():
        _line_up()
        while jobs := _taken(limit):
            claimed = {task.pk: task for task in leases.claim_these(worker, jobs)}
            if claimed:
                return [claimed[pk] for pk in jobs if pk in claimed]
    return []


def _line_up() -> None:
    """Give what was for later, and is due now, its place in its owner's line.

    Not sooner: a thousand tasks for the same moment would all come at once.
    """
    with connection.cursor() as cursor:
        cursor.execute(_TAKE_DUE, [QUEUE, LINED_UP_AT_ONCE])
        ids = [task for (task,) in cursor.fetchall()]
    if ids:
        waiting = QueuedTask.objects.filter(pk__in=ids, state=QueuedTask.State.PENDING)
        _defer(list(waiting.order_by("not_before", "pk")))


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
