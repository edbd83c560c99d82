"""What is to be done about an event: nothing, a few words, a command, or a turn.

``judge`` is synchronous and crossed once for each attempt. What it decides alone is
stored in the transaction that closes the event, so that a crash leaves both or neither;
everything else is only read, without a lock. A turn is only described
(``asking``); ``answering`` runs it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from accounts.transactions import quick_transaction
from channels_app import slash_commands
from channels_app.bots import asking, guards, pairing, readers, rooms, senders
from channels_app.bots.asking import Ask, is_sync
from channels_app.bots.claims import MAX_ATTEMPTS, Claim, held
from channels_app.bots.endings import ELSEWHERE, SORRY, Lost, close
from channels_app.bots.incoming import Incoming
from channels_app.bots.senders import Sender
from channels_app.errors import TurnError
from channels_app.models import Channel, ChannelRoom, InboundEvent
from channels_app.turn_requests import checked_text
from personas.models import Persona
from personas.personas import get_persona_for_user

State = InboundEvent.State
NEW_ROOM = (
    "This room is not allowed yet, so nobody is answered here. "
    "You can allow it at {address}"
)
PAIR = (
    "I do not know you yet. If this Cortex is yours, enter the code {code} within one "
    "hour at {address}"
)
LOOP = (
    "That was more than {count} messages in a minute, so I pause. "
    "Please wait a minute before you write again."
)
GAVE_UP = "gave up after several attempts"
GUESTS = "I have answered as many guests as I may for today. Please ask again tomorrow."


@dataclass(frozen=True, slots=True)
class Said:
    """The event is closed; perhaps something was said."""

    text: str = ""
    stop: tuple[UUID, ...] = ()
    """Turns to be stopped."""
    is_sync: bool = False
    """The response to the event carries the words."""


@dataclass(slots=True)
class _Case:
    """Everything known about an event while it is judged."""

    event: InboundEvent
    incoming: Incoming
    channel: Channel
    room: ChannelRoom
    sender: Sender

    def close(
        self,
        state: State,
        reason: str = "",
        text: str = "",
        stop: tuple[UUID, ...] = (),
    ) -> Said:
        """Close the event, with words for the room or without."""
        alone = self.sender.alone
        close(self.event, self.incoming, state, reason=reason, text=text, alone=alone)
        return Said(text, stop, is_sync(self.incoming))

    def ignore(self, reason: str, text: str = "") -> Said:
        """Close the event as one that gets no answer."""
        return self.close(State.IGNORED, reason, text)


def judge(claim: Claim) -> Said | Ask | None:
    """Decide about a claimed event; ``None`` = somebody else has it now."""
    event = (
        InboundEvent.objects.filter(held(claim))
        .select_related("channel__owner", "channel__persona")
        .first()
    )
    try:
        return None if event is None else _judge(event)
    except Lost:
        return None


def _incoming_of(event: InboundEvent) -> Incoming | None:
    """Return what came, or close an event that nothing can be done with any more."""
    incoming = Incoming(external_id=event.external_id, kind="other")
    reason = GAVE_UP  # not even giving it up has succeeded
    if event.attempts <= MAX_ATTEMPTS + 1:
        try:
            return Incoming.from_payload(event.payload)
        except TypeError:
            reason = "stored by another version"
    close(event, incoming, State.FAILED, reason=reason)
    return None


def _judge(event: InboundEvent) -> Said | Ask:
    incoming, channel = _incoming_of(event), event.channel
    if incoming is None:
        return Said()
    room, reason = None, ""
    if not (channel.enabled and channel.owner.is_active):
        reason = "channel switched off"
    elif not incoming.room_id or not incoming.sender_id:
        reason = "no room or sender"
    elif (room := rooms.see(channel, incoming)) is None:
        reason = "too many rooms wait"
    if room is None:
        close(event, incoming, State.IGNORED, reason=reason)
        return Said(is_sync=is_sync(incoming))
    sender = senders.recognise(channel, room, incoming)
    case = _Case(event, incoming, channel, room, sender)
    if event.attempts > MAX_ATTEMPTS:
        return _give_up(case)
    if room.state == ChannelRoom.State.WAITING:
        with quick_transaction():  # a hint counts as given when it is stored
            return _judge_stranger_place(case)
    if incoming.kind != "message":
        return case.ignore("no message")
    if room.state == ChannelRoom.State.REFUSED:
        return case.ignore("room refused")
    return _judge_message(case)


def _give_up(case: _Case) -> Said:
    """End an event whose attempts all failed, and say so where it was for us."""
    allowed = case.room.state == ChannelRoom.State.ALLOWED
    persona = rooms.persona_of(case.channel, case.room)
    named = persona is not None and _is_named(case, persona)
    expected = named or case.event.turn_id
    text = SORRY if allowed and expected else ""
    return case.close(State.FAILED, GAVE_UP, text)


# --- rooms that are not allowed ---------------------------------------------------


def _judge_stranger_place(case: _Case) -> Said:
    """Answer in a room that waits with at most a hint how to change that."""
    address = rooms.settings_address(case.channel)
    if case.incoming.kind not in {"message", "joined"}:
        return case.ignore("no message")
    if case.sender.is_owner:
        hint = NEW_ROOM.format(address=address) if rooms.hint_is_due(case.room) else ""
        return case.ignore("room not allowed", hint)
    if (
        case.incoming.kind != "message"
        or case.channel.strangers != Channel.Strangers.PAIRING
    ):
        return case.ignore("room not allowed")
    code = pairing.make_code(case.channel, case.incoming)
    text = PAIR.format(code=code, address=address) if code else ""
    return case.ignore("pairing code" if code else "room not allowed", text)


# --- messages in rooms that are allowed -------------------------------------------


def _judge_message(case: _Case) -> Said | Ask:
    event, incoming, sender = case.event, case.incoming, case.sender
    if not sender.is_owner:
        rooms.no_longer_alone(case.room)
    persona = rooms.persona_of(case.channel, case.room)
    if persona is None:
        return case.ignore("no persona")
    named = _is_named(case, persona)
    if guards.is_loop(event):
        return _pause(case, named=named)
    command = slash_commands.parse(rooms.without_name(incoming, persona))
    if command is not None and (named or _is_for_us(command, sender)):
        said = _run_command(case, persona, command)
        if said is not None:
            return said
    if not named or not incoming.text.strip():
        return case.ignore("not named" if not named else "empty")
    return _judge_question(case, persona)


def _pause(case: _Case, *, named: bool) -> Said:
    """Answer a loop with one sentence; people among themselves may write fast."""
    if not named:
        return case.ignore(guards.QUIET_LOOP)
    told = guards.loop_was_told(case.event)
    text = "" if told else LOOP.format(count=guards.LOOP_MESSAGES)
    return case.ignore(guards.LOOP, text)


def _is_named(case: _Case, persona: Persona) -> bool:
    """Say whether somebody expects an answer to a message."""
    return (
        case.sender.alone
        or case.incoming.names_bot
        or rooms.names_persona(case.incoming.text, persona)
    )


def _is_for_us(command: slash_commands.Command, sender: Sender) -> bool:
    """Say whether a command need not name anybody.

    That is any that the owner gives, if there is such a command, and help for guests.
    """
    if command.tentative:
        return False
    if not sender.is_owner:
        return command.name == slash_commands.HELP
    return command.name != slash_commands.UNKNOWN


def _judge_question(case: _Case, persona: Persona) -> Said | Ask:
    event = case.event
    if case.sender.is_owner:
        guards.no_guest(event)
    elif not guards.admit_guest(case.channel, event):
        told = guards.guests_were_told(event)
        return case.ignore(guards.GUESTS, "" if told else GUESTS)
    try:
        text = checked_text(case.incoming.text)
    except TurnError as error:
        return case.close(State.DONE, error.code, error.message)
    ask = asking.ask(event, case.room, case.incoming, case.sender, persona, text)
    return ask or case.close(State.DONE, readers.NOT_ALONE, ELSEWHERE)


# --- commands ---------------------------------------------------------------------


def _run_command(
    case: _Case, persona: Persona, command: slash_commands.Command
) -> Said | None:
    """Carry a command out; ``None`` where the words are a message after all."""
    channel, room, sender = case.channel, case.room, case.sender
    place = slash_commands.Place(
        user=channel.owner,
        persona=persona,
        conversation=rooms.conversation_of(channel, room, persona, alone=sender.alone),
        channel=channel.kind,
        alone=sender.alone,
        guest=not sender.is_owner,
        room=room,
    )
    if command.name in slash_commands.MEMORY_COMMANDS:
        # They may read all that was ever said, and do no more when done again.
        return _answered(case, slash_commands.run(command, place))
    with quick_transaction():
        return _answered(case, slash_commands.run(command, place))


def _answered(case: _Case, result: slash_commands.Result | None) -> Said | None:
    if result is None:
        return None
    with quick_transaction():
        if not case.sender.is_owner:
            return case.close(State.DONE, "command of a guest", result.text)
        _apply(result, case)
        return case.close(State.DONE, "command", result.text, stop=result.stop)


def _apply(result: slash_commands.Result, case: _Case) -> None:
    """Let a command of the owner take effect in the room.

    Only what it changes is stored: an answer may begin in the room at the same time.
    """
    changed: dict[str, Any] = {}
    if result.persona is not None:
        owner = case.channel.owner
        changed["persona"] = get_persona_for_user(owner, result.persona)
    if result.new_thread:
        changed |= {"conversation": None, "begins_new": True}
    if result.conversation is not None:
        changed |= {"conversation": result.conversation, "begins_new": False}
    if changed:
        ChannelRoom.objects.filter(pk=case.room.pk).update(**changed)
