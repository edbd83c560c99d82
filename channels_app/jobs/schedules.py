"""Briefs: who may see and change them, when they come, and what they have done.

A brief belongs to one person, and so does everything that it names: who answers, the
conversation, the room, the address. That is checked when it is saved, and again by each
run. Synchronous; when a brief's time has come is the matter of ``slots``.
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
from channels_app import mails
from channels_app.bots.channels import can_post
from channels_app.errors import TurnError
from channels_app.jobs import cron, queue
from channels_app.jobs.clock import now as clock_now
from channels_app.models import ChannelRoom, QueuedTask, Schedule
from channels_app.turn_requests import checked_text
from personas.conversations import conversations_visible_to

KIND: Final = "brief"
"""What the queue calls a run."""
MAX_PER_PERSON: Final = 50
NO_BRIEF: Final = "There is no such brief."
ROOMS: Final = frozenset(
    {Schedule.Delivery.NEXTCLOUD_TALK, Schedule.Delivery.GOOGLE_CHAT}
)
"""Deliveries that go into a room."""
_TIERS: Final = frozenset({None, 1, 2, 3})
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
    """
    with transaction.atomic():
        before = _before(schedule)
        if before is not None and before.conversation_id == schedule.conversation_id:
            _leave_conversation_that_does_not_suit(schedule)
        _check(schedule)
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

    Raises ``ValidationError`` where a brief that is switched on could not run.
    """
    schedule.enabled = on
    if on:
        return save(schedule)
    schedule.next_at = None
    schedule.save(update_fields=["enabled", "next_at"])
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


# --- checking -----------------------------------------------------------------


def _check(schedule: Schedule) -> None:
    """Put a brief into the form in which it is kept; raises ``ValidationError``."""
    faults: dict[str, list[str]] = {}
    for check in (_words, _times_of, _persona, _limits, _delivery):
        try:
            check(schedule)
        except ValidationError as error:
            for field, sentences in error.message_dict.items():
                faults.setdefault(field, []).extend(sentences)
    if faults:
        raise ValidationError(faults)


def _words(schedule: Schedule) -> None:
    schedule.name = " ".join(schedule.name.replace("\0", "").split())
    if not schedule.name:
        raise ValidationError({"name": "Give the brief a name."})
    longest = Schedule._meta.get_field("name").max_length or 0
    if len(schedule.name) > longest:
        raise ValidationError({"name": f"At most {longest} characters fit."})
    if not schedule.prompt.strip():
        raise ValidationError({"prompt": "Write what is to be asked."})
    try:
        schedule.prompt = checked_text(schedule.prompt)
    except TurnError as error:
        raise ValidationError({"prompt": error.message}) from None


def _times_of(schedule: Schedule) -> None:
    schedule.cron = " ".join(schedule.cron.split())
    cron.check(schedule.cron, schedule.time_zone)


def _persona(schedule: Schedule) -> None:
    if schedule.persona.owner_id != schedule.owner_id:
        raise ValidationError({"persona": "There is no such persona."})


def _limits(schedule: Schedule) -> None:
    if schedule.tier not in _TIERS:
        raise ValidationError({"tier": "Choose 1, 2 or 3, or none."})
    if schedule.cap_nano_usd is not None and schedule.cap_nano_usd <= 0:
        raise ValidationError({"cap_nano_usd": "Enter more than nothing, or leave it."})


def _delivery(schedule: Schedule) -> None:
    if schedule.delivery not in Schedule.Delivery.values:
        raise ValidationError({"delivery": "Choose where the answer goes."})
    if schedule.delivery not in ROOMS:
        schedule.room = None
    elif why := objection_to_room(schedule):
        raise ValidationError({"room": why})
    if schedule.delivery != Schedule.Delivery.WEBHOOK:
        schedule.endpoint = None
    elif why := objection_to_endpoint(schedule):
        raise ValidationError({"endpoint": why})
    by_mail = schedule.delivery == Schedule.Delivery.EMAIL
    if by_mail and (why := mails.obstacle(schedule.owner)):
        raise ValidationError({"delivery": why})
    if why := _objection_to_conversation(schedule):
        raise ValidationError({"conversation": why})


def objection_to_room(schedule: Schedule) -> str:
    """Return why a brief's answers cannot go to its room; empty = they can."""
    room = schedule.room
    if room is None or room.channel.owner_id != schedule.owner_id:
        return "The room is gone."
    if room.channel.kind != schedule.delivery:
        return "The room is on another platform."
    label = room.channel.get_kind_display()
    if not room.channel.enabled:
        return f"{label} is switched off."
    if not can_post(room.channel):
        return f"{label} needs a key file before Cortex can write there first."
    if room.state != ChannelRoom.State.ALLOWED:
        return "The room is not allowed."
    return ""


def objection_to_endpoint(schedule: Schedule) -> str:
    """Return why a brief's answers cannot go to its address; empty = they can."""
    endpoint = schedule.endpoint
    if endpoint is None or endpoint.owner_id != schedule.owner_id:
        return "The webhook is gone."
    return "" if endpoint.enabled else "The webhook is switched off."


def _leave_conversation_that_does_not_suit(schedule: Schedule) -> None:
    if _objection_to_conversation(schedule):
        schedule.conversation = None


def _objection_to_conversation(schedule: Schedule) -> str:
    if schedule.conversation_id is None:
        return ""
    mine = conversations_visible_to(schedule.owner)
    chat = mine.filter(pk=schedule.conversation_id, temporary=False).first()
    if chat is None:
        return "There is no such conversation."
    if chat.persona_id != schedule.persona_id:
        return f"In this conversation {chat.persona.display_name} answers."
    return ""
