"""Which turn answers an event: a new one, one asked for again, or one that has begun.

A turn is only described here; ``answering`` runs it. Client ids made from the event are
what lets another attempt find the turn of an earlier one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from uuid import UUID

from accounts.secrets import Undecryptable
from channels_app.bots import outbox, rooms
from channels_app.bots.adapters import ChannelInfo
from channels_app.bots.channels import info_of
from channels_app.bots.incoming import Incoming
from channels_app.bots.senders import Sender
from channels_app.models import Channel, ChannelRoom, InboundEvent
from channels_app.turn_requests import OWN_ID, RetryRequest, TurnRequest
from personas.models import Message, Persona

CUT_OFF: Final = "internal"
"""Error code of an interrupted answer that no person stopped: its process ended."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A turn answers the event."""

    user_id: int
    kind: str
    room: int
    """Primary key of the room."""
    incoming: Incoming
    alone: bool
    request: TurnRequest | RetryRequest | None
    """What starts the turn; ``None`` = it has begun before and is ``turn``."""
    turn: UUID | None
    conversation: UUID | None
    """That of ``turn``, where the room has not been told of it."""
    channel: ChannelInfo | None
    """What the adapter is given; ``None`` where its secrets cannot be read."""
    key: UUID
    """Id of the first part of the answer."""

    @property
    def is_sync(self) -> bool:
        """The answer goes into the response to the event itself, and nowhere else."""
        return is_sync(self.incoming)


def is_sync(incoming: Incoming) -> bool:
    """Say whether an event is answered within the response to it."""
    return bool(incoming.extra.get("sync"))


def first_id(event: InboundEvent) -> str:
    """Return the client id of the turn that answers an event."""
    return f"{OWN_ID}event-{event.pk}"


def second_id(event: InboundEvent) -> str:
    """Return that of the one more answer after Cortex itself cut the first off."""
    return f"{OWN_ID}event-{event.pk}-again"


def ask(
    event: InboundEvent,
    room: ChannelRoom,
    incoming: Incoming,
    sender: Sender,
    persona: Persona,
    text: str,
) -> Ask | None:
    """Describe the turn that answers an event, or find the one that has begun.

    ``None``: it has begun where only the owner read, and now others read in the room.
    """
    channel = event.channel
    request: TurnRequest | RetryRequest | None = None
    before = _answer_before(event)
    if before is not None and not (sender.alone or before.conversation.shared):
        return None
    if before is not None and can_be_asked_again(event, before):
        request = RetryRequest(
            client_id=second_id(event),
            message=before.pk,
            channel=channel.kind,
            alone=sender.alone,
        )
    found = before if request is None else None
    is_noted = found is not None and found.pk == event.turn_id
    if before is None:
        conversation = rooms.conversation_of(channel, room, persona, alone=sender.alone)
        request = TurnRequest(
            client_id=first_id(event),
            text=text,
            persona=persona.name,
            conversation=conversation.pk if conversation else None,
            channel=channel.kind,
            alone=sender.alone,
            author_name="" if sender.alone else sender.name,
            from_guest=not sender.is_owner,
        )
    return Ask(
        user_id=channel.owner_id,
        kind=channel.kind,
        room=room.pk,
        incoming=incoming,
        alone=sender.alone,
        request=request,
        turn=found.pk if found else None,
        conversation=found.conversation_id if found and not is_noted else None,
        channel=_info(channel),
        key=outbox.key_of(event),
    )


def _info(channel: Channel) -> ChannelInfo | None:
    try:
        return info_of(channel)
    except Undecryptable:
        return None


def _answer_before(event: InboundEvent) -> Message | None:
    """Return the last answer that an earlier attempt has begun."""
    if event.attempts <= 1:
        return None
    answers = Message.objects.filter(
        owner=event.channel.owner_id,
        role=Message.Role.ASSISTANT,
        client_id__in=[first_id(event), second_id(event)],
    )
    found = {each.client_id: each for each in answers.select_related("conversation")}
    return found.get(second_id(event)) or found.get(first_id(event))


def can_be_asked_again(event: InboundEvent, answer: Message) -> bool:
    """Say whether Cortex itself cut off an answer, for the first time.

    It is asked for once more then, as another answer to the same message; what a person
    stopped, and what failed, stays as it is.
    """
    return (
        answer.state == Message.State.INTERRUPTED
        and answer.error_code == CUT_OFF
        and not answer.stop_asked
        and answer.client_id == first_id(event)
    )
