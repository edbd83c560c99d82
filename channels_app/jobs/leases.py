"""Moves tasks on: claimed by a worker for a while, settled, tried again, given up.

    pending → processing → done
                         → pending again (with a pause that grows, or given back)
                         → failed | dead | cancelled

A claim holds for a lease that its worker renews. Its attempt's number is the fence:
whoever has lost the lease changes nothing any more. A task whose worker died is rescued
by any other (``channels_app.jobs.rescuing``). Everything here is synchronous and
belongs into ``routing.db_pool``.

None of it waits for the disk: after a power cut a claim or an end that was lost is only
done once more, and what an end wrote with it is lost with it.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django.db import connection
from django.db.models import Q
from django.db.models.expressions import RawSQL

from accounts.transactions import quick_transaction
from channels_app.jobs import costs, engines, task_rows
from channels_app.jobs.clock import now as clock_now
from channels_app.jobs.done_together import write_done
from channels_app.jobs.ends_together import one_transaction
from channels_app.jobs.kinds import Done, Effect, tell_ended
from channels_app.jobs.lines import due_heads, lines_in_turn, served
from channels_app.models import QueuedTask
from channels_app.turn_run import storable

LEASE: Final = timedelta(seconds=30)
"""Nobody else takes a claimed task for so long after its worker last renewed it."""
RENEW_EVERY_S: Final = 5.0
MAX_ATTEMPTS: Final = 5
"""After so many attempts that failed or lost their worker a task is given up."""
BACKOFF_S: Final = 5.0
"""The pause after the first failure that may pass; it doubles."""
LONGEST_BACKOFF_S: Final = 600.0
JITTER: Final = 0.2
ERROR_LENGTH: Final = 300

WORTH_ONE_STATEMENT: Final = 2
_FREE: Final = {"lease_until": None, "cancel_asked": False}

State = QueuedTask.State
PENDING, PROCESSING = (
    RawSQL(f"'{state.value}'", ())  # noqa: S611
    for state in (State.PENDING, State.PROCESSING)
)
"""For conditions: only with literal states can SQLite use the indexes of what is open,
so that finished tasks cost nothing."""


@dataclass(frozen=True, slots=True)
class Renewal:
    """What a worker learns of the tasks that it holds."""

    lost: set[uuid.UUID]
    """No longer its own: somebody else may work at them."""
    cancelled: set[uuid.UUID]
    """Still its own, and to be ended."""


# --- claiming -----------------------------------------------------------------


def claim(worker: str, limit: int) -> list[QueuedTask]:
    """Claim up to ``limit`` tasks whose time has come, in turn from each person.

    May find none although some wait, when others claim them at this moment.
    """
    now = clock_now()
    lines = lines_in_turn(now)[:limit]
    if not lines:  # nobody takes a lock for nothing
        return []
    with quick_transaction():
        heads = due_heads(lines, now, limit)
        tasks = _claim(Q(pk__in=heads), worker, now) if heads else []
    place = {pk: index for index, pk in enumerate(heads)}
    tasks.sort(key=lambda task: place[task.pk])
    served(task.owner_id for task in tasks)
    return tasks


def claim_this(worker: str, task_id: uuid.UUID) -> QueuedTask | None:
    """Claim one task if its time has come and nobody has it."""
    now = clock_now()
    with quick_transaction():
        tasks = _claim(Q(pk=task_id, not_before__lte=now), worker, now)
    return tasks[0] if tasks else None


def claim_these(worker: str, task_ids: Sequence[uuid.UUID]) -> list[QueuedTask]:
    """Claim those of the tasks whose time has come and that nobody has.

    A part of the caller's transaction.
    """
    if not task_ids:
        return []
    now = clock_now()
    return _claim(Q(pk__in=task_ids, not_before__lte=now), worker, now)


def _claim(which: Q, worker: str, now: datetime) -> list[QueuedTask]:
    waiting = QueuedTask.objects.filter(which, state=State.PENDING).order_by()
    tasks = list(waiting.select_for_update(skip_locked=True))
    if not tasks:
        return []
    began = {"worker": worker, "lease_until": now + LEASE, "started_at": now}
    task_rows.begin([task.pk for task in tasks], began)
    for task in tasks:
        task.state, task.worker = State.PROCESSING, worker
        task.lease_until, task.started_at = now + LEASE, now
        task.attempts += 1
        task.tries += 1
    return tasks


# --- holding ------------------------------------------------------------------


def renew(worker: str, held: Mapping[uuid.UUID, int]) -> Renewal:
    """Prolong the leases of ``held``, attempts by task, and say what became of them."""
    if not held:
        return Renewal(set(), set())
    with quick_transaction():
        mine = QueuedTask.objects.filter(_held(held), worker=worker)
        mine.update(lease_until=clock_now() + LEASE)
        return look(held)


def look(held: Mapping[uuid.UUID, int]) -> Renewal:
    """Say what became of ``held``, with one query and without renewing anything."""
    if not held:
        return Renewal(set(), set())
    rows = QueuedTask.objects.filter(_held(held)).order_by()
    found = dict(rows.values_list("pk", "cancel_asked"))
    cancelled = {pk for pk, asked in found.items() if asked}
    return Renewal(set(held) - set(found), cancelled)


def _held(held: Mapping[uuid.UUID, int]) -> Q:
    """Match the rows whose current attempt is the one that is held."""
    by_attempt: dict[int, list[uuid.UUID]] = {}
    for pk, attempt in held.items():
        by_attempt.setdefault(attempt, []).append(pk)
    which = Q()
    for attempt, pks in by_attempt.items():
        which |= Q(attempts=attempt, pk__in=pks)
    return which & Q(state=State.PROCESSING)


# --- settling -----------------------------------------------------------------


def settle_done(task: QueuedTask, result: Done) -> bool:
    """Note that a task was done, with its effect; ``False`` when its lease was lost."""
    return _settle(task, State.DONE, result.effect, **_fields_of(task, result))


def settle_all_done(ends: Sequence[tuple[QueuedTask, Done]]) -> list[bool]:
    """Do what ``settle_done`` does for each, all or none."""
    if connection.vendor != "postgresql" or len(ends) < WORTH_ONE_STATEMENT:
        with quick_transaction():
            return [settle_done(task, result) for task, result in ends]
    fields = [_fields_of(task, result) for task, result in ends]
    with quick_transaction():
        finished = write_done([task for task, _ in ends], fields)
        for (task, result), values in zip(ends, fields, strict=True):
            if (at := finished.get(task.pk)) is not None:
                _copy(task, values | {"state": State.DONE, "finished_at": at} | _FREE)
                _tell(task, result.effect)
    return [task.pk in finished for task, _ in ends]


def _fields_of(task: QueuedTask, result: Done) -> dict[str, Any]:
    cost = result.cost_nano_usd
    if cost is None and result.model:
        cost = costs.cost_of(task)
    return {
        "result": storable(result.result),
        "error_code": result.error_code[:32],
        "error": result.error[:ERROR_LENGTH],
        "model": result.model[:200],
        "input_tokens": result.input_tokens,
        "output_tokens": result.output_tokens,
        "cost_nano_usd": cost,
        "conversation_id": result.conversation_id or task.conversation_id,
    }


def settle_failed(
    task: QueuedTask,
    code: str,
    sentence: str,
    *,
    retryable: bool,
    effect: Effect | None = None,
) -> bool:
    """Note an attempt that failed; ``False`` when its lease was lost.

    A task that may be tried again waits for a while, unless it was the last attempt or
    its cancellation was asked for meanwhile. ``effect`` runs where the task is over.
    """
    error = {"error_code": code[:32], "error": sentence[:ERROR_LENGTH]}
    with quick_transaction():
        held = _mine(task).select_for_update()
        asked = held.values_list("cancel_asked", flat=True).first()
        if asked is None:
            return False
        if asked:
            return settle_cancelled(task, effect=effect)
        if retryable and task.tries < MAX_ATTEMPTS:
            return wait_again(task, pause_s(task.tries), **error)
        state = State.DEAD if retryable else State.FAILED
        return _settle(task, state, effect, cost_nano_usd=costs.cost_of(task), **error)


def settle_cancelled(task: QueuedTask, effect: Effect | None = None) -> bool:
    """Note that a task was ended as its owner asked."""
    cost = costs.cost_of(task)
    return _settle(
        task, State.CANCELLED, effect, error_code="", error="", cost_nano_usd=cost
    )


def give_back(task: QueuedTask) -> bool:
    """Let somebody else begin a task anew; the attempt does not count."""
    with quick_transaction():
        asked = _mine(task).select_for_update().values_list("cancel_asked", flat=True)
        if asked.first():
            return settle_cancelled(task)
        return wait_again(task, 0.0, tries=max(0, task.tries - 1))


def _mine(task: QueuedTask) -> Any:
    """Match the row while the attempt that ``task`` stands for is the current one."""
    return QueuedTask.objects.filter(
        pk=task.pk, attempts=task.attempts, state=State.PROCESSING
    ).order_by()


def give_up(task: QueuedTask, code: str, sentence: str) -> bool:
    """Note that a task is dead, and tell nobody, where telling it is what fails."""
    error = {"error_code": code[:32], "error": sentence[:ERROR_LENGTH]}
    fields = {"state": State.DEAD, "finished_at": clock_now()} | _FREE | error
    with one_transaction():
        return task_rows.end_attempt(task, fields)


def _settle(
    task: QueuedTask, state: QueuedTask.State, effect: Effect | None, **fields: Any
) -> bool:
    fields |= {"state": state, "finished_at": clock_now()} | _FREE
    with one_transaction():
        if not task_rows.end_attempt(task, fields):
            return False
        _copy(task, fields)
        _tell(task, effect)
    return True


def _tell(task: QueuedTask, effect: Effect | None) -> None:
    if effect is not None:
        effect()
    tell_ended(task)


def wait_again(task: QueuedTask, wait_s: float, **fields: Any) -> bool:
    """Let a task wait once more, for a while; ``False`` when its lease was lost."""
    fields |= {"state": State.PENDING, "worker": "", "lease_until": None}
    fields["not_before"] = clock_now() + timedelta(seconds=wait_s)
    with one_transaction():
        if not task_rows.end_attempt(task, fields):
            return False
        _copy(task, fields)
        engines.engine().announce([task])
    return True


def _copy(task: QueuedTask, fields: Mapping[str, Any]) -> None:
    """Let the row in hand tell what was written, but for what fences it."""
    for name, value in fields.items():
        if name != "tries":  # the same end may be written again after a failure
            setattr(task, name, value)


def pause_s(tries: int) -> float:
    """Return the seconds until the next attempt, after so many."""
    usual: float = min(LONGEST_BACKOFF_S, BACKOFF_S * 2 ** (max(tries, 1) - 1))
    return usual * (1 + random.uniform(-JITTER, JITTER))  # noqa: S311 -- spreads load
