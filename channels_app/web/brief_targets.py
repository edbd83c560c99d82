"""Where the answers of a brief can go: what there is to choose, and how to get more."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from django.db.models import QuerySet
from django.urls import reverse

from accounts.models import User
from channels_app import mails
from channels_app.bots.channels import can_post, channels_visible_to
from channels_app.job_models import Schedule
from channels_app.models import Channel, ChannelRoom
from channels_app.webhooks.endpoints import webhooks_visible_to
from personas.conversations import conversations_visible_to
from personas.models import Conversation

OWN: Final = "own"
"""The value for a conversation that the first run makes."""
_EMAIL: Final = "email"
OTHERS_READ: Final = "Others read there: private files and memory stay out."
_Delivery = Schedule.Delivery


@dataclass(frozen=True, slots=True)
class Target:
    """One place for answers; ``value`` is what the form sends."""

    value: str
    label: str
    help: str = ""


@dataclass(frozen=True, slots=True)
class Way:
    """How to get a kind of target that the person has none of."""

    sentence: str
    link: str = ""
    href: str = ""


def targets_for(
    user: User, schedule: Schedule | None, begun_in: Conversation | None = None
) -> list[Target]:
    """Return every place that exists for this person, for a brief or for a new one.

    ``begun_in`` is the conversation that is being made a brief.
    """
    chats = [begun_in] if begun_in is not None else []
    if schedule is not None and (chat := _kept_conversation(user, schedule)):
        chats.append(chat)
    return [
        Target(
            OWN,
            "In a conversation of its own",
            "The first run begins it; you find it in the list of the persona's chats.",
        ),
        *map(_of_conversation, chats),
        *_rooms(user, schedule),
        *_mail(user),
        *_endpoints(user, schedule),
    ]


def ways_to_more(user: User) -> list[Way]:
    """Return how to get the kinds of targets of which the person has none."""
    ways = []
    channels = {each.kind: each for each in channels_visible_to(user)}
    rooms = set(_usable_rooms(user).values_list("channel__kind", flat=True))
    for kind in Channel.Kind:
        if way := _way_to_rooms(kind, channels.get(kind), has_room=kind in rooms):
            ways.append(way)
    if not mails.is_set_up():
        ways.append(Way("For e-mail, an administrator has to set a mail server up."))
    elif not user.email:
        ways.append(
            Way("For e-mail Cortex needs", "your address.", reverse("account_email"))
        )
    if not webhooks_visible_to(user).filter(enabled=True).exists():
        ways.append(
            Way("For a program of yours,", "add a webhook.", reverse("webhooks"))
        )
    return ways


def value_of(schedule: Schedule) -> str:
    """Return the target of a brief as the form sends it; "" = it is gone."""
    delivery = schedule.delivery
    if delivery == _Delivery.EMAIL:
        return _EMAIL
    if delivery == _Delivery.WEBHOOK:
        return f"endpoint:{schedule.endpoint_id}" if schedule.endpoint_id else ""
    if delivery == _Delivery.CONVERSATION:
        chat = _kept_conversation(schedule.owner, schedule)
        return f"conversation:{chat.pk}" if chat else OWN
    return f"room:{schedule.room_id}" if schedule.room_id else ""


def set_target(schedule: Schedule, value: str) -> None:
    """Put a target that was offered into a brief.

    With another target its conversation begins anew: what was said alone is not
    carried to where others read.
    """
    if value == value_of(schedule):
        return
    kind, _, id = value.partition(":")
    schedule.room = schedule.endpoint = schedule.conversation = None
    schedule.delivery = _Delivery.CONVERSATION
    if kind == "room":
        room = _usable_rooms(schedule.owner).get(pk=int(id))
        schedule.room, schedule.delivery = room, _Delivery(room.channel.kind)
    elif kind == "endpoint":
        schedule.endpoint = webhooks_visible_to(schedule.owner).get(pk=int(id))
        schedule.delivery = _Delivery.WEBHOOK
    elif kind == "conversation":
        chats = conversations_visible_to(schedule.owner)
        schedule.conversation = chats.get(pk=UUID(id))
    elif kind == _EMAIL:
        schedule.delivery = _Delivery.EMAIL


def room_of_conversation(user: User, chat: Conversation) -> ChannelRoom | None:
    """Return the room in which a conversation is held, if answers can go there."""
    return _usable_rooms(user).filter(conversation=chat).first()


def room_value(room: ChannelRoom) -> str:
    """Return a room as the form sends it."""
    return f"room:{room.pk}"


def _kept_conversation(user: User, schedule: Schedule) -> Conversation | None:
    if schedule.conversation_id is None:
        return None
    return conversations_visible_to(user).filter(pk=schedule.conversation_id).first()


def _of_conversation(chat: Conversation) -> Target:
    title = chat.title or "Untitled chat"
    return Target(
        f"conversation:{chat.pk}",
        f"In “{title}”, with {chat.persona.display_name}",
        OTHERS_READ if chat.shared else "It goes on there, with what was said before.",
    )


def _usable_rooms(user: User) -> QuerySet[ChannelRoom]:
    """Return the rooms into which the person's bots may write first."""
    channels = [
        each.pk
        for each in channels_visible_to(user).filter(enabled=True)
        if can_post(each)
    ]
    return ChannelRoom.objects.filter(
        channel__in=channels, state=ChannelRoom.State.ALLOWED
    ).select_related("channel")


def _rooms(user: User, schedule: Schedule | None) -> Iterator[Target]:
    kept = schedule.room_id if schedule else None
    usable = {room.pk: room for room in _usable_rooms(user)}
    for room in usable.values():
        kind = room.channel.get_kind_display()
        help = "" if room.alone else OTHERS_READ
        yield Target(room_value(room), f"{kind}: {room}", help)
    if kept and kept not in usable and schedule and schedule.room:
        gone = "It is not answered any more: allow it again, or choose another place."
        yield Target(room_value(schedule.room), str(schedule.room), gone)


def _mail(user: User) -> Iterator[Target]:
    if not mails.obstacle(user):
        yield Target(_EMAIL, f"E-mail to {user.email}")


def _endpoints(user: User, schedule: Schedule | None) -> Iterator[Target]:
    kept = schedule.endpoint_id if schedule else None
    for endpoint in webhooks_visible_to(user):
        if endpoint.enabled or endpoint.pk == kept:
            help = "" if endpoint.enabled else "This webhook is switched off."
            yield Target(f"endpoint:{endpoint.pk}", f"Webhook: {endpoint}", help)


def _way_to_rooms(kind: str, channel: Channel | None, *, has_room: bool) -> Way | None:
    if has_room:
        return None
    label = Channel.Kind(kind).label
    href = reverse("channels")
    if channel is None:
        return Way(f"For {label},", "set the channel up.", href)
    page = f"{href}{kind.replace('_', '-')}/"
    if not channel.enabled:
        return Way(f"{label} is switched off:", "switch it on.", page)
    if not can_post(channel):
        return Way(f"For {label} Cortex needs", "a key file.", f"{page}#settings")
    return Way(f"In {label} no room is allowed:", "allow one.", f"{page}#rooms")
