"""What the pages about channels show: their state in words, what came in and went out.

Nothing here loads a message: the columns with texts and payloads are left out of every
query.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from django.db.models import Count, Q, QuerySet

from channels_app.bots.channels import is_set_up
from channels_app.bots.resend import GIVEN_UP, can_be_sent_again
from channels_app.models import Channel, InboundEvent, OutboundReply

LINES_SHOWN = 10
EVENTS_OPEN = (InboundEvent.State.RECEIVED, InboundEvent.State.PROCESSING)
REPLIES_OPEN = (OutboundReply.State.PENDING, OutboundReply.State.SENDING)
_EVENT_WORDS = {
    "message": "Message",
    "joined": "Bot added",
    "left": "Bot removed",
    "reaction": "Reaction",
}
_BADGES = {
    "received": "",
    "processing": "",
    "done": "good",
    "ignored": "",
    "failed": "danger",
    "pending": "",
    "sending": "",
    "sent": "good",
    "unknown": "warn",
}


@dataclass(frozen=True, slots=True)
class State:
    """How a channel is, in a word and a sentence."""

    word: str
    badge: str
    """Class of the badge: good, warn, danger or nothing."""
    sentence: str


def state_of(channel: Channel) -> State:
    """Return how a channel is."""
    if channel.persona_id is None:
        text = "Its persona was deleted: choose who answers."
        return State("Nobody answers", "danger", text)
    if not is_set_up(channel):
        text = "Its address does not exist before that."
        return State("Not set up yet", "warn", text)
    if not channel.enabled:
        text = "Its address does not exist for the outside."
        return State("Switched off", "warn", text)
    if channel.fault:
        return State("Has a problem", "danger", channel.fault)
    if channel.last_event_at is None:
        return State("Waiting", "", "Nothing has come in yet.")
    return State("Works", "good", "")


@dataclass(frozen=True, slots=True)
class DeliveryLine:
    """One thing that came in or went out."""

    at: datetime.datetime
    went_out: bool
    what: str
    room: str
    state: str
    badge: str
    attempts: int
    error: str
    retry_id: UUID | None = None
    """The reply that can be sent again."""


def deliveries_of(channel: Channel) -> list[DeliveryLine]:
    """Return the last events and replies of a channel, newest first."""
    names = dict(channel.rooms.values_list("external_id", "name"))
    lines = [*_events(channel, names), *_replies(channel, names)]
    return sorted(lines, key=lambda line: line.at, reverse=True)[:LINES_SHOWN]


def _events(channel: Channel, names: dict[str, str]) -> Iterable[DeliveryLine]:
    rows = InboundEvent.objects.filter(channel=channel).order_by("-id")
    for row in rows.values(
        "received_at", "kind", "room_id", "state", "attempts", "reason"
    )[:LINES_SHOWN]:
        yield DeliveryLine(
            at=row["received_at"],
            went_out=False,
            what=_EVENT_WORDS.get(row["kind"], "Notice"),
            room=names.get(row["room_id"]) or row["room_id"],
            state=row["state"],
            badge=_BADGES.get(row["state"], ""),
            attempts=row["attempts"],
            error=row["reason"],
        )


def _replies(channel: Channel, names: dict[str, str]) -> Iterable[DeliveryLine]:
    rows = OutboundReply.objects.filter(channel=channel).order_by("-created_at")
    for row in rows.values(
        "id", "created_at", "part", "room_id", "state", "attempts", "error", "sent_at"
    )[:LINES_SHOWN]:
        again = can_be_sent_again(row["state"], row["error"])
        yield DeliveryLine(
            at=row["sent_at"] or row["created_at"],
            went_out=True,
            what="Answer" if not row["part"] else f"Answer, part {row['part'] + 1}",
            room=names.get(row["room_id"]) or row["room_id"],
            state="may have arrived" if row["state"] == "unknown" else row["state"],
            badge=_BADGES.get(row["state"], ""),
            attempts=row["attempts"],
            error="" if row["state"] == "sent" else row["error"],
            retry_id=row["id"] if again else None,
        )


@dataclass(frozen=True, slots=True)
class HealthLine:
    """A channel as administrators see it: whose, how it is, and figures."""

    channel: Channel
    state: State
    events_open: int
    events_failed: int
    replies_open: int
    replies_failed: int


def health_lines() -> list[HealthLine]:
    """Return everybody's channels by owner; never anything that was said."""
    channels = Channel.objects.select_related("owner", "persona").order_by(
        "owner__username", "kind"
    )
    events = _counts(
        InboundEvent.objects.all(), EVENTS_OPEN, (InboundEvent.State.FAILED,)
    )
    replies = _counts(OutboundReply.objects.all(), REPLIES_OPEN, GIVEN_UP)
    nothing = (0, 0)
    return [
        HealthLine(
            channel,
            state_of(channel),
            *events.get(channel.pk, nothing),
            *replies.get(channel.pk, nothing),
        )
        for channel in channels
    ]


def _counts(
    rows: QuerySet[InboundEvent] | QuerySet[OutboundReply],
    is_open: Iterable[str],
    is_failed: Iterable[str],
) -> dict[int, tuple[int, int]]:
    """Return how many rows of each channel are open, and how many failed."""
    is_open, is_failed = list(is_open), list(is_failed)
    sums = (
        rows.filter(state__in=[*is_open, *is_failed])
        .order_by()
        .values("channel")
        .annotate(
            open=Count("pk", filter=Q(state__in=is_open)),
            failed=Count("pk", filter=Q(state__in=is_failed)),
        )
    )
    return {row["channel"]: (row["open"], row["failed"]) for row in sums}
