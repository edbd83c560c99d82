"""What keeps a bot from talking without end: loops, and what guests may cost.

Both count rows of events, so that they hold for all processes and after a restart.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db.models import QuerySet
from django.utils import timezone

from channels_app.bots.inbox import STOP
from channels_app.models import Channel, InboundEvent

LOOP_MESSAGES = 20
LOOP_WITHIN = timedelta(seconds=60)
LOOP = "loop"
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


def guests_are_over(channel: Channel, event: InboundEvent) -> bool:
    """Say whether the guests of this UTC day have had what the owner allows them.

    An event that was counted before is not counted again.
    """
    answered = _of_day(event).exclude(pk=event.pk).filter(guest=True)
    return answered.count() >= channel.guest_daily_messages


def guests_were_told(event: InboundEvent) -> bool:
    """Say whether this room was told today that guests have had enough."""
    return _of_day(event).filter(room_id=event.room_id, reason=GUESTS).exists()


def _of_day(event: InboundEvent) -> QuerySet[InboundEvent]:
    return InboundEvent.objects.filter(
        channel=event.channel_id, received_at__gte=_midnight()
    )


def _midnight() -> datetime:
    return timezone.now().replace(hour=0, minute=0, second=0, microsecond=0)
