"""What has not left the house yet of an answer that its person deletes."""

from __future__ import annotations

from typing import Final

from channels_app.models import OutboundReply
from personas.models import Message

DELETED: Final = "The answer was deleted."
_State = OutboundReply.State
_NOT_SENT: Final = (_State.PENDING, _State.FAILED, _State.UNKNOWN)


def withdraw(answer: Message) -> int:
    """Send nothing more of an answer into a room, and keep no copy of it to be sent.

    What is on its way at this moment arrives. Returns how many parts were withdrawn.
    """
    rows = OutboundReply.objects.filter(
        event__turn_id=answer.pk, channel__owner=answer.owner_id, state__in=_NOT_SENT
    ).exclude(text="")
    return rows.update(state=_State.FAILED, text="", error=DELETED)
