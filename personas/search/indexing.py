"""Brings finished messages into search, in the background and step by step.

The worker calls ``index_new`` again and again. Messages from before an upgrade are
taken like new ones, oldest first, so that the ids of entries follow the time.
"""

from __future__ import annotations

import logging
import uuid
from typing import Final

from django.db import DatabaseError, connection, transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Length
from django.utils import timezone

from personas.models import Message, SearchEntry
from personas.search.words import MAX_TEXT, fold

logger = logging.getLogger("cortex.search")

BATCH: Final = 500
CHARACTERS: Final = 300_000
"""Of messages that are taken in one transaction; one alone may have more."""


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

    Read and folded before anything is locked, and no more than ``CHARACTERS`` at once:
    chats are written to meanwhile. Several processes may do it at once; what another
    took is left to it. Temporary conversations and empty messages are marked as done
    without an entry, and so is one that the database refuses.
    """
    lengths = _next(limit)
    entries = [
        _entry(each)
        for each in Message.objects.filter(pk__in=lengths)
        .select_related("conversation")
        .only(
            "owner_id",
            "text",
            "created_at",
            "conversation__persona_id",
            "conversation__temporary",
        )
        .order_by("created_at")
        if not each.conversation.temporary
    ]
    with transaction.atomic():
        rows = waiting().filter(pk__in=lengths).order_by()
        if connection.features.has_select_for_update_skip_locked:
            rows = rows.select_for_update(of=("self",), skip_locked=True)
        found = dict(rows.values_list("pk", Length("text")))
        # One that was emptied meanwhile is looked at again.
        still = {pk for pk, length in found.items() if length == lengths[pk]}
        _store([each for each in entries if each.text and each.message_id in still])
        Message.objects.filter(pk__in=still).update(indexed_at=timezone.now())
    return len(lengths)


def _next(limit: int) -> dict[uuid.UUID, int]:
    """Return the oldest messages that wait, with their lengths: at least one."""
    rows = waiting().order_by("created_at").values_list("pk", Length("text"))
    taken: dict[uuid.UUID, int] = {}
    characters = 0
    for pk, length in rows[:limit]:
        characters += min(length, MAX_TEXT)
        if taken and characters > CHARACTERS:
            break
        taken[pk] = length
    return taken


def _store(entries: list[SearchEntry]) -> None:
    """Store entries: all at once, or one by one where one of them is refused."""
    try:
        with transaction.atomic():
            SearchEntry.objects.bulk_create(entries, ignore_conflicts=True)
    except DatabaseError:
        stored = sum(_stored(each) for each in entries)
        if not stored and len(entries) > 1:
            raise  # no fault of theirs


def _stored(entry: SearchEntry) -> bool:
    try:
        with transaction.atomic():
            SearchEntry.objects.bulk_create([entry], ignore_conflicts=True)
    except DatabaseError:
        logger.warning("search cannot take message %s", entry.message_id)
        return False
    return True


def _entry(message: Message) -> SearchEntry:
    return SearchEntry(
        message_id=message.pk,
        owner_id=message.owner_id,
        persona_id=message.conversation.persona_id,
        text=fold(message.text),
        said_at=message.created_at,
    )
