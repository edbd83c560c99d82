"""What is to be done later: queued with the data it belongs to, found, ended, repeated.

Everything here is synchronous and takes part in the caller's transaction: a task that
is rolled back was never there. Moving tasks on is ``channels_app.jobs.leases``.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.db import IntegrityError, transaction
from django.db.models import Count, Q, QuerySet
from django.http import Http404

from accounts.models import User
from channels_app.errors import TurnError
from channels_app.jobs import engines
from channels_app.jobs.clock import now as clock_now
from channels_app.jobs.costs import cost_of as cost_of
from channels_app.jobs.kinds import attempt_turn as attempt_turn
from channels_app.jobs.kinds import tell_ended
from channels_app.jobs.leases import PENDING, PROCESSING, State
from channels_app.models import QueuedTask, Schedule
from channels_app.turn_run import storable
from personas.models import Conversation, Persona

MAX_OPEN: Final = 1000
"""Tasks of one person that wait or run at the same moment."""
KEY_LENGTH: Final = 200
BATCH: Final = 500
"""Rows of one INSERT, where many tasks are queued at once."""
OPEN: Final = frozenset({State.PENDING, State.PROCESSING})
MAY_RETRY: Final = frozenset({State.FAILED, State.DEAD, State.CANCELLED})
_DONE: Final = "This task is done; queue it again as a new one."


class QueueRefused(TurnError):
    """The queue did not do what was asked; ``code`` is conflict or too_many."""


@dataclass(frozen=True, slots=True)
class NewTask:
    """A task to be queued."""

    text: str
    kind: str = "task"
    persona: Persona | None = None
    tier: int | None = None
    cap_nano_usd: int | None = None
    source: str = "api"
    not_before: datetime | None = None
    idempotency_key: str = ""
    schedule: Schedule | None = None
    due_at: datetime | None = None
    late: bool = False
    by_hand: bool = False
    conversation: Conversation | None = None


# --- queueing -----------------------------------------------------------------


def enqueue(owner: User, new: NewTask) -> QueuedTask:
    """Queue a task and return its row; ``is_new`` says whether it was made just now.

    The same key of the same person, or the same time of a brief, finds the task that
    was queued before.

    Raises:
        QueueRefused: ``conflict`` for a key that stands for another text, ``too_many``
            when the person has ``MAX_OPEN`` open tasks.
    """
    with transaction.atomic():
        if (earlier := _earlier(owner, new)) is not None:
            return earlier
        check_room(owner)
        task = _stored(owner, new)
        if task.is_new:
            _announce([task])
    return task


def _stored(owner: User, new: NewTask) -> QueuedTask:
    """Store a task, or return the one that another process stored just before."""
    task = _row(owner, new, clock_now())
    try:
        with transaction.atomic():
            task.save(force_insert=True)
    except IntegrityError:
        if (earlier := _earlier(owner, new)) is not None:
            return earlier
        raise
    task.is_new = True
    return task


def enqueue_many(
    owner: User, tasks: Sequence[NewTask], *, most: int | None = MAX_OPEN
) -> list[QueuedTask]:
    """Queue tasks in their order, all or none; for imports.

    What a key or a brief's time finds is returned in its place. ``most``: how many open
    tasks the person may have afterwards; ``None`` = any number.

    Raises ``QueueRefused`` as ``enqueue`` does.
    """
    with transaction.atomic():
        now = clock_now()
        rows = [
            # Each is due a microsecond after the one before, which keeps their order.
            _earlier(owner, new) or _row(owner, new, now + place * timedelta.resolution)
            for place, new in enumerate(tasks)
        ]
        fresh = [row for row in rows if row._state.adding]
        if most is not None:
            check_room(owner, len(fresh), most)
        try:
            with transaction.atomic():
                QueuedTask.objects.bulk_create(fresh, batch_size=BATCH)
        except IntegrityError:  # another process was quicker, or a key stands twice
            rows = [
                _stored(owner, new) if row._state.adding else row
                for row, new in zip(rows, tasks, strict=True)
            ]
            fresh = [row for row in rows if row.is_new]
        for row in fresh:
            row.is_new = True
        _announce(fresh)
    return rows


def check_room(owner: User, more: int = 1, most: int | None = None) -> None:
    """Refuse with ``too_many`` when a person has no room for ``more`` open tasks."""
    most = MAX_OPEN if most is None else most
    mine = QueuedTask.objects.filter(owner=owner)
    if mine.filter(Q(state=PENDING) | Q(state=PROCESSING)).count() + more > most:
        raise QueueRefused(
            "too_many",
            f"You have {most:,} open tasks; wait until some are done, or cancel some.",
        )


def _earlier(owner: User, new: NewTask) -> QueuedTask | None:
    """Return the task that ``new`` repeats."""
    found: QueuedTask | None = None
    if new.idempotency_key:
        mine = QueuedTask.objects.filter(owner=owner)
        found = mine.filter(idempotency_key=new.idempotency_key).first()
        same = (storable(new.text), new.kind)
        if found is not None and (found.text, found.kind) != same:
            raise QueueRefused("conflict", "This key stands for another task already.")
    if found is None and new.schedule is not None and new.due_at is not None:
        runs = QueuedTask.objects.filter(schedule=new.schedule)
        found = runs.filter(due_at=new.due_at).first()
    return found


def _row(owner: User, new: NewTask, now: datetime) -> QueuedTask:
    return QueuedTask(
        owner=owner,
        kind=new.kind,
        persona=new.persona,
        text=storable(new.text),
        tier=new.tier,
        cap_nano_usd=new.cap_nano_usd,
        source=new.source,
        idempotency_key=new.idempotency_key,
        not_before=new.not_before or now,
        created_at=now,
        conversation=new.conversation,
        schedule=new.schedule,
        due_at=new.due_at,
        late=new.late,
        by_hand=new.by_hand,
    )


def _announce(tasks: Sequence[QueuedTask]) -> None:
    if tasks:
        engine = engines.engine()
        engine.announce(tasks)
        transaction.on_commit(engine.wake)


# --- looking ------------------------------------------------------------------


def tasks_visible_to(user: User) -> QuerySet[QueuedTask]:
    """Return a person's own tasks, the newest first."""
    return QueuedTask.objects.filter(owner=user)


def get_task_for_user(user: User, id: uuid.UUID | str) -> QueuedTask:
    """Return a person's own task; raises ``Http404`` for everything else."""
    try:
        return tasks_visible_to(user).get(pk=uuid.UUID(str(id)))
    except (QueuedTask.DoesNotExist, ValueError):
        raise Http404("There is no such task.") from None


def older_than(found: QuerySet[QueuedTask], task: QueuedTask) -> QuerySet[QueuedTask]:
    """Return what comes after a task where the newest stand first."""
    same_moment = Q(created_at=task.created_at, pk__gt=task.pk)
    return found.filter(Q(created_at__lt=task.created_at) | same_moment)


def position_of(task: QueuedTask) -> int:
    """Return the place of a waiting task, 1 = next; 0 when it waits no more.

    People's lines take turns, so that of the others' tasks at most as many come before
    it as it has places in its own line. One whose time has not come may be later.
    """
    if task.state != State.PENDING:
        return 0
    waiting = QueuedTask.objects.filter(state=PENDING)
    before = Q(not_before__lt=task.not_before)
    before |= Q(not_before=task.not_before, pk__lt=task.pk)
    mine = waiting.filter(before, owner=task.owner_id).count() + 1
    others = (
        waiting.filter(not_before__lte=max(task.not_before, clock_now()))
        .exclude(owner=task.owner_id)
        .order_by()
        .values_list("owner")
        .annotate(Count("pk"))
    )
    first = sum(min(count, mine) for _, count in others)
    return int(mine + first)


# --- ending and repeating -----------------------------------------------------


def cancel(task: QueuedTask) -> QueuedTask:
    """End a task: at once while it waits; while it runs, its worker ends it soon.

    Raises ``QueueRefused`` (``conflict``) when it is over already.
    """
    with transaction.atomic():
        row = _locked(task)
        if row.state == State.PROCESSING:
            row.cancel_asked = True
            row.save(update_fields=["cancel_asked"])
        elif row.state == State.PENDING:
            row.state, row.finished_at = State.CANCELLED, clock_now()
            row.cost_nano_usd = cost_of(row) if row.attempts else row.cost_nano_usd
            row.save(update_fields=["state", "finished_at", "cost_nano_usd"])
            tell_ended(row)
        else:
            raise QueueRefused("conflict", f"This task is over: {_word(row)}.")
    return row


def retry(task: QueuedTask) -> QueuedTask:
    """Let a task that failed, was given up or was cancelled wait once more.

    It has all its attempts again, and its time where none was begun. Raises
    ``QueueRefused``: ``conflict`` in any other state, ``too_many``.
    """
    with transaction.atomic():
        row = _locked(task)
        if row.state not in MAY_RETRY:
            open_ = f"This task is not over: {_word(row)}."
            raise QueueRefused("conflict", open_ if row.state in OPEN else _DONE)
        check_room(row.owner)
        now = clock_now()
        row.not_before = now if row.attempts else max(row.not_before, now)
        row.state, row.tries = State.PENDING, 0
        row.cancel_asked, row.finished_at = False, None
        row.worker = row.error_code = row.error = row.result = ""
        row.save()
        _announce([row])
    return row


def forget(task: QueuedTask) -> None:
    """Delete a task that is over; its rows in the ledger stay.

    Raises ``QueueRefused`` (``conflict``) while it waits or runs.
    """
    with transaction.atomic():
        row = _locked(task)
        if row.state in OPEN:
            raise QueueRefused("conflict", "This task is not over; cancel it first.")
        row.delete()


def _locked(task: QueuedTask) -> QueuedTask:
    """Return the row as it is now, which nobody else changes meanwhile."""
    try:
        return QueuedTask.objects.select_for_update().get(pk=task.pk)
    except QueuedTask.DoesNotExist:
        raise Http404("There is no such task.") from None


def _word(task: QueuedTask) -> str:
    return State(task.state).label
