"""Retention: what is too old is removed, in batches so that nobody waits for long.

The ledger is never touched. ``docs/jobs.md`` says how long everything is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, Final, NamedTuple

from django.db.models import Q, QuerySet
from django.utils import timezone

from accounts import cleanup
from channels_app import deliveries
from channels_app.jobs import proposals
from channels_app.jobs.beat_step import BeatStep
from channels_app.models import Beat, PairingCode, QueuedTask
from channels_app.webhooks import endpoints
from personas import conversations, deletion
from routing.db_pool import run_in_db_pool

AT_ONCE: Final = 500
TASKS_KEPT: Final = timedelta(days=100)
"""As long as deliveries; until then a key recognises a task that is repeated."""
BEATS_KEPT: Final = timedelta(days=30)
CODES_KEPT: Final = timedelta(days=1)


class Purge(NamedTuple):
    """Something that is removed when it is old."""

    find: Callable[[], int]
    remove: Callable[[], int]
    """Removes one batch and returns how many rows that were; 0 = nothing is left."""


def _rows() -> Iterator[QuerySet[Any]]:
    """Return old rows that nothing else has to be told of."""
    now = timezone.now()
    state = QueuedTask.State
    over = Q(state__in=[state.DONE, state.FAILED, state.DEAD, state.CANCELLED])
    # Imported ones are history, and an import that is repeated has to know them.
    queued_here = QueuedTask.objects.exclude(source="import")
    yield queued_here.filter(over, finished_at__lt=now - TASKS_KEPT)
    yield Beat.objects.filter(~Q(running=True), started_at__lt=now - BEATS_KEPT)
    before = now - CODES_KEPT
    yield PairingCode.objects.filter(Q(expires_at__lt=before) | Q(used_at__lt=before))
    yield proposals.ended()
    yield from cleanup.ended_rows()


def _count_rows() -> int:
    return sum(rows.count() for rows in _rows())


def _remove_rows() -> int:
    removed = 0
    for rows in _rows():
        old = list(rows.order_by().values_list("pk", flat=True)[:AT_ONCE])
        if old:
            # Asked again: a session may have been prolonged at this moment.
            removed += rows.filter(pk__in=old).delete()[0]
    return removed


PURGES: Final = (
    Purge(lambda: conversations.purgeable().count(), conversations.purge_deleted),
    Purge(lambda: deletion.purgeable_messages().count(), deletion.purge_messages),
    Purge(deliveries.old_count, deliveries.purge_old),
    Purge(lambda: endpoints.old_secrets().count(), endpoints.forget_old_secrets),
    Purge(_count_rows, _remove_rows),
)


def find() -> int:
    """Count what is too old."""
    return sum(purge.find() for purge in PURGES)


async def work() -> int:
    """Remove it, batch by batch; return how many rows went."""
    removed = 0
    for purge in PURGES:
        while batch := await run_in_db_pool(purge.remove):
            removed += batch
    return removed


STEP: Final = BeatStep("retention", "Old rows", find, work)
