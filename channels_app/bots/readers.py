"""Who reads in a room, looked at once more right before something is said there.

Between the question and its answer minutes pass, in the outbox even hours, and the
owner may refuse the room meanwhile or take back that only they read there.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final
from uuid import UUID

from channels_app.bots.incoming import Incoming
from channels_app.models import ChannelRoom, InboundEvent, OutboundReply

NOT_ALLOWED: Final = "The room is not allowed any more."
NOT_ALONE: Final = "It was meant for its owner alone, and others read in the room now."


def depends_on_room(incoming: Incoming, *, alone: bool) -> bool:
    """Say whether words are meant for the owner alone, because the room is theirs.

    Of a direct chat the platform itself says who reads there, once and for all.
    """
    return alone and not incoming.is_direct


def objection_to_answer(event: InboundEvent, incoming: Incoming, *, alone: bool) -> str:
    """Return why the answer to an event may not be said; empty = it may.

    ``alone``: it was made for the owner alone.
    """
    room = ChannelRoom.objects.filter(
        channel=event.channel_id, external_id=event.room_id
    ).first()
    return _objection(room, alone=depends_on_room(incoming, alone=alone))


def objections(replies: Collection[OutboundReply]) -> dict[UUID, str]:
    """Return why some of these replies of one channel may not be sent now.

    In a room that waits the hints are sent that say so, and nothing else.
    """
    rooms = {
        room.external_id: room
        for room in ChannelRoom.objects.filter(
            channel__in={reply.channel_id for reply in replies},
            external_id__in={reply.room_id for reply in replies},
        )
    }
    found = {}
    for reply in replies:
        room = rooms.get(reply.room_id)
        if (why := _objection(room, alone=reply.alone)) and not _is_hint(reply, room):
            found[reply.pk] = why
    return found


def _objection(room: ChannelRoom | None, *, alone: bool) -> str:
    if room is None or room.state != ChannelRoom.State.ALLOWED:
        return NOT_ALLOWED
    return NOT_ALONE if alone and not room.alone else ""


def _is_hint(reply: OutboundReply, room: ChannelRoom | None) -> bool:
    """Say whether it tells how a room is allowed that still waits for it."""
    if room is None or room.state != ChannelRoom.State.WAITING:
        return False
    if reply.event_id is None:
        return False
    ignored = InboundEvent.objects.filter(
        pk=reply.event_id, state=InboundEvent.State.IGNORED
    )
    return ignored.exists()
