"""The times of briefs: what is due is queued, once for each time, whoever looks.

A step of the worker's tick, which may run in several processes at once: a brief is
locked while its run is queued, and the run of a time is unique in the database.

* What was missed, because nothing ran here or the machine slept, comes once: for the
  last time that was missed, and marked as late. There is never a burst.
* What came while a brief was switched off is not made up for.
* A time at which the planned run before is still open is left out, and the brief says
  so. A run that was asked for by hand is in nobody's way.
* A clock that was set back brings nothing twice; one that ran ahead and was put right
  holds up nothing.
"""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from django.db import InterfaceError, OperationalError, transaction
from django.db.models import Exists, OuterRef, QuerySet

from channels_app.jobs import cron, queue, schedules
from channels_app.jobs.clock import now as clock_now
from channels_app.models import QueuedTask, Schedule

logger = logging.getLogger("cortex.tick")

LATE_AFTER: Final = timedelta(minutes=2)
"""A run that is queued so long after its time is marked as late."""
AT_ONCE: Final = 500
"""So many briefs are seen to by one tick; the next one goes on."""
_CLOCK_IS_BACK: Final = timedelta(minutes=1)
OFF: Final = "The account is switched off, so nothing runs."
NOT_THEIRS: Final = "The persona belongs to somebody else."


def enqueue_due(now: datetime | None = None) -> int:
    """Queue a run of each brief whose time has come; return how many.

    ``now`` is the moment by the clock of all workers unless told otherwise.
    """
    moment = now or clock_now()
    _put_right_what_ran_ahead(moment)
    ids = list(_due(moment).order_by("next_at").values_list("pk", flat=True)[:AT_ONCE])
    count = 0
    for pk in ids:
        try:
            count += _see_to(pk, moment)
        except (OperationalError, InterfaceError):  # the others would fail as well
            raise
        except Exception:  # one brief's fault must not hold up the others
            logger.exception("brief %s could not be queued", pk)
    return count


def _running() -> QuerySet[Schedule]:
    return Schedule.objects.filter(enabled=True, proposed_until=None)


def _due(now: datetime) -> QuerySet[Schedule]:
    return _running().filter(next_at__lte=now)


def _see_to(id: UUID, now: datetime) -> int:
    """Queue the run of one brief that is due, unless somebody else just did."""
    with transaction.atomic():
        rows = _due(now).select_related("owner", "persona")
        rows = rows.select_for_update(skip_locked=True, of=("self",))
        schedule = rows.filter(pk=id).first()
        if schedule is None or schedule.next_at is None:
            return 0
        try:
            slot = cron.last_run(
                schedule.cron, schedule.time_zone, schedule.next_at, now
            )
            schedule.next_at = schedules.next_after(schedule, now)
        except ValueError as error:
            schedule.next_at, schedule.fault = None, str(error)[:300]
            schedule.save(update_fields=["next_at", "fault"])
            return 0
        is_new = slot is not None and _queue_run(schedule, slot, now)
        schedule.save(update_fields=["next_at", "fault"])
        return int(is_new)


def _queue_run(schedule: Schedule, slot: datetime, now: datetime) -> bool:
    """Queue the run of a time; where that cannot be, the brief says why."""
    if why := _obstacle(schedule, slot, now):
        schedule.fault = why
        return False
    run = schedules.run_of(schedule, due_at=slot, late=now - slot > LATE_AFTER)
    try:
        return queue.enqueue(schedule.owner, run).is_new
    except queue.QueueRefused as refusal:
        schedule.fault = refusal.message[:300]
        return False


def _obstacle(schedule: Schedule, slot: datetime, now: datetime) -> str:
    if not schedule.owner.is_active:
        return OFF
    if schedule.persona.owner_id != schedule.owner_id:
        return NOT_THEIRS
    before = schedules.open_runs(schedule).filter(by_hand=False).exclude(due_at=slot)
    # One that a clock which was far ahead has queued is in nobody's way.
    if before.exclude(not_before__gt=now + _CLOCK_IS_BACK, tries=0).exists():
        local = slot.astimezone(cron.zone_called(schedule.time_zone))
        return (
            f"The run of {local:%d %B, %H:%M} was left out, because the one before it "
            "was not over."
        )
    return ""


def _put_right_what_ran_ahead(now: datetime) -> None:
    """Bring briefs back whose runs a clock has queued that was far ahead.

    Without that they would not come until the time that the clock showed then.
    """
    runs = QueuedTask.objects.filter(
        schedule=OuterRef("pk"), due_at__gt=now + _CLOCK_IS_BACK
    )
    for schedule in _running().filter(Exists(runs), next_at__gt=now):
        try:
            right = schedules.next_after(schedule, now)
        except ValueError:
            continue  # it is told when the time has come
        if right is not None and schedule.next_at and right < schedule.next_at:
            same = Schedule.objects.filter(pk=schedule.pk, next_at=schedule.next_at)
            same.update(next_at=right)
