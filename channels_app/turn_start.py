"""The start of a turn in the database: a whole one, or nothing.

``begin`` is synchronous and crossed once. In one transaction it finds or makes the
conversation for this person, stores their message and an answer in state
``generating``; then it reads what the model call needs. A client id that the person
used before finds what it began then.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import timedelta

from django.db import IntegrityError, transaction
from django.http import Http404
from django.utils import timezone

from accounts.models import User
from channels_app.errors import TurnError
from channels_app.turn_requests import (
    EditRequest,
    RetryRequest,
    StartRequest,
    Tier,
    TurnRequest,
)
from ledger.types import Caller
from personas import context
from personas.conversations import (
    get_conversation_for_user,
    get_message_for_user,
    start_conversation,
)
from personas.models import Conversation, Message
from personas.personas import get_persona_for_user

ALIVE_WITHIN = timedelta(seconds=30)
"""An answer whose process did not refresh it for so long is nobody's any more."""


@dataclass(frozen=True, slots=True)
class Beginning:
    """A turn as it stands in the database when it begins, or already stood there."""

    turn: uuid.UUID | None
    """Id of the answer and of the turn; ``None`` when no answer was wanted."""
    user_message: uuid.UUID
    conversation: uuid.UUID
    persona: str
    client_id: str
    title: str | None = None
    """Title of the conversation when the turn began it."""
    call: Call | None = None
    """What the model call needs; ``None`` when the turn had begun before."""
    generating: bool = True
    """The answer is being written, according to its row."""


@dataclass(frozen=True, slots=True)
class Call:
    """Everything that the pipeline needs of the database to make the model call."""

    user: User
    caller: Caller
    material: context.Material
    role: str
    model: str | None
    tier: Tier | None
    private: bool
    preview: bool


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a new message or answer goes: both are checked for their owner."""

    conversation: Conversation
    parent: uuid.UUID | None
    """Parent of the new message, or of the new answer for a retry."""
    is_new: bool = False


def begin(user_id: int, request: StartRequest) -> Beginning:
    """Store what starts a turn, or find the turn that this request began before.

    Raises ``TurnError``: ``unauthenticated``, ``not_found``, ``bad_request``, or
    ``busy`` while another answer is being written in the conversation.
    """
    user = User.objects.filter(pk=user_id, is_active=True).first()
    if user is None:
        raise TurnError("unauthenticated", "You are signed out.")
    try:
        return _store(user, request)
    except (IntegrityError, _Busy):
        earlier = _find_earlier(user, request.client_id)
        if earlier is None:
            raise TurnError(
                "busy",
                "An answer is still being written in this conversation: "
                "wait for its end or stop it.",
            ) from None
        return earlier
    except Http404 as error:
        raise TurnError("not_found", str(error)) from None


class _Busy(Exception):
    """Another answer is being written in the conversation."""


def _store(user: User, request: StartRequest) -> Beginning:
    with transaction.atomic():
        place = _place_of(user, request)
        conversation = place.conversation
        now = timezone.now()
        messages = _new_messages(user, request, place)
        # The update comes first: its row lock makes two starts take turns.
        Conversation.objects.filter(pk=conversation.pk).update(
            current_message=messages[-1].pk, last_active_at=now
        )
        if not place.is_new and _is_busy(conversation):
            raise _Busy
        Message.objects.bulk_create(messages)
        answer = messages[-1] if messages[-1].role == Message.Role.ASSISTANT else None
    asked = answer.parent_id if answer else messages[-1].pk
    assert asked is not None  # noqa: S101  an answer always has a parent
    return Beginning(
        turn=answer.pk if answer else None,
        user_message=asked,
        conversation=conversation.pk,
        persona=conversation.persona.name,
        client_id=request.client_id,
        title=conversation.title if place.is_new else None,
        call=_call(user, request, conversation, asked, answer) if answer else None,
    )


def _place_of(user: User, request: StartRequest) -> _Place:
    if isinstance(request, TurnRequest):
        return _place_of_message(user, request)
    message = get_message_for_user(user, request.message)
    wanted = (
        Message.Role.USER
        if isinstance(request, EditRequest)
        else Message.Role.ASSISTANT
    )
    if message.role != wanted:
        raise TurnError(
            "bad_request",
            "Only your own messages can be edited."
            if wanted == Message.Role.USER
            else "Only an answer can be asked for again.",
        )
    return _Place(message.conversation, message.parent_id)


def _place_of_message(user: User, request: TurnRequest) -> _Place:
    if request.conversation is None:
        if request.parent is not None:
            raise Http404("There is no such message.")
        conversation = start_conversation(
            user,
            get_persona_for_user(user, request.persona),
            first_text=request.text,
            temporary=request.temporary,
        )
        return _Place(conversation, None, is_new=True)
    conversation = get_conversation_for_user(user, request.conversation)
    parent = request.parent
    if parent is None:
        parent = conversation.current_message_id
    elif not conversation.messages.filter(pk=parent).exists():
        raise Http404("There is no such message.")
    return _Place(conversation, parent)


def _new_messages(user: User, request: StartRequest, place: _Place) -> list[Message]:
    """Return the unsaved rows: the person's message, the answer, or both in order."""
    messages: list[Message] = []
    parent = place.parent
    now = timezone.now()
    if not isinstance(request, RetryRequest):
        asked = Message(
            conversation=place.conversation,
            owner=user,
            parent_id=parent,
            role=Message.Role.USER,
            text=request.text,
            channel=request.channel,
            client_id=request.client_id,
            created_at=now,
        )
        messages.append(asked)
        parent = asked.pk
    if not isinstance(request, EditRequest) or request.answer:
        answer = Message(
            conversation=place.conversation,
            owner=user,
            parent_id=parent,
            role=Message.Role.ASSISTANT,
            state=Message.State.GENERATING,
            channel=request.channel,
            client_id=request.client_id,
            created_at=now + timedelta(microseconds=1),
            alive_at=now,
        )
        messages.append(answer)
    return messages


def _is_busy(conversation: Conversation) -> bool:
    return Message.objects.filter(
        conversation=conversation,
        state=Message.State.GENERATING,
        alive_at__gt=timezone.now() - ALIVE_WITHIN,
    ).exists()


def _call(
    user: User,
    request: StartRequest,
    conversation: Conversation,
    asked: uuid.UUID,
    answer: Message,
) -> Call:
    persona = conversation.persona
    model = tier = None
    if not isinstance(request, EditRequest):
        model, tier = request.model, request.tier
    private = persona.private or conversation.private
    return Call(
        user=user,
        caller=Caller(
            user_id=user.pk,
            user_name=user.username,
            persona_id=persona.pk,
            persona_name=persona.name,
            channel=request.channel,
            turn_id=answer.pk,
        ),
        material=context.load_material(
            conversation, upto=Message(pk=asked), alone=request.alone
        ),
        role=persona.model_role,
        model=model or (conversation.model_label if tier is None else None) or None,
        tier=conversation.tier if tier is None else tier,  # type: ignore[arg-type]
        private=private,
        preview=request.alone and not (private or conversation.temporary),
    )


def _find_earlier(user: User, client_id: str) -> Beginning | None:
    """Return the turn or message that the person began with this client id."""
    messages = Message.objects.filter(owner=user, client_id=client_id).select_related(
        "conversation__persona"
    )
    by_role = {message.role: message for message in messages}
    answer = by_role.get(Message.Role.ASSISTANT)
    message = answer or by_role.get(Message.Role.USER)
    if message is None:
        return None
    asked = answer.parent_id if answer else message.pk
    assert asked is not None  # noqa: S101  an answer always has a parent
    return Beginning(
        turn=answer.pk if answer else None,
        user_message=asked,
        conversation=message.conversation_id,
        persona=message.conversation.persona.name,
        client_id=client_id,
        generating=message.state == Message.State.GENERATING,
    )
