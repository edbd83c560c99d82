"""What may be saved as a brief: who answers, when, and where the answers go.

Everything that a brief names has to be its owner's own. Where answers go is looked at
again by each run, because rooms and addresses change. Synchronous.
"""

from __future__ import annotations

from typing import Final

from django.core.exceptions import ValidationError

from channels_app import mails
from channels_app.bots.channels import can_post
from channels_app.errors import TurnError
from channels_app.jobs import cron
from channels_app.models import ChannelRoom, Schedule
from channels_app.turn_requests import checked_text
from personas.conversations import conversations_visible_to

ROOMS: Final = frozenset(
    {Schedule.Delivery.NEXTCLOUD_TALK, Schedule.Delivery.GOOGLE_CHAT}
)
"""Deliveries that go into a room."""
_TIERS: Final = frozenset({None, 1, 2, 3})


def check(schedule: Schedule) -> None:
    """Put a brief into the form in which it is kept; raises ``ValidationError``."""
    faults: dict[str, list[str]] = {}
    for part in (_words, _times_of, _persona, _limits, _delivery):
        try:
            part(schedule)
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


def leave_conversation_that_does_not_suit(schedule: Schedule) -> None:
    """Take the conversation out where it does not suit the brief any more."""
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
