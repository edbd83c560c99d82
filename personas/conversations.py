"""Conversations and messages: who may see them, branches, titles, deletion.

A conversation is a tree: an answer stands under the message it answers, a message
under the answer it follows, and several with the same parent are siblings (another
answer, an edited question). ``Conversation.current_message`` is the end of the branch
that is shown. Deleting is soft for an hour, so that it can be undone, and temporary
conversations last a day; the heartbeat calls ``purge_deleted``.
"""

from __future__ import annotations

import re
import uuid
from datetime import timedelta

from django.db import transaction
from django.db.models import Q, QuerySet
from django.http import Http404
from django.utils import timezone

from accounts.models import User
from personas.models import Conversation, Message, Persona
from personas.policies import AnswerPolicy
from personas.prepared import Prepared
from personas.tree import mark_siblings, newest_leaf_below, path_to
from routing.decisions import forget_threads

TITLE_LENGTH = 60
KEEP_DELETED = timedelta(hours=1)
KEEP_TEMPORARY = timedelta(hours=24)
"""After the last message of a temporary conversation."""
PURGED_AT_ONCE = 100
NO_CONVERSATION = "There is no such conversation."
NO_MESSAGE = "There is no such message."
_MARKDOWN_MARKS = re.compile(
    r"\A[#>*\-\s`~_]+"  # a heading, quotation, list or fence at the beginning
    r"|(?<!\w)[`*_~]{1,3}(?=\S)|(?<=\S)[`*_~]{1,3}(?!\w)"  # emphasis and code
    r"|[\x00-\x1f\x7f]"
)


def conversations_visible_to(user: User) -> QuerySet[Conversation]:
    """Return the person's own conversations with their personas, newest first."""
    return Conversation.objects.filter(owner=user, deleted_at=None).select_related(
        "persona", "owner"
    )


def get_conversation_for_user(user: User, id: uuid.UUID | str) -> Conversation:
    """Return one conversation; raises ``Http404``, also for something not an id."""
    conversation = None
    if key := _uuid(id):
        conversation = _VISIBLE_CONVERSATION.first(user.pk, key)
    if conversation is None:
        raise Http404(NO_CONVERSATION)
    return conversation


_VISIBLE_CONVERSATION = Prepared(
    lambda user_id, id: conversations_visible_to(User(pk=user_id)).filter(pk=id),
    [
        (User._meta.get_field("id"), -7),
        (Conversation._meta.get_field("id"), uuid.UUID(int=7)),
    ],
)


def messages_visible_to(user: User) -> QuerySet[Message]:
    """Return the messages of the person's conversations that are not deleted."""
    return messages_with_deleted(user).filter(deleted_at=None)


def messages_with_deleted(user: User) -> QuerySet[Message]:
    """Return also those that were deleted one by one, whose words nobody may see."""
    return Message.objects.filter(
        conversation__owner=user, conversation__deleted_at=None
    )


def running_answers(
    user: User, *, conversation: Conversation | None = None, persona: Persona
) -> list[uuid.UUID]:
    """Return the ids of answers that are being written, of one chat or of a persona."""
    answers = messages_visible_to(user).filter(
        conversation__persona=persona, state=Message.State.GENERATING
    )
    if conversation is not None:
        answers = answers.filter(conversation=conversation)
    return list(answers.values_list("pk", flat=True))


def get_message_for_user(user: User, id: uuid.UUID | str) -> Message:
    """Return a message with its conversation and persona; raises ``Http404``."""
    message = None
    if key := _uuid(id):
        message = (
            messages_visible_to(user)
            .select_related("conversation__persona", "conversation__owner")
            .filter(pk=key)
            .first()
        )
    if message is None:
        raise Http404(NO_MESSAGE)
    return message


def _uuid(value: uuid.UUID | str) -> uuid.UUID | None:
    if isinstance(value, uuid.UUID):
        return value
    try:
        return uuid.UUID(str(value))
    except ValueError:
        return None


def title_from(text: str) -> str:
    """Return the first words of a message as a title, without Markdown's marks."""
    words = _MARKDOWN_MARKS.sub("", " ".join(text[:1000].split())).split()
    title = ""
    for word in words:
        longer = f"{title} {word}".strip()
        if len(longer) > TITLE_LENGTH:
            return f"{title or word[: TITLE_LENGTH - 1]}…"
        title = longer
    return title


def start_conversation(
    user: User,
    persona: Persona,
    *,
    first_text: str = "",
    temporary: bool = False,
    private: bool = False,
    shared: bool = False,
    policy: AnswerPolicy | None = None,
) -> Conversation:
    """Make an empty conversation titled after its first message.

    Without a ``policy`` it takes over the persona's tier. ``shared``: it is held in a
    room where others read along, for as long as it exists.
    """
    if persona.owner_id != user.pk:
        raise Http404("There is no such persona.")
    policy = policy or AnswerPolicy(persona.tier)
    return Conversation.objects.create(
        owner=user,
        persona=persona,
        title=title_from(first_text),
        temporary=temporary,
        private=private,
        shared=shared,
        tier=policy.tier,
        model_label=policy.model_label,
    )


def rename(conversation: Conversation, title: str) -> None:
    """Give a conversation a title of one line, cut at the column's length."""
    conversation.title = " ".join(title.replace("\0", "").split())[:120]
    conversation.save(update_fields=["title"])


def delete_conversation(conversation: Conversation) -> None:
    """Take a conversation out of sight; it can be undone until it is purged."""
    conversation.deleted_at = timezone.now()
    conversation.save(update_fields=["deleted_at"])


def undelete(user: User, id: uuid.UUID | str) -> Conversation:
    """Bring a deleted conversation back; raises ``Http404`` when it is gone."""
    if key := _uuid(id):
        Conversation.objects.filter(owner=user, pk=key).update(deleted_at=None)
    return get_conversation_for_user(user, id)


def purgeable() -> QuerySet[Conversation]:
    """Return what cannot be brought back any more, and temporary talk that is over."""
    now = timezone.now()
    is_over = Q(temporary=True, last_active_at__lt=now - KEEP_TEMPORARY)
    return Conversation.objects.filter(Q(deleted_at__lt=now - KEEP_DELETED) | is_over)


def purge_deleted() -> int:
    """Remove for good what was deleted an hour ago, or was temporary; return how many.

    No more than ``PURGED_AT_ONCE``; the next call goes on.
    """
    old = list(purgeable().values_list("pk", flat=True)[:PURGED_AT_ONCE])
    if not old:  # an idle look takes no write lock
        return 0
    with transaction.atomic():
        forget_threads(old)
        # Asked again: some may have been brought back at this moment.
        _, by_model = purgeable().filter(pk__in=old).delete()
    return by_model.get(Conversation._meta.label, 0)


def branch(
    conversation: Conversation,
    leaf: uuid.UUID | None = None,
    limit: int = 30,
    before: uuid.UUID | None = None,
) -> list[Message]:
    """Return the last messages of a branch, oldest first, each with ``sibling_ids``.

    Args:
        leaf: The branch's last message; without it the branch that is shown.
        limit: At most so many messages; there are older ones while the first one
            has a parent.
        before: Return those that stand before this message instead, for scrolling up.

    Raises:
        Http404: ``leaf`` or ``before`` is not of this conversation.
    """
    end: uuid.UUID | None
    if before is not None:
        end = _own_message(conversation, before).parent_id
    elif leaf is not None:
        end = _own_message(conversation, leaf).pk
    else:
        end = conversation.current_message_id or _newest_message_id(conversation)
    if end is None:
        return []
    messages = path_to(conversation, end, limit=limit)
    mark_siblings(conversation, messages)
    return messages


def select_sibling(conversation: Conversation, message_id: uuid.UUID | str) -> Message:
    """Show the branch that goes through a message, down its newest replies.

    Returns the new end of the shown branch; raises ``Http404``.
    """
    message = _own_message(conversation, message_id)
    leaf = newest_leaf_below(conversation, message.pk)
    conversation.current_message_id = leaf
    conversation.save(update_fields=["current_message"])
    return _own_message(conversation, leaf)


def _own_message(conversation: Conversation, id: uuid.UUID | str) -> Message:
    message = None
    if key := _uuid(id):
        message = conversation.messages.filter(pk=key).first()
    if message is None:
        raise Http404(NO_MESSAGE)
    return message


def _newest_message_id(conversation: Conversation) -> uuid.UUID | None:
    newest = conversation.messages.order_by("-created_at", "-id")
    return newest.values_list("pk", flat=True).first()
