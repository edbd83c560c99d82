"""How an event ends: its answer goes to the outbox and its text is forgotten.

Both in one transaction, so that an answer is sent once and only once whatever dies.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from uuid import UUID

from django.utils import timezone

from accounts.transactions import quick_transaction
from channels_app.bots import outbox
from channels_app.bots.adapters import adapter_for
from channels_app.bots.claims import Claim, held
from channels_app.bots.incoming import Incoming
from channels_app.models import ChannelRoom, InboundEvent
from personas.models import Message

SORRY: Final = "Sorry, I could not answer this message."
STOPPED: Final = "(Stopped.)"
BROKEN_OFF: Final = "(The answer breaks off here.)"
EMPTY: Final = "(The answer was empty.)"
TOLD_TO_ALL: Final = frozenset({"too_long", "busy", "too_many", "refused"})
"""Reasons that others in a room may read; those about money and hosts they may not."""
_REASON_CHARS = 200


@dataclass(frozen=True, slots=True)
class Ended:
    """What came of a turn."""

    text: str = ""
    """What was said, whole."""
    again: bool = False
    """Nothing: the process stops, and another one asks anew."""


def close(
    event: InboundEvent,
    incoming: Incoming,
    state: InboundEvent.State,
    *,
    reason: str = "",
    text: str = "",
    external_id: str = "",
) -> None:
    """End an event that this process has claimed, within a transaction.

    ``text`` is said in its room, unless the response to the event carries it.
    ``external_id``: the platform's message that stands there for it already.
    """
    if text and not incoming.extra.get("sync"):
        parts = adapter_for(event.channel.kind).split(text)
        outbox.add(event, parts, external_id=external_id, incoming=incoming)
    event.state, event.reason = state, reason[:_REASON_CHARS]
    event.payload, event.finished_at, event.claimed_at = {}, timezone.now(), None
    event.save(
        update_fields=["state", "reason", "payload", "finished_at", "claimed_at"]
    )


def note_start(claim: Claim, room: int, turn: UUID, conversation: UUID) -> None:
    """Note which turn answers an event, and that its conversation goes on there."""
    with quick_transaction():
        if InboundEvent.objects.filter(held(claim)).update(turn_id=turn):
            ChannelRoom.objects.filter(pk=room).update(
                conversation=conversation, begins_new=False
            )


def refuse(claim: Claim, incoming: Incoming, code: str, text: str) -> str:
    """Close an event whose turn could not begin; return what was said."""
    with quick_transaction():
        event = _held_event(claim)
        if event is None:
            return ""
        close(event, incoming, InboundEvent.State.FAILED, reason=code, text=text)
    return text


def finish(
    claim: Claim,
    incoming: Incoming,
    turn: UUID,
    *,
    alone: bool,
    stopping: bool,
    external_id: str = "",
) -> Ended | None:
    """Close an event with the answer of its turn; ``None`` while that is written.

    Args:
        alone: Only the owner reads the answer.
        stopping: This process ends, and has perhaps cut the answer off.
        external_id: The platform's message that shows the answer already.
    """
    answer = Message.objects.filter(pk=turn).first()
    if answer is not None and answer.state == Message.State.GENERATING:
        return None
    with quick_transaction():
        event = _held_event(claim)
        if event is None:
            return Ended()
        if stopping and answer and answer.state == Message.State.INTERRUPTED:
            _hand_over(event)
            return Ended(again=True)
        text = words_of(answer, alone=alone)
        state, reason = InboundEvent.State.DONE, ""
        if answer is None or answer.state == Message.State.FAILED:
            state = InboundEvent.State.FAILED
            reason = answer.error_code if answer else "deleted"
        close(event, incoming, state, reason=reason, text=text, external_id=external_id)
    return Ended(text)


def _held_event(claim: Claim) -> InboundEvent | None:
    rows = InboundEvent.objects.filter(held(claim)).select_for_update(of=("self",))
    return rows.select_related("channel").first()


def _hand_over(event: InboundEvent) -> None:
    """Leave an event to another process, without the turn that was cut off."""
    event.state, event.turn_id = InboundEvent.State.RECEIVED, None
    event.claimed_at, event.next_at = None, timezone.now()
    event.attempts -= 1
    event.save(update_fields=["state", "turn_id", "claimed_at", "next_at", "attempts"])


def words_of(answer: Message | None, *, alone: bool) -> str:
    """Return what is said of an answer: its text, and how it ended if not well."""
    states = Message.State
    if answer is None:
        return STOPPED
    text = answer.text.strip()
    if answer.state == states.COMPLETE:
        return text or EMPTY
    if answer.state == states.INTERRUPTED and not answer.error_code:
        return f"{text}\n\n{STOPPED}" if text else STOPPED
    reason = ""
    if answer.error_message and (alone or answer.error_code in TOLD_TO_ALL):
        reason = f" {answer.error_message}"
    return f"{text}\n\n{BROKEN_OFF}{reason}" if text else f"{SORRY}{reason}"
