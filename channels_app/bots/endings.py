"""How an event ends: its answer goes to the outbox and its text is forgotten.

Both in one transaction, so that an answer is sent once and only once whatever dies.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from django.utils import timezone

from accounts.transactions import quick_transaction
from channels_app.bots import outbox, readers
from channels_app.bots.adapters import adapter_for
from channels_app.bots.asking import can_be_asked_again
from channels_app.bots.claims import Claim, held
from channels_app.bots.incoming import Incoming
from channels_app.models import ChannelRoom, InboundEvent
from personas.models import Message

SORRY: Final = "Sorry, I could not answer this message."
STOPPED: Final = "(Stopped.)"
BROKEN_OFF: Final = "(The answer breaks off here.)"
EMPTY: Final = "(The answer was empty.)"
ELSEWHERE: Final = (
    "Others read here now, so the answer is not given here; it stands on the web page."
)
TOLD_TO_ALL: Final = frozenset({"too_long", "busy", "too_many", "refused"})
"""Reasons that others in a room may read; those about money and hosts they may not."""
_REASON_CHARS = 200


class Lost(Exception):
    """The claim of an event ended, and somebody else works at it."""


@dataclass(frozen=True, slots=True)
class Ended:
    """What came of a turn."""

    text: str = ""
    """What was said, whole."""
    again: bool = False
    """Nothing: another attempt goes on with the event."""


def close(
    event: InboundEvent,
    incoming: Incoming,
    state: InboundEvent.State,
    *,
    reason: str = "",
    text: str = "",
    external_id: str = "",
    alone: bool = False,
) -> None:
    """End an event that this process has claimed, in one transaction.

    ``text`` is said in its room, unless the response to the event carries it.
    ``external_id``: the platform's message that stands there for it already.
    ``alone``: nobody but the owner may read it.

    Raises:
        Lost: Somebody else has the event now; nothing was changed.
    """
    parts = []
    if text and not incoming.extra.get("sync"):
        parts = adapter_for(event.channel.kind).split(text)
    with quick_transaction():
        _change(
            event,
            state=state,
            reason=reason[:_REASON_CHARS],
            payload={},
            finished_at=timezone.now(),
            claimed_at=None,
        )
        if parts:
            outbox.add(
                event,
                parts,
                external_id=external_id,
                incoming=incoming,
                alone=readers.depends_on_room(incoming, alone=alone),
            )


def _change(event: InboundEvent, **fields: Any) -> None:
    """Change an event whose claim is still held; raises ``Lost``."""
    row = InboundEvent.objects.filter(
        pk=event.pk, state=InboundEvent.State.PROCESSING, attempts=event.attempts
    )
    if not row.update(**fields):
        raise Lost


def note_start(claim: Claim, room: int, turn: UUID, conversation: UUID) -> None:
    """Note which turn answers an event, and that its conversation goes on there."""
    with quick_transaction():
        if InboundEvent.objects.filter(held(claim)).update(turn_id=turn):
            ChannelRoom.objects.filter(pk=room).update(
                conversation=conversation, begins_new=False
            )


def refuse(
    claim: Claim, incoming: Incoming, code: str, text: str, *, external_id: str = ""
) -> Ended:
    """Close an event whose turn could not begin, with words unless nobody may read.

    Args:
        external_id: The platform's message that the words replace.
    """
    try:
        event = _held_event(claim)
        if readers.objection_to_answer(event, incoming, alone=False):
            text = ""
        failed = InboundEvent.State.FAILED
        close(event, incoming, failed, reason=code, text=text, external_id=external_id)
    except Lost:
        return Ended(again=True)
    return Ended(text)


def finish(
    claim: Claim,
    incoming: Incoming,
    turn: UUID,
    *,
    alone: bool,
    external_id: str = "",
) -> Ended | None:
    """Close an event with the answer of its turn; ``None`` while that is written.

    Args:
        alone: The answer was made for the owner alone; where others read in the
            room by now, or nobody is answered any more, it stands on the web page only.
        external_id: The platform's message that shows the answer already.
    """
    answer = Message.objects.filter(pk=turn, deleted_at=None).first()
    if answer is not None and answer.state == Message.State.GENERATING:
        return None
    try:
        event = _held_event(claim)
        if answer is not None and can_be_asked_again(event, answer):
            _leave_open(event)
            return Ended(again=True)
        text = words_of(answer, alone=alone)
        state, reason = InboundEvent.State.DONE, ""
        if answer is None or answer.state == Message.State.FAILED:
            state = InboundEvent.State.FAILED
            reason = answer.error_code if answer else "deleted"
        if why := readers.objection_to_answer(event, incoming, alone=alone):
            text, alone = (
                (ELSEWHERE, False) if why == readers.NOT_ALONE else ("", False)
            )
            reason = why
        close(
            event,
            incoming,
            state,
            reason=reason,
            text=text,
            external_id=external_id,
            alone=alone,
        )
    except Lost:
        return Ended(again=True)
    return Ended(text)


def _held_event(claim: Claim) -> InboundEvent:
    """Return a claimed event with its channel; raises ``Lost``."""
    event = InboundEvent.objects.filter(held(claim)).select_related("channel").first()
    if event is None:
        raise Lost
    return event


def _leave_open(event: InboundEvent) -> None:
    """Leave an event to the next attempt."""
    _change(
        event,
        state=InboundEvent.State.RECEIVED,
        claimed_at=None,
        next_at=timezone.now(),
    )


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
