"""What a persona may distil: which messages, and how much of them at a time.

Only what the owner wrote, and the persona's answers to it. Words of other people in a
room, answers that others read along with, tool results, briefs, tasks, temporary or
deleted conversations and those whose memory is paused are never sources. A private
conversation is one only for a private persona, whose calls never leave the house. Of a
message that was edited only the newest version counts, and what is older than
``RECENT`` is not read any more.

Synchronous; belongs into ``routing.db_pool``.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta, tzinfo
from typing import Final

from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import timezone

from accounts.zones import zone_of
from personas.models import Message, Persona
from routing.tokens import MESSAGE_OVERHEAD_TOKENS, estimate_tokens

BATCH_MESSAGES: Final = 60
BATCH_TOKENS: Final = 6_000
MESSAGE_CHARACTERS: Final = 1_500
"""Of a longer message the beginning and the end are read."""
ANSWER_CHARACTERS: Final = 240
SAYS_ENOUGH: Final = 300
"""Answers only tell what a short message, such as “yes”, is about; one with so many
characters needs none."""
NEVER_CHANNELS: Final = ("schedule", "queue")
"""What Cortex itself sent on a person's behalf."""
RECENT: Final = timedelta(days=30)
"""Older messages are not read: whoever names a model after years with Cortex, or takes
the first version that remembers, sends it no history without having been asked."""
CUT: Final = " […] "


@dataclass(frozen=True, slots=True)
class Said:
    """One message of the owner as it is read."""

    id: uuid.UUID
    conversation_id: uuid.UUID
    said_on: date
    """Where the owner lives."""
    text: str
    answer: str = ""

    @property
    def tokens(self) -> int:
        """About how many tokens it has, with what stands around it."""
        text = estimate_tokens(self.text) + estimate_tokens(self.answer)
        return text + 4 * MESSAGE_OVERHEAD_TOKENS


def undistilled(persona: Persona | None = None) -> QuerySet[Message]:
    """Return the messages of a persona, or of all, that are still to be distilled."""
    being_answered = Message.objects.filter(
        parent=OuterRef("pk"), state=Message.State.GENERATING
    )
    found = usable().filter(
        ~Exists(being_answered),
        distilled_at=None,
        created_at__gte=timezone.now() - RECENT,
    )
    if persona is None:
        return found
    if not persona.private:  # as the caller knows it, whatever it has become since
        found = found.filter(conversation__private=False)
    return found.filter(conversation__persona=persona)


def usable() -> QuerySet[Message]:
    """Return the messages that may be a source, read already or not."""
    in_the_house = Q(conversation__private=False) | Q(
        conversation__persona__private=True
    )
    own = Message.objects.filter(
        role=Message.Role.USER, from_guest=False, deleted_at=None
    )
    later = own.filter(created_at__gt=OuterRef("created_at"))
    edited = later.filter(parent=OuterRef("parent"))
    begun_anew = later.filter(conversation=OuterRef("conversation"), parent=None)
    return own.filter(
        in_the_house,
        ~Exists(edited),
        Q(parent__isnull=False) | ~Exists(begun_anew),
        conversation__deleted_at=None,
        conversation__temporary=False,
        conversation__memory_paused=False,
    ).exclude(channel__in=NEVER_CHANNELS)


def batch(persona: Persona) -> tuple[Said, ...]:
    """Return the oldest messages to be distilled, each conversation's together.

    At least one, if there is any; otherwise within ``BATCH_TOKENS``.
    """
    rows = list(
        undistilled(persona)
        .order_by("created_at", "id")
        .values_list(
            "pk", "conversation_id", "conversation__shared", "created_at", "text"
        )[:BATCH_MESSAGES]
    )
    alone = [pk for pk, _, shared, _, _ in rows if not shared]
    answers = _answers(alone)
    zone: tzinfo = zone_of(persona.owner)
    taken: list[Said] = []
    room = BATCH_TOKENS
    for pk, conversation_id, _, created_at, text in rows:
        read = read_as(text, answers.get(pk, ""))
        one = Said(
            id=pk,
            conversation_id=conversation_id,
            said_on=created_at.astimezone(zone).date(),
            text=read[0],
            answer=read[1],
        )
        room -= one.tokens
        if taken and room < 0:
            break
        taken.append(one)
    return _by_conversation(taken)


def still_usable(
    persona: Persona, ids: Iterable[uuid.UUID], *, lock: bool = False
) -> set[uuid.UUID]:
    """Return which of these messages are still to be distilled at this moment.

    With ``lock`` nobody can delete them before the transaction ends. Conversations are
    not locked: turns and deletions take the two in the other order.
    """
    rows = usable().filter(
        conversation__persona=persona, pk__in=list(ids), distilled_at=None
    )
    if lock:
        rows = rows.select_for_update(of=("self",), no_key=True).order_by("pk")
    return {message.pk for message in rows.only("pk")}


def existing(persona: Persona, ids: Iterable[uuid.UUID]) -> set[uuid.UUID]:
    """Return which of these messages of a persona are not deleted."""
    return set(
        Message.objects.filter(
            conversation__persona=persona,
            pk__in=list(ids),
            deleted_at=None,
            conversation__deleted_at=None,
        ).values_list("pk", flat=True)
    )


def _answers(messages: Sequence[uuid.UUID]) -> dict[uuid.UUID, str]:
    """Return the newest whole answer to each message that only its person reads."""
    rows = Message.objects.filter(
        parent__in=messages,
        role=Message.Role.ASSISTANT,
        state=Message.State.COMPLETE,
        deleted_at=None,
    ).order_by("created_at", "id")
    return {
        parent: text
        for parent, text in rows.values_list("parent_id", "text")
        if parent is not None
    }


def read_as(text: str, answer: str) -> tuple[str, str]:
    """Return as much of a message and of its answer as is read."""
    if len(text) >= SAYS_ENOUGH:
        answer = ""
    return _shortened(text, MESSAGE_CHARACTERS), _shortened(answer, ANSWER_CHARACTERS)


def _shortened(text: str, limit: int) -> str:
    """Return a text of at most about ``limit`` characters: beginning and end."""
    text = text.strip()
    if len(text) <= limit:
        return text
    head = limit * 2 // 3
    return f"{text[:head].rstrip()}{CUT}{text[head - limit :].lstrip()}"


def _by_conversation(messages: Sequence[Said]) -> tuple[Said, ...]:
    first: dict[uuid.UUID, int] = {}
    for place, one in enumerate(messages):
        first.setdefault(one.conversation_id, place)
    return tuple(sorted(messages, key=lambda one: first[one.conversation_id]))
