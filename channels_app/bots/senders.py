"""Who speaks: the channel's owner, or somebody else.

Only the id in the verified event counts. A name, an address or a text proves nothing:
anybody can call themselves as they like.
"""

from __future__ import annotations

from dataclasses import dataclass

from channels_app.bots.incoming import Incoming
from channels_app.models import Channel, ChannelRoom

NAME_CHARS = 100
SOMEBODY = "Somebody"


@dataclass(frozen=True, slots=True)
class Sender:
    """Who wrote, as far as it is proved, and who reads the answer."""

    is_owner: bool
    """A linked identity of the channel's owner; everybody else is a guest."""
    alone: bool
    """Nobody but the owner reads along."""
    name: str
    """One line, to be shown; no proof of anything."""


def is_linked(channel: Channel, sender_id: str) -> bool:
    """Say whether an account on the other side is the channel's owner."""
    if not sender_id:
        return False
    return channel.identities.filter(external_id=sender_id).exists()


def recognise(channel: Channel, room: ChannelRoom, incoming: Incoming) -> Sender:
    """Return who wrote in a room.

    Where the owner said that only they read, or the platform vouches for it, that
    holds for their own messages: a guest who writes there has read it too.
    """
    is_owner = is_linked(channel, incoming.sender_id)
    return Sender(
        is_owner=is_owner,
        alone=is_owner and (room.alone or incoming.is_direct),
        name=" ".join(incoming.sender_name.split())[:NAME_CHARS] or SOMEBODY,
    )
