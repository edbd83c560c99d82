"""Briefs of a leaving bundle: restored, but switched off until their person says so.

Nobody should pay for answers, or get them in a room, because of an import. Where a
brief's answers cannot go to any more, they stand in a conversation.
"""

from __future__ import annotations

from itertools import islice
from typing import Final

from django.core.exceptions import ValidationError

from accounts.models import User
from channels_app import mails
from channels_app.homes.bundle_shapes import BriefShape
from channels_app.homes.report import Report
from channels_app.jobs import brief_checks, schedules
from channels_app.models import ChannelRoom, Schedule
from personas.conversations import conversations_visible_to
from personas.home.bundle_ids import Ids
from personas.home.bundle_reader import BadEntry, BundleReader
from personas.personas import personas_visible_to

ENTRY: Final = "schedules.json"


def take_briefs(bundle: BundleReader, user: User, ids: Ids, report: Report) -> None:
    """Restore the briefs one by one; raises ``BadEntry`` for a damaged list."""
    most = schedules.MAX_PER_PERSON
    items = bundle.items(ENTRY, "schedules", BriefShape)
    found = list(islice(items, most + 1))
    if len(found) > most:
        raise BadEntry(f"{ENTRY} holds more than {most} briefs.")
    for brief in found:
        where = f"{user.username}/{ENTRY}#{brief.id}"
        own = schedules.schedules_visible_to(user)
        if own.filter(pk__in=[brief.id, ids.new(brief.id)]).exists():
            report.kept(where, "is here already.")
            continue
        ids.make_room(Schedule, [brief.id], ENTRY)
        try:
            report.taken(where, _take(brief, user, ids))
        except ValidationError as error:
            report.left(where, f"cannot be a brief here: {' '.join(error.messages)}")


def _take(brief: BriefShape, user: User, ids: Ids) -> str:
    """Store a brief and say what became of it; raises ``ValidationError``."""
    persona = personas_visible_to(user).filter(name=brief.persona).first()
    if persona is None:
        raise ValidationError("There is no such persona.")
    schedule = Schedule(
        id=ids.of(brief.id),
        owner=user,
        persona=persona,
        name=brief.name,
        prompt=brief.prompt,
        cron=brief.cron,
        time_zone=brief.time_zone,
        tier=brief.tier,
        cap_nano_usd=brief.cap_nano_usd,
        delivery=brief.delivery,
        enabled=False,
    )
    if brief.conversation is not None:
        mine = conversations_visible_to(user).filter(persona=persona, temporary=False)
        schedule.conversation = mine.filter(pk=ids.of(brief.conversation)).first()
    said = "is switched off until its person switches it on"
    if why := _objection(schedule, brief.room or ""):
        schedule.delivery, schedule.room = Schedule.Delivery.CONVERSATION, None
        said += f"; its answers stand in a conversation: {why}"
    schedules.save(schedule)
    Schedule.objects.filter(pk=schedule.pk).update(created_at=brief.created_at)
    return f"{said.rstrip('.')}."


def _objection(schedule: Schedule, room: str) -> str:
    """Return why the answers cannot go where they went; empty = they can."""
    if schedule.delivery in brief_checks.ROOMS:
        rooms = ChannelRoom.objects.filter(
            channel__owner=schedule.owner, channel__kind=schedule.delivery
        )
        schedule.room = rooms.filter(external_id=room).first()
        return brief_checks.objection_to_room(schedule)
    if schedule.delivery == Schedule.Delivery.EMAIL:
        return mails.obstacle(schedule.owner)
    if schedule.delivery == Schedule.Delivery.CONVERSATION:
        return ""
    return "The webhook's address is not in a bundle."
