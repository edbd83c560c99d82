"""Old messages that help to answer a new one: by words, and by meaning where possible.

A word counts the more the rarer it is among the persona's messages. What is told
counts more than what is asked: the same question from last week answers nothing.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Final, NamedTuple

from django.db import connection
from django.db.models import Q, QuerySet
from django.db.models.functions import Substr

from personas.conversations import messages_visible_to
from personas.memory.sources import NEVER_CHANNELS
from personas.models import Conversation, Message, SearchEntry
from personas.search import meaning
from personas.search.fusion import fused
from personas.search.index import text_index
from personas.search.index_base import Wanted
from personas.search.questions import Clue, clues_of
from personas.search.ranking import fit, rarity
from personas.search.words import fold

LOOKED_AT: Final = 2000
"""Newest messages with one word that are considered."""
COMPARED: Final = 200
"""Messages that are read to put them in order."""
READ: Final = 6000
"""Characters of a message that are read."""
FROM_EACH: Final = 20
"""Messages that words and meaning each name for one order of both."""
SUPPOSED: Final = 200
"""Messages that a persona is supposed to have at least: in a few all words are rare."""
ANSWER: Final = 0.8
"""What an answer counts beside what the person said themselves."""
QUESTION: Final = 0.5
"""What a question counts beside a statement."""
NEAR: Final = 0.25
"""Cosine from which on a message has to do with a question; most pairs have less."""
ASKED_AT_ONCE: Final = 800
"""Messages of which it is asked at once whether they may be used."""


class _Row(NamedTuple):
    """What is read of a message."""

    pk: uuid.UUID
    role: str
    created_at: datetime
    text: str
    parent: uuid.UUID | None


@dataclass(frozen=True, slots=True)
class Recalled:
    """A message of another conversation that seems to belong to a question."""

    message_id: uuid.UUID
    role: str
    said_at: datetime
    text: str
    """Its first ``READ`` characters."""
    score: float
    """Only for comparing with the others of one answer."""


def recall(
    conversation: Conversation, text: str, *, limit: int = 5
) -> tuple[Recalled, ...]:
    """Return the messages that help most, the best first.

    Messages of other conversations of the same owner and persona: none of guests, none
    that are deleted, temporary, left out of the memory or forgotten on request, no
    answers that broke off, nothing asked for by the clock, no older versions; from
    shared rooms only what the owner said, from private conversations only into private
    ones. In rooms where others read, and in temporary chats, nothing is recalled.

    Args:
        conversation: Where the question stands, with its persona and owner.
    """
    if conversation.shared or conversation.temporary:
        return ()
    may = _recallable(conversation)
    scores = _by_words(conversation, may, text)
    words = sorted(scores, key=lambda pk: -scores[pk])[:FROM_EACH]
    near = meaning.nearest(
        conversation.owner_id, conversation.persona_id, text, FROM_EACH * 2
    )
    # Asked once more: what was deleted since its words were compared is not there.
    rows = _read(may, {*words, *(pk for pk, _ in near)})
    order = fused(
        [pk for pk in words if pk in rows],
        [pk for pk, score in near if pk in rows and score >= NEAR],
    )
    return tuple(islice(_told_once(rows, order, fold(text[:READ])), limit))


def _told_once(
    rows: dict[uuid.UUID, _Row], order: list[tuple[uuid.UUID, float]], asked: str
) -> Iterator[Recalled]:
    """Yield the messages in their order; none that says what was said already."""
    said = {asked}
    for pk, score in order:
        row = rows[pk]
        words = fold(row.text)
        if words not in said:
            said.add(words)
            yield Recalled(pk, row.role, row.created_at, row.text, score)


def _read(may: QuerySet[Message], ids: Collection[uuid.UUID]) -> dict[uuid.UUID, _Row]:
    """Return the beginnings of messages; of several versions of one the newest."""
    rows = may.filter(pk__in=ids).values_list(
        "pk", "role", "created_at", Substr("text", 1, READ), "parent_id"
    )
    found = {row[0]: _Row(*row) for row in rows}
    # Asked apart: within one query SQLite would walk all messages.
    versions = Message.objects.filter(
        parent__in={row.parent for row in found.values() if row.parent},
        state=Message.State.COMPLETE,
        deleted_at=None,
    ).order_by("created_at")
    newest = {
        (parent, role): pk
        for pk, parent, role in versions.values_list("pk", "parent", "role")
    }
    return {
        pk: row
        for pk, row in found.items()
        if newest.get((row.parent, row.role), pk) == pk
    }


def _recallable(conversation: Conversation) -> QuerySet[Message]:
    rows = (
        messages_visible_to(conversation.owner)
        .filter(
            Q(conversation__shared=False) | Q(role=Message.Role.USER),
            Q(parent__forgotten_at=None) | Q(role=Message.Role.USER),
            conversation__persona=conversation.persona_id,
            conversation__temporary=False,
            conversation__memory_paused=False,
            from_guest=False,
            state=Message.State.COMPLETE,
            forgotten_at=None,
        )
        .exclude(channel__in=NEVER_CHANNELS)
    )
    if not conversation.is_private:
        rows = rows.filter(conversation__private=False)
    return rows.exclude(conversation=conversation.pk).exclude(text="")


def _by_words(
    conversation: Conversation, may: QuerySet[Message], text: str
) -> dict[uuid.UUID, float]:
    """Return messages that share words with a text, with how well they fit."""
    clues = clues_of(text)
    total = SearchEntry.objects.filter(persona=conversation.persona_id).count()
    # The chat one is in says the same words again and again, and is not wanted.
    mine = SearchEntry.objects.filter(message__conversation=conversation.pk)
    own = set(mine.values_list("pk", flat=True)) if clues else set()
    weights: list[float] = []
    sums: defaultdict[int, float] = defaultdict(float)
    for clue in clues:
        ids = _having(conversation, clue, own)
        weights.append(clue.weight * rarity(len(ids), max(total, SUPPOSED)))
        for entry in ids:
            sums[entry] += weights[-1]
    best = sorted(sums, key=lambda entry: (-sums[entry], -entry))
    return {
        pk: _score(role, said, clues, weights)
        for pk, role, said in _allowed(may, best, COMPARED)
    }


def _allowed(
    may: QuerySet[Message], entries: list[int], limit: int
) -> Iterator[tuple[uuid.UUID, str, str]]:
    """Yield id, role and text of the first messages of entries that may be used.

    Asked in steps by primary keys: in one query SQLite would walk all messages.
    """
    for at in range(0, len(entries), ASKED_AT_ONCE):
        some = entries[at : at + ASKED_AT_ONCE]
        by_entry = dict(
            SearchEntry.objects.filter(pk__in=some).values_list("pk", "message_id")
        )
        rows = may.filter(pk__in=by_entry.values())
        allowed = set(rows.values_list("pk", flat=True))
        chosen = [by_entry[entry] for entry in some if by_entry.get(entry) in allowed]
        yield from may.filter(pk__in=chosen[:limit]).values_list(
            "pk", "role", Substr("text", 1, READ)
        )
        limit -= len(chosen)
        if limit <= 0:
            return


def _having(conversation: Conversation, clue: Clue, own: set[int]) -> list[int]:
    """Return entries of other conversations that have one of a clue's words."""
    wanted = Wanted(
        conversation.owner_id,
        [clue.terms],
        persona_id=conversation.persona_id,
        by_time=False,
    )
    found = text_index().newest(connection, wanted, LOOKED_AT + len(own))
    return [entry for entry in found if entry not in own][:LOOKED_AT]


def _score(role: str, said: str, clues: list[Clue], weights: list[float]) -> float:
    text = fold(said)
    score = sum(
        fit(text, clue.terms, weight=weight)
        for clue, weight in zip(clues, weights, strict=True)
    )
    if role != Message.Role.USER:
        score *= ANSWER
    if said.rstrip().endswith("?"):
        score *= QUESTION
    return score
