"""Where the answers of briefs go, beside the conversation in which they stand.

All of it is stored in the transaction that ends the run, and so exactly once; the
worker sends it from there. Where an answer goes is what its owner chose for the brief,
looked at once more at this moment: no prompt and no answer has a say in it. What cannot
be sent stands in the conversation, and the brief says why.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from urllib.parse import urljoin

from django.conf import settings
from django.urls import reverse

from accounts.zones import zone_named
from channels_app import mails
from channels_app.bots import messages
from channels_app.bots.adapters import adapter_for
from channels_app.bots.endings import ELSEWHERE, TOLD_TO_ALL
from channels_app.jobs import brief_checks
from channels_app.jobs.briefs import STOPPED
from channels_app.models import QueuedTask, Schedule
from channels_app.webhooks import announcing
from ledger.records import timestamp
from personas.models import Conversation

NOT_ALONE: Final = (
    "Others read in the room by now; the last answer stands in its conversation only."
)
NO_ADDRESS: Final = "You have no e-mail address here."
_Delivery = Schedule.Delivery
_State = QueuedTask.State


@dataclass(frozen=True, slots=True)
class _News:
    """What is told of a run that is over."""

    task: QueuedTask
    schedule: Schedule

    @property
    def done(self) -> bool:
        """It has an answer."""
        return self.task.state == _State.DONE

    @property
    def key(self) -> str:
        """The same for the same news; a run that was repeated by hand has others."""
        if self.done:
            return f"brief:{self.task.pk}"
        return f"brief:{self.task.pk}:{self.task.attempts}"

    @property
    def planned(self) -> datetime:
        """When it was to come, by its own clock on the wall."""
        moment = self.task.due_at or self.task.created_at
        return moment.astimezone(zone_named(self.schedule.time_zone))

    @property
    def link(self) -> str:
        """Address of the conversation; empty where there is none."""
        if self.task.conversation_id is None:
            return ""
        path = reverse("conversation", args=[self.task.conversation_id])
        return urljoin(settings.CORTEX_PUBLIC_URL, path)

    def words(self, *, alone: bool) -> str:
        """Return what is said: the answer, or that there is none.

        Reasons about money and hosts are for the owner ``alone``.
        """
        if self.done:
            late = f"(Late: planned for {self.planned:%d %B, %H:%M}.)\n\n"
            return (late if self.task.late else "") + self.task.result
        sorry = f"Sorry, “{self.schedule.name}” could not be answered."
        if self.task.error and (alone or self.task.error_code in TOLD_TO_ALL):
            sorry += f" {self.task.error}"
        return sorry


def ended(task: QueuedTask) -> None:
    """Store what goes out when a run is over; in the transaction that ends it.

    A run that its owner cancelled or stopped is no news to anybody.
    """
    if task.state == _State.CANCELLED or task.schedule_id is None:
        return
    rows = Schedule.objects.select_related(
        "owner", "persona", "room__channel", "endpoint"
    )
    schedule = rows.filter(pk=task.schedule_id, owner=task.owner_id).first()
    if schedule is None:
        return
    news = _News(task, schedule)
    fault = "" if news.done else f"The last run failed: {task.error}"
    send = _WAYS.get(schedule.delivery)
    if send is not None and (news.done or task.error_code != STOPPED):
        fault = send(news) or fault
    # Only where it changes: ends are written together in any order, and two workers
    # that lock the same briefs in different orders would wait for each other.
    same = Schedule.objects.filter(pk=schedule.pk).exclude(fault=fault[:300])
    same.update(fault=fault[:300])


def _to_room(news: _News) -> str:
    """Let the bot say it; return why it does not."""
    if why := brief_checks.objection_to_room(news.schedule):
        return f"The last answer was not sent. {why}"
    room = news.schedule.room
    assert room is not None  # noqa: S101  else there was an objection
    alone, fault = room.alone, ""
    text = news.words(alone=alone)
    if news.done and _made_alone(news.task) and not alone:
        text, fault = ELSEWHERE, NOT_ALONE
    parts = adapter_for(room.channel.kind).split(text)
    messages.add_message(room, news.key, parts, alone=alone)
    return fault


def _made_alone(task: QueuedTask) -> bool:
    """Say whether what is private may have entered an answer."""
    if task.conversation_id is None:
        return True
    shared = Conversation.objects.filter(pk=task.conversation_id, shared=True)
    return not shared.exists()


def _by_mail(news: _News) -> str:
    owner = news.schedule.owner
    if not mails.is_set_up():
        return f"The last answer was not sent. {mails.NO_SERVER}"
    if not owner.email:
        return f"The last answer was not sent. {NO_ADDRESS}"
    subject = f"{news.schedule.name}, {news.planned:%d %B %Y}"
    text = news.words(alone=True)
    if news.link:
        text = f"{text}\n\n{news.link}"
    mails.store(owner, news.key, subject, text)
    return ""


def _to_address(news: _News) -> str:
    if why := brief_checks.objection_to_endpoint(news.schedule):
        return f"The last answer was not sent. {why}"
    task, schedule = news.task, news.schedule
    assert schedule.endpoint_id is not None  # noqa: S101  else there was an objection
    data: dict[str, Any] = {
        "brief": str(schedule.pk),
        "name": schedule.name,
        "persona": schedule.persona.name,
        "planned_for": timestamp(task.due_at) if task.due_at else None,
        "late": task.late,
        "link": news.link or None,
    }
    if news.done:
        event, data["text"] = announcing.BRIEF_DONE, task.result
    else:
        event = announcing.BRIEF_FAILED
        data["error"] = {"code": task.error_code, "message": task.error}
    announcing.store_for([schedule.endpoint_id], event, news.key, data)
    return ""


_WAYS: Final[dict[str, Callable[[_News], str]]] = {
    _Delivery.NEXTCLOUD_TALK: _to_room,
    _Delivery.GOOGLE_CHAT: _to_room,
    _Delivery.EMAIL: _by_mail,
    _Delivery.WEBHOOK: _to_address,
}
"""Who sends an answer; each returns why it was not sent. A conversation has it."""
