"""Which stored answers may be sent now, and in which order.

Synchronous; belongs into ``routing.db_pool``.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final

from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone

from channels_app import deliveries
from channels_app.deliveries import OPEN_LITERALLY
from channels_app.models import OutboundReply
from personas.prepared import Prepared

MOST: Final = 16
"""Most answers of one channel that are found at once."""
IN_ORDER_FOR: Final = timedelta(minutes=2)
"""An answer that cannot be sent holds up later ones in its room for so long."""


def in_turn(since: datetime) -> QuerySet[OutboundReply]:
    """Return what waits for nothing else.

    A part waits for those before it. An answer waits for answers to older events of its
    room, and for earlier messages there that answer no event, unless those were stored
    before ``since`` and have been tried in vain for a while. A message that answers no
    event, such as a brief's, waits for earlier ones of its kind only, and so may come
    between two parts of an answer: if it waited for answers as well, three of them
    could wait for each other.
    """
    still_open = OutboundReply.objects.filter(state__in=OPEN_LITERALLY)
    parts = still_open.filter(event=OuterRef("event"), part__lt=OuterRef("part"))
    # One condition for all of a room: its index holds only what is open.
    unasked = Q(event=None, created_at=OuterRef("created_at"))
    earlier = Q(event__lt=OuterRef("event")) | Q(
        event=None, created_at__lt=OuterRef("created_at")
    )
    others = still_open.filter(
        (unasked & Q(part__lt=OuterRef("part"))) | (earlier & Q(created_at__gt=since)),
        channel=OuterRef("channel"),
        room_id=OuterRef("room_id"),
    )
    return OutboundReply.objects.filter(~Exists(parts), ~Exists(others))


def due(channel_id: int, now: datetime, since: datetime) -> QuerySet[OutboundReply]:
    """Return what of a channel is due and in turn, the longest waiting first."""
    rows = in_turn(since).filter(channel_id=channel_id)
    return deliveries.due(rows, now).order_by("next_at")[:MOST]


def _locked(channel_id: int, now: datetime, since: datetime) -> QuerySet[OutboundReply]:
    return due(channel_id, now, since).select_for_update(skip_locked=True)


# Each answer needs them once or twice, and composing them takes longer than they do.
_SAMPLES: Final[list[tuple[Any, Any]]] = [
    (OutboundReply._meta.get_field("channel"), -1),
    (OutboundReply._meta.get_field("next_at"), datetime(2001, 1, 1, tzinfo=UTC)),
    (OutboundReply._meta.get_field("created_at"), datetime(2002, 1, 1, tzinfo=UTC)),
]
_DUE: Final = Prepared(due, _SAMPLES)
_DUE_LOCKED: Final = Prepared(_locked, _SAMPLES)


def is_due(channel_id: int) -> bool:
    """Say whether something of a channel may be sent now."""
    now = timezone.now()
    return _DUE.first(channel_id, now, now - IN_ORDER_FOR) is not None


def lock_due(channel_id: int) -> list[OutboundReply]:
    """Return what of a channel may be sent now, locked in this transaction."""
    now = timezone.now()
    return _DUE_LOCKED.all(channel_id, now, now - IN_ORDER_FOR)


def channels_due() -> list[int]:
    """Return the ids of the channels by which something may be sent now."""
    rows = deliveries.due(in_turn(timezone.now() - IN_ORDER_FOR)).order_by()
    return list(rows.values_list("channel_id", flat=True).distinct())
