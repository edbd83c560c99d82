"""What keeps a bot from talking without end: loops, and what guests may cost.

Both count rows of events, so that they hold for all processes and after a restart.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db.models import QuerySet
from django.utils import timezone

from accounts.transactions import quick_transaction
from channels_app.bots.inbox import STOP
from channels_app.models import Channel, InboundEvent

LOOP_MESSAGES = 20
LOOP_WITHIN = timedelta(seconds=60)
LOOP = "loop"
QUIET_LOOP = "loop among others"
GUESTS = "guest_limit"
"""Reasons why an event was ignored."""


def is_loop(event: InboundEvent) -> bool:
    """Say whether its sender wrote so much in this room that it must be a program."""
    kinds = ("message", STOP)
    recent = _of_sender(event).filter(kind__in=kinds)
    return recent[: LOOP_MESSAGES + 1].count() > LOOP_MESSAGES


def loop_was_told(event: InboundEvent) -> bool:
    """Say whether the sender's earlier messages of this minute were ignored already."""
    return _of_sender(event).exclude(pk=event.pk).filter(reason=LOOP).exists()


def _of_sender(event: InboundEvent) -> QuerySet[InboundEvent]:
    """Return what a sender wrote in a room in the minute that ends with an event."""
    return InboundEvent.objects.filter(
        channel=event.channel_id,
        room_id=event.room_id,
        sender_id=event.sender_id,
        received_at__gt=event.received_at - LOOP_WITHIN,
        received_at__lte=event.received_at,
        pk__lte=event.pk,
    )


def admit_guest(channel: Channel, event: InboundEvent) -> bool:
    """Count a guest's event; ``False`` = this UTC day's guests have had their number.

    It is counted before the others are, and taken back where they are too many: of two
    that come at once in different rooms only one gets the last place. An event that
    was counted before is not counted again.
    """
    if event.guest:
        return True
    with quick_transaction():
        # PostgreSQL lets two who write at once not see each other; SQLite does.
        Channel.objects.select_for_update(no_key=True).filter(pk=channel.pk).first()
        _mark(event, guest=True)
        others = _of_day(event).filter(guest=True).exclude(pk=event.pk)
        limit = channel.guest_daily_messages
        if others[:limit].count() >= limit:
            _mark(event, guest=False)
    return event.guest


def no_guest(event: InboundEvent) -> None:
    """Take back that a guest wrote: its sender has been linked meanwhile."""
    if event.guest:
        with quick_transaction():
            _mark(event, guest=False)


def _mark(event: InboundEvent, *, guest: bool) -> None:
    event.guest = guest
    event.save(update_fields=["guest"])


def guests_were_told(event: InboundEvent) -> bool:
    """Say whether this room was told today that guests have had enough."""
    return _of_day(event).filter(room_id=event.room_id, reason=GUESTS).exists()


def _of_day(event: InboundEvent) -> QuerySet[InboundEvent]:
    return InboundEvent.objects.filter(
        channel=event.channel_id, received_at__gte=_midnight()
    )


def _midnight() -> datetime:
    return timezone.now().replace(hour=0, minute=0, second=0, microsecond=0)
