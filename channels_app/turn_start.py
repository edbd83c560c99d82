"""The start of a turn in the database: a whole one, or nothing.

``begin`` is synchronous and crossed once. In one transaction it finds or makes the
conversation for this person, stores their message and an answer in state
``generating``; then it reads what the model call needs. A client id that the person
used before finds what it began then.
"""

from __future__ import annotations

import functools
import uuid
from dataclasses import dataclass

from django.db import IntegrityError
from django.http import Http404
from django.utils import timezone

from accounts.inserts import insert
from accounts.models import User
from accounts.transactions import quick_transaction
from channels_app.errors import TurnError
from channels_app.models import Channel
from channels_app.turn_place import (
    Busy,
    Place,
    check,
    existing_place,
    new_conversation,
    new_messages,
)
from channels_app.turn_requests import (
    EditRequest,
    RetryRequest,
    StartRequest,
    Tier,
    TurnRequest,
)
from channels_app.turn_sql import touch_conversation
from ledger.types import Caller
from personas.context import load_material
from personas.conversations import rename, title_from
from personas.models import Conversation, Message, TierPolicy
from personas.prompts import build_prompt
from personas.recollections import with_recollections
from routing.planning import PromptBuilder


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
    """Title of the conversation when its first message began the turn."""
    call: Call | None = None
    """What the model call needs; ``None`` when the turn had begun before."""
    generating: bool = True
    """The answer is being written, according to its row."""


@dataclass(frozen=True, slots=True)
class Call:
    """Everything that the pipeline needs of the database to make the model call."""

    user: User
    caller: Caller
    build: PromptBuilder
    role: str
    model: str | None
    tier: Tier | None
    asked: bool
    """The model or tier was asked for with the message; else it is the policy's."""
    private: bool
    preview: bool
    redo_of: uuid.UUID | None = None
    """The answer that this one is asked to better."""
    needs: frozenset[str] = frozenset()
    """Abilities that the model must have."""
    max_output_tokens: int | None = None
    """Below the model's own limit."""
    background: bool = False
    """Nobody waits for it."""
    max_cost_nano_usd: int | None = None
    """What all attempts together may cost."""


def begin(user_id: int, request: StartRequest) -> Beginning:
    """Store what starts a turn, or find the turn that this request began before.

    Raises ``TurnError``: ``unauthenticated``, ``not_found``, ``bad_request``, or
    ``busy`` while another answer is being written in the conversation.
    """
    try:
        return _store(user_id, request)
    except (IntegrityError, Busy) as refusal:
        earlier = _find_earlier(user_id, request)
        if earlier is not None:
            return earlier
        if isinstance(refusal, IntegrityError):
            raise
        raise TurnError(
            "busy",
            "An answer is still being written in this conversation: "
            "wait for its end or stop it.",
        ) from None
    except Http404 as error:
        raise TurnError("not_found", str(error)) from None


def _store(user_id: int, request: StartRequest) -> Beginning:
    place = existing_place(user_id, request)  # read before the lock is taken
    # The commit that makes it durable is the ledger's reservation, which comes before
    # the network call: a power cut in between loses what nobody has seen answered.
    with quick_transaction():
        if place is None:
            place = new_conversation(user_id, request)
        conversation = place.conversation
        user = conversation.owner
        if not user.is_active:
            raise TurnError("unauthenticated", "You are signed out.")
        now = timezone.now()
        messages = new_messages(user, request, place, now)
        # The update comes first: its row lock makes two starts take turns.
        touch_conversation(conversation.pk, leaf=messages[-1].pk, now=now)
        if not place.is_new:
            check(place, now)
        insert(*messages)
        title = _title_begun(place, request)
    answer = messages[-1] if messages[-1].role == Message.Role.ASSISTANT else None
    asked = answer.parent_id if answer else messages[-1].pk
    assert asked is not None  # noqa: S101  an answer always has a parent
    return Beginning(
        turn=answer.pk if answer else None,
        user_message=asked,
        conversation=conversation.pk,
        persona=conversation.persona.name,
        client_id=request.client_id,
        title=title,
        call=_call(user, request, conversation, asked, answer) if answer else None,
    )


def _title_begun(place: Place, request: StartRequest) -> str | None:
    """Return the title of a conversation whose first message this is, else ``None``.

    One that was begun by a command has none yet.
    """
    conversation = place.conversation
    if place.is_new:
        return conversation.title
    if not isinstance(request, TurnRequest):
        return None
    if conversation.title or place.parent is not None:
        return None
    rename(conversation, title_from(request.text))
    return conversation.title


def _call(
    user: User,
    request: StartRequest,
    conversation: Conversation,
    asked: uuid.UUID,
    answer: Message,
) -> Call:
    persona = conversation.persona
    model = tier = limit = cap = None
    background = False
    if isinstance(request, TurnRequest):
        limit = request.max_output_tokens
    if not isinstance(request, EditRequest):
        model, tier = request.model, request.tier
        background, cap = request.background, request.max_cost_nano_usd
    asked_for = model is not None or tier is not None
    if not asked_for:
        model = conversation.model_label or None
        tier = tier_of(conversation.tier)
    private = conversation.is_private
    alone = request.alone and not conversation.shared
    material = load_material(conversation, upto=Message(pk=asked), alone=alone)
    material = with_recollections(material, conversation, alone=alone)
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
        build=functools.partial(build_prompt, material),
        role=persona.model_role,
        model=model,
        tier=tier,
        asked=asked_for,
        private=private,
        preview=alone and not (private or conversation.temporary),
        redo_of=request.message if isinstance(request, RetryRequest) else None,
        max_output_tokens=limit,
        background=background,
        max_cost_nano_usd=cap,
    )


def tier_of(policy: int | None) -> Tier | None:
    """Return the tier that a policy's number means for the router."""
    if policy == TierPolicy.AUTOMATIC:
        return "auto"
    return policy  # type: ignore[return-value]


def _find_earlier(user_id: int, request: StartRequest) -> Beginning | None:
    """Return the turn or message that the person began with this client id.

    Raises ``TurnError`` (conflict) where it stands for another text, and where a bot
    began it and no bot asks, or the other way round: what was said alone is never
    answered to a room.
    """
    messages = Message.objects.filter(
        owner=user_id, client_id=request.client_id
    ).select_related("conversation__persona")
    by_role = {message.role: message for message in messages}
    answer = by_role.get(Message.Role.ASSISTANT)
    message = answer or by_role.get(Message.Role.USER)
    if message is None:
        return None
    bots = Channel.Kind.values
    if (message.channel in bots) is not (request.channel in bots):
        raise TurnError(
            "conflict", "This client_id is in use elsewhere: choose another."
        )
    if message.deleted_at is not None:
        raise TurnError("not_found", "What was begun with this client_id was deleted.")
    said = by_role.get(Message.Role.USER)
    if said is not None and said.text != getattr(request, "text", said.text):
        raise TurnError(
            "conflict", "This client_id stands for another message: choose a new one."
        )
    asked = answer.parent_id if answer else message.pk
    assert asked is not None  # noqa: S101  an answer always has a parent
    return Beginning(
        turn=answer.pk if answer else None,
        user_message=asked,
        conversation=message.conversation_id,
        persona=message.conversation.persona.name,
        client_id=request.client_id,
        generating=message.state == Message.State.GENERATING,
    )
