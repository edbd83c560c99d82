"""Sending again, at its owner's wish, what the outbox has given up."""

from __future__ import annotations

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from channels_app.bots import readers
from channels_app.bots.outbox import EARLIER_FAILED
from channels_app.models import OutboundReply

GIVEN_UP = (OutboundReply.State.FAILED, OutboundReply.State.UNKNOWN)


def can_be_sent_again(state: str, error: str) -> bool:
    """Say whether a reply is offered to be sent again.

    The rest of an answer goes with its beginning, not by itself.
    """
    return state in GIVEN_UP and error != EARLIER_FAILED


def objection_to(reply: OutboundReply) -> str:
    """Return why a reply may not be sent to its room now; empty = it may."""
    return readers.objections([reply]).get(reply.pk, "")


def send_again(reply: OutboundReply) -> bool:
    """Let a reply be delivered anew, with the parts that waited for it.

    Where an attempt may have arrived, the reader will see that it is a repetition.

    Returns:
        Whether there was something to send; its text goes when it arrives. ``False``
        too while ``objection_to`` has something against it.
    """
    if objection_to(reply):
        return False
    with transaction.atomic():
        unsure = reply.state == OutboundReply.State.UNKNOWN
        rows = OutboundReply.objects.filter(pk=reply.pk, state__in=GIVEN_UP)
        if not _open(rows, repeated=reply.repeated or unsure):
            return False
        if reply.event_id is not None:
            rest = OutboundReply.objects.filter(
                event_id=reply.event_id,
                part__gt=reply.part,
                state=OutboundReply.State.FAILED,
            )
            _open(rest)
    return True


def _open(rows: QuerySet[OutboundReply], **fields: bool) -> int:
    return rows.exclude(text="").update(
        state=OutboundReply.State.PENDING,
        attempts=0,
        next_at=timezone.now(),
        claimed_at=None,
        status=None,
        error="",
        **fields,
    )
