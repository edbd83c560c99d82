"""Deleting one message, and bringing it back within the hour.

What a person deletes is out of every prompt, page, search and memory at once: a mark
(``Message.deleted_at``) takes it out of ``messages_visible_to``, and ``path_texts`` and
``branch`` read its row without its words. The row stays in the tree, since messages
stand below it. After an hour the heartbeat empties it for good.
"""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Final

from django.db import transaction
from django.db.models import QuerySet
from django.http import Http404
from django.utils import timezone

from accounts.models import User
from ledger import previews
from personas.conversations import (
    KEEP_DELETED,
    NO_MESSAGE,
    messages_with_deleted,
    title_from,
)
from personas.errors import MessageRefused
from personas.models import Conversation, HomePiece, Message, SearchEntry
from routing.decisions import forget_turns

EMPTIED_AT_ONCE: Final = 500
STILL_WRITTEN: Final = "This answer is still being written: stop it first."
TOO_LATE: Final = "This message was deleted more than an hour ago and is gone."
_WORDS: Final = {
    "text": "",
    "seams": [],
    "reason": "",
    "author_name": "",
}
"""Everything of a row that tells what was said, as it is when that is gone."""


def get_any_message_for_user(user: User, id: uuid.UUID) -> Message:
    """Return one of the person's messages, also a deleted one; raises ``Http404``.

    For its place in the tree alone: what it said is for nobody any more.
    """
    message = (
        messages_with_deleted(user)
        .select_related("conversation__persona", "conversation__owner")
        .filter(pk=id)
        .first()
    )
    if message is None:
        raise Http404(NO_MESSAGE)
    return message


@transaction.atomic
def delete_message(user: User, id: uuid.UUID) -> Message:
    """Take a message out of sight; it can be undone for an hour.

    What was kept elsewhere about it – the beginning of a prompt in the ledger's
    previews, a classifier's reason – goes for good. A title that was made of it goes
    too. Deleting twice changes nothing.

    Raises:
        Http404: It is not the person's.
        MessageRefused: It is an answer that is being written.
    """
    message = get_any_message_for_user(user, id)
    if message.deleted_at is not None:
        return message
    # Asked in the same statement: the answer may be begun again at this moment.
    ended = Message.objects.filter(pk=message.pk).exclude(
        state=Message.State.GENERATING
    )
    message.deleted_at = timezone.now()
    if not ended.update(deleted_at=message.deleted_at):
        raise MessageRefused(STILL_WRITTEN)
    _forget_copies(message)
    _keep_title(message, was=title_from(message.text), now="")
    return message


@transaction.atomic
def undelete_message(user: User, id: uuid.UUID) -> Message:
    """Bring a message back; one that is not deleted stays as it is.

    Raises:
        Http404: It is not the person's.
        MessageRefused: The hour is over.
    """
    message = get_any_message_for_user(user, id)
    if message.deleted_at is None:
        return message
    back = Message.objects.filter(pk=message.pk, deleted_at__gt=_gone_before())
    if not back.update(deleted_at=None):
        raise MessageRefused(TOO_LATE)
    message.deleted_at = None
    _keep_title(message, was="", now=title_from(message.text))
    return message


def can_be_undeleted(message: Message) -> bool:
    """Say whether a message is deleted, and not for too long."""
    return message.deleted_at is not None and message.deleted_at > _gone_before()


def purgeable_messages() -> QuerySet[Message]:
    """Return what was deleted more than an hour ago and still has its words."""
    gone = Message.objects.filter(deleted_at__lte=_gone_before())
    return gone.exclude(**_WORDS)


def purge_messages() -> int:
    """Empty what was deleted more than an hour ago; return how many messages.

    No more than ``EMPTIED_AT_ONCE``; the next call goes on.
    """
    old = list(purgeable_messages().values_list("pk", flat=True)[:EMPTIED_AT_ONCE])
    if not old:  # an idle look takes no write lock
        return 0
    with transaction.atomic():
        # None of them can be brought back any more, so they need not be asked again.
        emptied = Message.objects.filter(pk__in=old).update(**_WORDS)
        HomePiece.objects.filter(message__in=old).delete()
        # Last: whoever was taking one of them into search has ended by now.
        SearchEntry.objects.filter(message__in=old).delete()
        return emptied


def _gone_before() -> datetime:
    return timezone.now() - KEEP_DELETED


def _forget_copies(message: Message) -> None:
    """Forget what calls for a message noted of it: its answers', or its own."""
    turns = [message.pk]
    if message.role == Message.Role.USER:
        answers = Message.objects.filter(parent=message, role=Message.Role.ASSISTANT)
        answers.update(reason="")
        turns = list(answers.values_list("pk", flat=True))
    previews.delete_for_turns(message.owner_id, turns)
    forget_turns(turns)


def _keep_title(message: Message, *, was: str, now: str) -> None:
    """Change a title that the first words of the conversation have made."""
    if message.parent_id is None and message.role == Message.Role.USER:
        titled = Conversation.objects.filter(pk=message.conversation_id, title=was)
        if titled.update(title=now):
            message.conversation.title = now
