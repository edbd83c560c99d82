"""Takes over the ``queue.jsonl`` of Symbiont: what waits is queued, the rest is kept.

A task is known again by its old id, or by its line, so that a file which is imported
once more, or has grown, brings only what is new.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from django.db import transaction
from django.utils import timezone

from accounts import audit
from accounts.models import User
from channels_app.jobs.old_queue_lines import Fault, OldTask, read_lines
from channels_app.jobs.queue import BATCH, OPEN, NewTask, enqueue_many
from channels_app.models import QueuedTask
from channels_app.turn_requests import OWN_ID

SOURCE: Final = "import"
States = QueuedTask.State


@dataclass(slots=True)
class ImportReport:
    """What an import did."""

    queued: int = 0
    """Tasks that wait now."""
    kept: dict[str, int] = field(default_factory=dict)
    """Tasks that were over, by their state."""
    already: int = 0
    """Tasks that an earlier import took."""
    faults: list[Fault] = field(default_factory=list)
    """Lines that were left."""


def import_file(lines: Iterable[bytes], owner: User) -> ImportReport:
    """Take over the tasks of a file for a person; all that can be taken, or none."""
    found, faults = read_lines(lines)
    report = ImportReport(faults=faults)
    with transaction.atomic():
        known = _known(owner, [_key(old) for old in found])
        new = [old for old in found if _key(old) not in known]
        report.already = len(found) - len(new)
        waiting = [old for old in new if old.state == States.PENDING]
        enqueue_many(owner, [_new_task(old) for old in waiting], most=None)
        report.queued = len(waiting)
        finished = [_row(owner, old) for old in new if old.state != States.PENDING]
        keep_finished(finished)
        for row in finished:
            report.kept[row.state] = report.kept.get(row.state, 0) + 1
        if new:
            audit.record("queue.imported", subject=owner.username, tasks=len(new))
    return report


def _key(old: OldTask) -> str:
    return f"{OWN_ID}{SOURCE}:{old.key}"


def _known(owner: User, keys: list[str]) -> set[str]:
    """Return those under which the person has a task."""
    mine = QueuedTask.objects.filter(owner=owner)
    found: set[str] = set()
    for start in range(0, len(keys), BATCH):
        rows = mine.filter(idempotency_key__in=keys[start : start + BATCH])
        found.update(rows.values_list("idempotency_key", flat=True))
    return found


def _new_task(old: OldTask) -> NewTask:
    at = old.not_before
    return NewTask(
        old.text,
        tier=old.tier,
        source=SOURCE,
        not_before=at if at and at > timezone.now() else None,
        idempotency_key=_key(old),
    )


def _row(owner: User, old: OldTask) -> QueuedTask:
    """Return the row of a task that was over when it was imported."""
    now = timezone.now()
    created = old.created or old.started or old.finished or now
    has_failed = old.state in {States.FAILED, States.DEAD}
    return QueuedTask(
        owner=owner,
        text=old.text,
        tier=old.tier,
        source=SOURCE,
        idempotency_key=_key(old),
        state=old.state,
        created_at=created,
        not_before=created,
        started_at=old.started,
        finished_at=old.finished or created,
        result=old.result if old.state == States.DONE else "",
        error_code="internal" if has_failed else "",
        error=(old.error or "It failed in Symbiont.") if has_failed else "",
        model=old.model,
        input_tokens=old.input_tokens,
        output_tokens=old.output_tokens,
        cost_nano_usd=old.cost_nano_usd,
    )


def keep_finished(tasks: Sequence[QueuedTask]) -> None:
    """Store tasks that were over before they came here; nobody is told.

    Raises ``ValueError`` for one that is not over.
    """
    if any(task.state in OPEN for task in tasks):
        raise ValueError("only tasks that are over can be kept")
    QueuedTask.objects.bulk_create(tasks, batch_size=BATCH)
