"""Rooms: which are allowed, who reads there, and which conversation goes on in them.

A room is known from the first event on and waits until its owner allows it. Nobody is
answered in a room that is not allowed, except by a hint how to allow it.
"""

from __future__ import annotations

import re
from datetime import timedelta
from urllib.parse import urljoin

from django.conf import settings
from django.db import transaction
from django.http import Http404
from django.utils import timezone

from accounts import audit
from accounts.models import User
from accounts.transactions import quick_transaction
from channels_app.bots.incoming import Incoming
from channels_app.models import Channel, ChannelRoom
from personas.conversations import conversations_visible_to
from personas.models import Conversation, Persona

HINT_EVERY = timedelta(days=1)
SEEN_EVERY = timedelta(seconds=10)
"""How exactly it is noted when somebody last wrote in a room."""
MAX_WAITING = 200
"""Rooms of a channel that wait to be allowed; what comes from others is ignored."""
_NAME_CHARS = 200


def settings_address(channel: Channel) -> str:
    """Return the address of the page where the owner allows rooms."""
    path = f"/settings/channels/{channel.kind.replace('_', '-')}/"
    return urljoin(settings.CORTEX_PUBLIC_URL, path)


def set_room(
    user: User, channel: Channel, room_id: str, state: str, alone: bool
) -> ChannelRoom:
    """Allow or refuse a room, and say whether only its owner reads there.

    Args:
        user: Whose channel it is.
        room_id: The room's id on the other side; one not seen yet is made.
        state: A value of ``ChannelRoom.State``.
        alone: A change begins a new conversation.

    Raises:
        Http404: The channel is not theirs.
    """
    if channel.owner_id != user.pk:
        raise Http404("There is no such channel.")
    with transaction.atomic():
        room, _ = ChannelRoom.objects.select_for_update().get_or_create(
            channel=channel, external_id=room_id
        )
        if room.state == state and room.alone == alone:
            return room
        if room.alone != alone:
            room.conversation = None
        room.state, room.alone = ChannelRoom.State(state), alone
        room.save(update_fields=["state", "alone", "conversation"])
        audit.record(
            "channel.room_changed",
            actor=user,
            subject=channel.get_kind_display(),
            room=room_id,
            state=state,
            alone=alone,
        )
    return room


def see(channel: Channel, incoming: Incoming) -> ChannelRoom | None:
    """Return the room of an event, made on first sight; ``None`` = too many wait."""
    name = " ".join(incoming.room_name.split())[:_NAME_CHARS]
    room = ChannelRoom.objects.filter(
        channel=channel, external_id=incoming.room_id
    ).first()
    if room is None and (room := _make(channel, incoming.room_id, name)) is None:
        return None
    changed = []
    if name and name != room.name:
        room.name = name
        changed.append("name")
    now = timezone.now()
    if incoming.kind == "message" and (
        room.last_message_at is None or now - room.last_message_at > SEEN_EVERY
    ):
        room.last_message_at = now
        changed.append("last_message_at")
    if changed:
        with quick_transaction():
            room.save(update_fields=changed)
    return room


def _make(channel: Channel, room_id: str, name: str) -> ChannelRoom | None:
    waiting = ChannelRoom.objects.filter(
        channel=channel, state=ChannelRoom.State.WAITING
    )
    if waiting[:MAX_WAITING].count() >= MAX_WAITING:
        return None
    with quick_transaction():
        room, _ = ChannelRoom.objects.get_or_create(
            channel=channel, external_id=room_id, defaults={"name": name}
        )
    return room


def hint_is_due(room: ChannelRoom) -> bool:
    """Say whether the room may be given a hint now, and note that it is given."""
    now = timezone.now()
    if room.told_at is not None and now - room.told_at < HINT_EVERY:
        return False
    room.told_at = now
    room.save(update_fields=["told_at"])
    return True


def no_longer_alone(room: ChannelRoom) -> None:
    """Take back that only the owner reads in a room: somebody else wrote there."""
    if room.alone:
        room.alone, room.conversation = False, None
        with quick_transaction():
            room.save(update_fields=["alone", "conversation"])


def persona_of(channel: Channel, room: ChannelRoom) -> Persona | None:
    """Return who answers in a room."""
    if room.persona is not None and room.persona.owner_id == channel.owner_id:
        return room.persona
    return channel.persona


def conversation_of(
    channel: Channel, room: ChannelRoom, persona: Persona, *, alone: bool
) -> Conversation | None:
    """Return the conversation that goes on in a room; ``None`` = a new one begins.

    What is private on the web is not carried to a platform by itself.
    """
    if room.begins_new:
        return None
    mine = conversations_visible_to(channel.owner).filter(
        persona=persona, temporary=False, shared=not alone
    )
    if alone and channel.thread == Channel.Thread.WEB:
        return mine.filter(private=False).first()
    if room.conversation_id is None:
        return None
    return mine.filter(pk=room.conversation_id).first()


def names_persona(text: str, persona: Persona) -> bool:
    """Say whether a text names a persona, as a word of its own and in any case."""
    return _search(rf"(?<!\w)(?:{_names(persona)})(?!\w)", text) is not None


def without_name(incoming: Incoming, persona: Persona) -> str:
    """Return what a message says behind the name with which it addresses a persona.

    ``Inara, /help`` and ``@Inara /help`` give ``/help``. Of a mention by the platform's
    own means only its comma may be left. What stands in another line, or behind other
    words, was not said to the persona in this way: the text is returned whole then.
    """
    text = incoming.text.strip()
    name = rf"@?(?:{_names(persona)})(?!\w)"
    named = _search(rf"\A{name}(?:[ \t]*[,:;][ \t]*|[ \t]+)(?=/)", text)
    if named is None and incoming.names_bot:
        named = _search(r"\A[,:;][ \t]*(?=/)", text)
    return text[named.end() :] if named else text


def _names(persona: Persona) -> str:
    return "|".join(
        re.escape(name) for name in (persona.display_name, persona.name) if name
    )


def _search(pattern: str, text: str) -> re.Match[str] | None:
    return re.search(pattern, text, re.IGNORECASE)
