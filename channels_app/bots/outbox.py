"""Answers on their way to a platform: stored first, sent at once, tried again later.

Each part of an answer is one row whose id is its idempotency key, the same whenever an
event is answered anew. What answers no event comes from ``messages``.
Where the platform does not recognise a repeated key, an attempt that may have arrived
is followed by at most one more, marked for the reader.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from accounts.secrets import Undecryptable
from channels_app import couriers, deliveries
from channels_app.bots import readers, reply_queue
from channels_app.bots.adapters import Adapter, ChannelInfo, Outgoing, adapter_for
from channels_app.bots.channels import info_of
from channels_app.bots.incoming import Incoming
from channels_app.deliveries import Claimed, DeliveryError
from channels_app.models import Channel, InboundEvent, OutboundReply
from channels_app.webhooks import announcing
from personas.prepared import Prepared
from routing.db_pool import run_in_db_pool

AT_ONCE: Final = reply_queue.MOST
"""So many messages of one channel may be under way."""
KEYS: Final = uuid.UUID("6f1d2a34-0c0b-4a53-9c57-2b5c5d6a9a10")
CUT_OFF: Final = "Cortex ended while it was being sent; it may have arrived."
SWITCHED_OFF: Final = "The channel is switched off."
EARLIER_FAILED: Final = "An earlier part of the answer could not be sent."


def key_of(event: InboundEvent, part: int = 0) -> uuid.UUID:
    """Return the id that a part of the answer to an event has, now and ever again.

    What a platform shows while an answer is being written carries that of part 0.
    """
    return uuid.uuid5(KEYS, f"{event.channel_id} {event.external_id} {part}")


def add(
    event: InboundEvent,
    parts: Sequence[str],
    *,
    external_id: str = "",
    incoming: Incoming | None = None,
    alone: bool = False,
) -> int:
    """Store the answer to an event; return how many parts were new.

    Doing it again changes nothing. Call ``wake`` or ``deliver_due`` after the commit.

    Args:
        event: Has its payload still, unless ``incoming`` is given.
        parts: Texts as the adapter's ``split`` cut them; empty ones are left out.
        external_id: The platform's message that stands for the first part already.
        incoming: What the event's payload says, where it has been read before.
        alone: It is sent only while nobody but the owner reads in the room.
    """
    came = incoming or Incoming.from_payload(event.payload)
    known = set(event.replies.values_list("part", flat=True))
    rows = [
        OutboundReply(
            id=key_of(event, number),
            channel_id=event.channel_id,
            event=event,
            part=number,
            room_id=event.room_id,
            thread=came.thread,
            reply_to="" if number else came.reply_to,
            text=text,
            external_id="" if number else external_id,
            extra=came.extra,
            alone=alone,
        )
        for number, text in enumerate(text for text in parts if text.strip())
        if number not in known
    ]
    OutboundReply.objects.bulk_create(rows, ignore_conflicts=True)
    return len(rows)


def wake(channel_id: int) -> None:
    """Let what is due for a channel be sent in this process; returns at once."""
    COURIERS.wake(channel_id)


async def deliver_due(channel_id: int) -> int:
    """Send what is due for a channel; return how many parts arrived.

    Returns when nothing is left to be sent now. What failed is due again later.
    """
    return await COURIERS.deliver(channel_id)


async def wake_due() -> None:
    """Let what is due for every channel be sent; returns before it arrives."""
    for channel_id in await run_in_db_pool(reply_queue.channels_due):
        COURIERS.wake(channel_id)


# --- in the database ----------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Job:
    """One message with what is needed to send it."""

    row: OutboundReply
    channel: ChannelInfo
    adapter: Adapter


def _channel(channel_id: int) -> QuerySet[Channel]:
    return Channel.objects.filter(pk=channel_id).select_related("owner", "persona")


_CHANNEL: Final = Prepared(_channel, [(Channel._meta.pk, -1)])


def _round(
    channel_id: int, ended: list[tuple[_Job, str | DeliveryError]], free: int
) -> list[_Job]:
    """Write how attempts ended and claim the next ones."""
    if not ended and not (free and reply_queue.is_due(channel_id)):
        return []
    with transaction.atomic():
        for job, how in ended:
            if isinstance(how, DeliveryError):
                _note_failure(job, how)
            else:
                deliveries.settle_sent(job.row, text="", external_id=how[:255])
        if any(isinstance(how, str) for _, how in ended):
            _note_success(channel_id)
        return _claim(channel_id, free)


def _claim(channel_id: int, free: int) -> list[_Job]:
    found = reply_queue.lock_due(channel_id)[:free] if free else []
    claimed = deliveries.claim(found)
    channel = _CHANNEL.first(channel_id) if claimed else None
    if channel is None:
        return []  # a channel that goes takes its rows with it
    if not (channel.enabled and channel.owner.is_active):
        for each in claimed:
            _give_up(each.row, SWITCHED_OFF)
        return []
    try:
        info = info_of(channel)
    except Undecryptable as error:
        for each in claimed:
            _note_error(channel, each.row, DeliveryError(str(error), retryable=True))
        return []
    adapter = adapter_for(channel.kind)
    return [
        _Job(each.row, info, adapter)
        for each in _welcome(claimed)
        if _may_send(channel, each, adapter)
    ]


def _welcome(claimed: list[Claimed[OutboundReply]]) -> list[Claimed[OutboundReply]]:
    """Return those whose room may still read them, and give the others up."""
    objections = readers.objections([each.row for each in claimed])
    for each in claimed:
        if each.row.pk in objections:
            _give_up(each.row, objections[each.row.pk])
    return [each for each in claimed if each.row.pk not in objections]


def _may_send(
    channel: Channel, claimed: Claimed[OutboundReply], adapter: Adapter
) -> bool:
    """Say whether a row may be sent that somebody else may have sent already."""
    row = claimed.row
    if not claimed.taken_over:
        return True
    if row.attempts > deliveries.MAX_ATTEMPTS or (
        row.repeated and not adapter.idempotent
    ):
        cut_off = DeliveryError(CUT_OFF, may_have_arrived=True)
        _note_error(channel, row, cut_off, may_repeat=False)
        return False
    if not adapter.idempotent:
        # Kept before it is sent: a second crash must not lead to a third copy.
        row.repeated = True
        row.save(update_fields=["repeated"])
    return True


def _note_failure(job: _Job, error: DeliveryError) -> None:
    row, idempotent = job.row, job.adapter.idempotent
    channel = Channel.objects.filter(pk=row.channel_id).first()
    if channel is None:
        return  # its rows went with it
    fields = {}
    if error.may_have_arrived and not idempotent:
        fields["repeated"] = True
    _note_error(
        channel,
        row,
        error,
        may_repeat=idempotent or not row.repeated,
        **fields,
    )


def _note_error(
    channel: Channel,
    row: OutboundReply,
    error: DeliveryError,
    *,
    may_repeat: bool = True,
    **fields: bool,
) -> None:
    """Write an attempt's failure; where it was the last one its owner is told."""
    state = deliveries.settle_error(
        row, error, may_repeat=may_repeat, arrived_before=row.repeated, **fields
    )
    if state not in {OutboundReply.State.FAILED, OutboundReply.State.UNKNOWN}:
        return
    channel.fault, channel.fault_at = str(error)[:300], timezone.now()
    channel.save(update_fields=["fault", "fault_at"])
    if state == OutboundReply.State.FAILED:
        _give_up_later_parts(row)
    announcing.store(
        channel.owner_id,
        "reply.failed",
        # Sent again by hand, it may fail again: that is told, too.
        f"reply-{row.pk}-{row.claimed_at:%Y%m%d%H%M%S%f}",
        {
            "reply": str(row.pk),
            "channel": channel.kind,
            "room": row.room_id,
            "state": state,
            "attempts": row.attempts,
            "status": error.status,
            "error": str(error),
        },
    )


def _give_up(row: OutboundReply, error: str) -> None:
    deliveries.settle_failed(row, error)
    _give_up_later_parts(row)


def _give_up_later_parts(row: OutboundReply) -> None:
    """The rest of an answer is of no use without its beginning."""
    later = OutboundReply.objects.filter(
        part__gt=row.part, state=OutboundReply.State.PENDING
    )
    if row.event_id is not None:
        later = later.filter(event_id=row.event_id)
    else:
        later = later.filter(
            event=None,
            channel_id=row.channel_id,
            room_id=row.room_id,
            created_at=row.created_at,
        )
    later.update(state=OutboundReply.State.FAILED, error=EARLIER_FAILED)


def _note_success(channel_id: int) -> None:
    Channel.objects.filter(pk=channel_id).update(
        last_reply_at=timezone.now(), fault="", fault_at=None
    )


async def _send(job: _Job) -> str:
    row = job.row
    message = Outgoing(
        id=row.pk,
        room_id=row.room_id,
        text=row.text,
        thread=row.thread,
        reply_to=row.reply_to,
        part=row.part,
        repeated=row.repeated,
        external_id=row.external_id,
        extra=row.extra,
    )
    return await job.adapter.send(job.channel, message)


COURIERS: Final = couriers.Couriers("Replies", _round, _send, at_once=AT_ONCE)
