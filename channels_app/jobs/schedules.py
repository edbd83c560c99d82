"""Briefs: who may see and change them, when they come, and what they have done.

A brief belongs to one person, and so does everything that it names: who answers, the
conversation, the room, the address. That is the matter of ``brief_checks``, and when a
brief's time has come that of ``slots``. Synchronous.
"""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Final

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import QuerySet
from django.http import Http404

from accounts import audit
from accounts.models import User
from channels_app.jobs import brief_checks, cron, queue
from channels_app.jobs.clock import now as clock_now
from channels_app.models import QueuedTask, Schedule

KIND: Final = "brief"
"""What the queue calls a run."""
MAX_PER_PERSON: Final = 50
NO_BRIEF: Final = "There is no such brief."
_OPEN: Final = (QueuedTask.State.PENDING, QueuedTask.State.PROCESSING)


# --- looking ------------------------------------------------------------------


def schedules_visible_to(user: User) -> QuerySet[Schedule]:
    """Return the person's own briefs with their personas, without mere proposals."""
    return Schedule.objects.filter(owner=user, proposed_until=None).select_related(
        "owner", "persona"
    )


def get_schedule_for_user(user: User, id: uuid.UUID | str) -> Schedule:
    """Return one of the person's briefs; raises ``Http404``, also for no id."""
    try:
        found = schedules_visible_to(user).filter(pk=uuid.UUID(str(id))).first()
    except ValueError:
        found = None
    if found is None:
        raise Http404(NO_BRIEF)
    return found


def runs_of(schedule: Schedule) -> QuerySet[QueuedTask]:
    """Return what a brief has done and is to do, the newest first."""
    return queue.tasks_visible_to(schedule.owner).filter(schedule=schedule.pk)


# --- changing -----------------------------------------------------------------


def save(schedule: Schedule) -> Schedule:
    """Check a brief and save it, new or changed; sets when it comes next.

    What its delivery does not need is taken out, and so is the conversation of before
    where it does not suit the brief any more: the next run begins another one.

    Raises:
        ValidationError: One sentence for each field that is wrong; without a field
            where the person has too many briefs.
        Http404: It was deleted meanwhile.
    """
    with transaction.atomic():
        before = _before(schedule)
        if before is None and not schedule._state.adding:
            raise Http404(NO_BRIEF)
        if before is not None and before.conversation_id == schedule.conversation_id:
            brief_checks.leave_conversation_that_does_not_suit(schedule)
        brief_checks.check(schedule)
        if (before is None or before.proposed_until) and not schedule.proposed_until:
            _check_room_for_more(schedule)
        schedule.next_at = _next_at(schedule, before)
        schedule.fault = ""
        schedule.save()
        if not schedule.proposed_until:
            is_new = before is None or before.proposed_until is not None
            _record("added" if is_new else "changed", schedule)
    return schedule


def switch(schedule: Schedule, on: bool) -> Schedule:
    """Switch a brief on or off; what would have come meanwhile is not made up for.

    Raises:
        ValidationError: One that is switched on could not run.
        Http404: It was deleted meanwhile.
    """
    schedule.enabled = on
    if on:
        return save(schedule)
    schedule.next_at = None
    with transaction.atomic():
        row = Schedule.objects.filter(pk=schedule.pk, owner=schedule.owner_id)
        if not row.update(enabled=False, next_at=None):
            raise Http404(NO_BRIEF)
        _record("changed", schedule)
    return schedule


def run_now(schedule: Schedule) -> QueuedTask:
    """Queue a run beside the planned ones; one that still waits is returned instead.

    Raises:
        QueueRefused: ``too_many`` open tasks.
        Http404: It is a proposal, or was deleted meanwhile.
    """
    with transaction.atomic():
        mine = Schedule.objects.select_for_update(of=("self",))
        fresh = mine.filter(pk=schedule.pk, proposed_until=None).first()
        if fresh is None:
            raise Http404(NO_BRIEF)
        asked_for = open_runs(fresh).filter(by_hand=True).first()
        return asked_for or queue.enqueue(fresh.owner, run_of(fresh, by_hand=True))


def run_of(
    schedule: Schedule,
    *,
    due_at: datetime | None = None,
    late: bool = False,
    by_hand: bool = False,
) -> queue.NewTask:
    """Return the task that is one run of a brief as it is now."""
    return queue.NewTask(
        text=schedule.prompt,
        kind=KIND,
        persona=schedule.persona,
        tier=schedule.tier,
        source="schedule",
        schedule=schedule,
        due_at=due_at,
        late=late,
        by_hand=by_hand,
    )


def open_runs(schedule: Schedule) -> QuerySet[QueuedTask]:
    """Return the runs of a brief that are not over."""
    return QueuedTask.objects.filter(schedule=schedule, state__in=_OPEN)


def delete(schedule: Schedule) -> None:
    """Delete a brief; what it is doing is cancelled, what it has done stays."""
    with transaction.atomic():
        for task in open_runs(schedule):
            queue.cancel(task)
        _record("deleted", schedule)
        schedule.delete()


def next_after(schedule: Schedule, moment: datetime) -> datetime | None:
    """Return when a brief comes next after a moment; ``None`` = never again.

    Raises ``ValueError`` where its expression or time zone is none.
    """
    runs = cron.next_runs(schedule.cron, schedule.time_zone, moment, 1)
    return runs[0] if runs else None


def _before(schedule: Schedule) -> Schedule | None:
    """Return the row as it was, which nobody changes meanwhile."""
    rows = Schedule.objects.select_for_update(of=("self",))
    return rows.filter(pk=schedule.pk, owner=schedule.owner_id).first()


def _check_room_for_more(schedule: Schedule) -> None:
    if schedules_visible_to(schedule.owner).count() >= MAX_PER_PERSON:
        raise ValidationError(f"There are {MAX_PER_PERSON} briefs already.")


def _next_at(schedule: Schedule, before: Schedule | None) -> datetime | None:
    if not schedule.enabled or schedule.proposed_until:
        return None
    if before is not None and before.next_at and _times(before) == _times(schedule):
        return before.next_at  # it may come this very moment
    return next_after(schedule, clock_now())


def _times(schedule: Schedule) -> tuple[str, str]:
    return schedule.cron, schedule.time_zone


def _record(what: str, schedule: Schedule) -> None:
    audit.record(f"brief.{what}", actor=schedule.owner, subject=str(schedule.pk))
