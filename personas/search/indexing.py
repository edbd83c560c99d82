"""Brings finished messages into search, in the background and step by step.

The worker calls ``index_new`` again and again. Messages from before an upgrade are
taken like new ones, oldest first, so that the ids of entries follow the time.
"""

from __future__ import annotations

from typing import Final

from django.db import connection, transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from personas.models import Message, SearchEntry
from personas.search.words import fold

BATCH: Final = 500


def waiting() -> QuerySet[Message]:
    """Return the finished messages that search does not know yet."""
    # In the words of the partial index "message_to_index".
    return Message.objects.filter(
        Q(indexed_at=None) & ~Q(state=Message.State.GENERATING)
    )


def some_wait() -> bool:
    """Say whether there is something to do; cheap."""
    return waiting().exists()


def index_new(limit: int = BATCH) -> int:
    """Take up to so many messages into search; return how many were looked at.

    Several processes may do it at once: on PostgreSQL each takes other rows, on
    SQLite one after the other. Temporary conversations and empty messages are marked
    as done without an entry.
    """
    with transaction.atomic():
        rows = (
            waiting()
            .select_related("conversation")
            .only(
                "owner_id",
                "text",
                "created_at",
                "conversation__persona_id",
                "conversation__temporary",
            )
            .order_by("created_at")
        )
        if connection.features.has_select_for_update_skip_locked:
            rows = rows.select_for_update(of=("self",), skip_locked=True)
        messages = list(rows[:limit])
        entries = [_entry(each) for each in messages if not _stays_out(each)]
        SearchEntry.objects.bulk_create(
            [entry for entry in entries if entry.text], ignore_conflicts=True
        )
        Message.objects.filter(pk__in=[each.pk for each in messages]).update(
            indexed_at=timezone.now()
        )
    return len(messages)


def _stays_out(message: Message) -> bool:
    return message.conversation.temporary or not message.text


def _entry(message: Message) -> SearchEntry:
    return SearchEntry(
        message_id=message.pk,
        owner_id=message.owner_id,
        persona_id=message.conversation.persona_id,
        text=fold(message.text),
        said_at=message.created_at,
    )
