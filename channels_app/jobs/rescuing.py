"""Takes tasks away from workers that died; any other worker does it, and the tick.

Several may do so at the same moment, so that no one of them has to be alive. What a
clock that was ahead let wait for a moment far away is brought back here, too.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Final

from django.db import OperationalError, transaction
from django.db.models import F, Q, QuerySet

from accounts.transactions import quick_transaction
from channels_app.jobs import engines, leases
from channels_app.jobs.clock import now as clock_now
from channels_app.jobs.leases import PENDING, PROCESSING
from channels_app.models import QueuedTask

logger = logging.getLogger(__name__)

AT_ONCE: Final = 500
"""So many tasks are put right by one tick; the next one goes on."""
LOST: Final = "The worker was lost"
_CLOCK_IS_BACK: Final = timedelta(minutes=1)
_LONGEST_PAUSE: Final = timedelta(seconds=leases.LONGEST_BACKOFF_S * 2)


def rescue() -> int:
    """Take tasks away from workers that did not renew them; return how many.

    They wait again, the first time without a pause, or are dead after so many attempts;
    those whose cancellation was asked for are cancelled.
    """
    now = clock_now()
    running = QueuedTask.objects.filter(state=PROCESSING).order_by()
    if running.filter(lease_until__gt=now + 2 * leases.LEASE).exists():
        # The clock was set back: leases end in time by the clock as it is now.
        far = running.filter(lease_until__gt=now + leases.LEASE)
        far.update(lease_until=now + leases.LEASE)
    expired = running.filter(lease_until__lte=now)
    if not expired.exists():  # an idle tick takes no write lock
        return 0
    with quick_transaction():
        rows = expired.order_by("lease_until").select_for_update(skip_locked=True)
        return sum(map(_rescue, rows[:AT_ONCE]))


def bring_back() -> int:
    """Let what waits only because a clock was ahead wait no longer; return how many.

    What somebody wants to be done later stays as it is.
    """
    now = clock_now()
    if not _ran_ahead(now).exists():  # an idle tick takes no write lock
        return 0
    with quick_transaction():
        rows = _ran_ahead(now).select_for_update(skip_locked=True)
        tasks = list(rows.order_by("not_before", "pk")[:AT_ONCE])
        for place, task in enumerate(tasks):
            task.not_before = now + timedelta(microseconds=place)  # in their order
        QueuedTask.objects.bulk_update(tasks, ["not_before"])
        engine = engines.engine()
        engine.announce(tasks)
        transaction.on_commit(engine.wake)
    return len(tasks)


def _ran_ahead(now: datetime) -> QuerySet[QueuedTask]:
    """Match what waits for a moment that only a clock which was ahead has named.

    Queued for the moment at which that clock stood, or to be tried again after it:
    pauses are short, and whose attempts have begun was not for later any more.
    """
    soon = now + _CLOCK_IS_BACK
    for_at_once = Q(created_at__gt=soon, not_before=F("created_at"))
    again = Q(started_at__gt=soon) | Q(
        started_at__isnull=False, not_before__gt=now + _LONGEST_PAUSE
    )
    waiting = QueuedTask.objects.filter(state=PENDING, not_before__gt=soon).order_by()
    return waiting.filter(for_at_once | again)


def _rescue(task: QueuedTask) -> bool:
    """Put one task right; a fault in what is told of its end holds up no other."""
    logger.warning("task %s lost its worker %s", task.pk, task.worker)
    try:
        with quick_transaction():
            return _move_on(task)
    except OperationalError:
        raise
    except Exception:  # what is told of an end is other modules' code
        logger.exception("the end of task %s could not be told", task.pk)
        return leases.give_up(task, "internal", _given_up(task))


def _move_on(task: QueuedTask) -> bool:
    if task.cancel_asked:
        return leases.settle_cancelled(task)
    if task.tries >= leases.MAX_ATTEMPTS:
        return leases.settle_failed(task, "internal", _given_up(task), retryable=True)
    wait_s = 0.0 if task.tries <= 1 else leases.pause_s(task.tries - 1)
    sentence = f"{LOST} while it ran."
    return leases.wait_again(task, wait_s, error_code="internal", error=sentence)


def _given_up(task: QueuedTask) -> str:
    return f"{LOST} once more: given up after {task.tries} attempts."
