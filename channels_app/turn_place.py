"""Where a turn begins, and what it puts there: the first half of its transaction.

Ids that come from outside are checked for their owner here.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.http import Http404

from accounts.models import User
from channels_app.errors import TurnError
from channels_app.turn_requests import (
    EditRequest,
    RetryRequest,
    StartRequest,
    TurnRequest,
)
from channels_app.turn_sql import state_of_conversation
from personas.conversations import (
    NO_MESSAGE,
    get_conversation_for_user,
    get_message_for_user,
    start_conversation,
)
from personas.models import Conversation, Message
from personas.personas import get_persona_for_user

ASKED_IS_DELETED = "The message that it answers was deleted."
NOT_YOURS = "Only your own messages can be edited."
NAME_CHARS = 100
ALIVE_WITHIN = timedelta(seconds=30)
"""An answer whose process did not refresh it for so long is nobody's any more."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a new message or answer goes: both are checked for their owner."""

    conversation: Conversation
    parent: uuid.UUID | None
    """Parent of the new message, or of the new answer for a retry."""
    is_new: bool = False
    edited: Message | None = None
    """The message that gets another version."""


class Busy(Exception):
    """Another answer is being written in the conversation."""


def existing_place(user_id: int, request: StartRequest) -> Place | None:
    """Find the place in an existing conversation; ``None`` for a new one."""
    user = User(pk=user_id)
    if isinstance(request, TurnRequest):
        if request.conversation is None:
            return None
        conversation = get_conversation_for_user(user, request.conversation)
        return Place(conversation, request.parent or conversation.current_message_id)
    message = get_message_for_user(user, request.message)
    is_edit = isinstance(request, EditRequest)
    if is_edit and (message.role != Message.Role.USER or message.from_guest):
        raise TurnError("bad_request", NOT_YOURS)
    if isinstance(request, RetryRequest) and message.role == Message.Role.USER:
        raise TurnError("bad_request", "Only an answer can be asked for again.")
    if not is_edit and message.parent is not None and message.parent.deleted_at:
        raise TurnError("bad_request", ASKED_IS_DELETED)
    edited = message if is_edit else None
    return Place(message.conversation, message.parent_id, edited=edited)


def new_conversation(user_id: int, request: StartRequest) -> Place:
    """Begin a conversation for a first message; raises ``TurnError``, ``Http404``."""
    user = User.objects.filter(pk=user_id, is_active=True).first()
    if user is None:
        raise TurnError("unauthenticated", "You are signed out.")
    assert isinstance(request, TurnRequest)  # noqa: S101  others have a conversation
    if request.parent is not None:
        raise Http404(NO_MESSAGE)
    conversation = start_conversation(
        user,
        get_persona_for_user(user, request.persona),
        first_text=request.text,
        temporary=request.temporary,
        shared=not request.alone,
        policy=request.policy,
    )
    return Place(conversation, None, is_new=True)


def check(place: Place, now: datetime) -> None:
    """Refuse a parent from elsewhere, and a second answer at the same time."""
    holds_parent, busy = state_of_conversation(
        place.conversation.pk, message=place.parent, alive_since=now - ALIVE_WITHIN
    )
    if place.parent is not None and not holds_parent:
        raise Http404(NO_MESSAGE)
    if busy:
        raise Busy


def new_messages(
    user: User, request: StartRequest, place: Place, now: datetime
) -> list[Message]:
    """Return the unsaved rows: the person's message, the answer, or both in order."""
    messages: list[Message] = []
    parent = place.parent
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
            **_authorship(user, request, place),
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


def _authorship(user: User, request: StartRequest, place: Place) -> dict[str, Any]:
    """Return the fields that say who wrote a message in a room of several.

    Where others read, the owner's words have a name at every door: without one nobody
    could tell in the next prompt that they are not of whoever wrote before.
    """
    name, from_guest = "", False
    if isinstance(request, TurnRequest):
        name, from_guest = request.author_name, request.from_guest
    elif place.edited is not None:
        name = place.edited.author_name
    if not name and not from_guest and place.conversation.shared:
        name = user.get_full_name() or user.username
    return {"author_name": name[:NAME_CHARS], "from_guest": from_guest}
