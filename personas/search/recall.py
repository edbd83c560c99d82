"""Old messages that help to answer a new one: by words, and by meaning where possible.

A word counts the more the rarer it is among the persona's messages. What is told
counts more than what is asked: the same question from last week answers nothing.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from django.db import connection
from django.db.models import Q, QuerySet

from personas.conversations import messages_visible_to
from personas.memory.changes import from_json
from personas.memory.lines import entries_of
from personas.memory.matching import Wish, wish_of
from personas.models import Conversation, MemoryRun, Message, SearchEntry
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
FORGOTTEN_RUNS: Final = 200


@dataclass(frozen=True, slots=True)
class Recalled:
    """A message of another conversation that seems to belong to a question."""

    message_id: uuid.UUID
    role: str
    said_at: datetime
    text: str
    score: float
    """Only for comparing with the others of one answer."""


def recall(
    conversation: Conversation, text: str, *, limit: int = 5
) -> tuple[Recalled, ...]:
    """Return the messages that help most, the best first.

    Messages of other conversations of the same owner and persona: none of guests, none
    that are deleted, temporary, left out of the memory or forgotten on request; from
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
    rows = may.in_bulk({*words, *(pk for pk, _ in near)})
    order = fused(words, [pk for pk, score in near if pk in rows and score >= NEAR])
    asked = fold(text)
    forgotten = _Forgotten(conversation)
    found = [
        Recalled(pk, rows[pk].role, rows[pk].created_at, rows[pk].text, score)
        for pk, score in order
        if fold(rows[pk].text) != asked and not forgotten.has(rows[pk])
    ]
    return tuple(found[:limit])


def _recallable(conversation: Conversation) -> QuerySet[Message]:
    rows = messages_visible_to(conversation.owner).filter(
        Q(conversation__shared=False) | Q(role=Message.Role.USER),
        conversation__persona=conversation.persona_id,
        conversation__temporary=False,
        conversation__memory_paused=False,
        from_guest=False,
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
    weights: list[float] = []
    sums: defaultdict[int, float] = defaultdict(float)
    for clue in clues:
        ids = _having(conversation, clue)
        weights.append(clue.weight * rarity(len(ids), max(total, SUPPOSED)))
        for entry in ids:
            sums[entry] += weights[-1]
    best = sorted(sums, key=lambda entry: (-sums[entry], -entry))[: 4 * COMPARED]
    pairs = SearchEntry.objects.filter(pk__in=best).values_list("pk", "message_id")
    by_entry = dict(pairs)
    rows = may.filter(pk__in=by_entry.values())
    allowed = set(rows.values_list("pk", flat=True))
    chosen = [by_entry[entry] for entry in best if by_entry.get(entry) in allowed]
    return {
        message.pk: _score(message, clues, weights)
        for message in may.filter(pk__in=chosen[:COMPARED])
    }


def _having(conversation: Conversation, clue: Clue) -> list[int]:
    wanted = Wanted(
        conversation.owner_id, [clue.terms], persona_id=conversation.persona_id
    )
    return text_index().newest(connection, wanted, LOOKED_AT)


def _score(message: Message, clues: list[Clue], weights: list[float]) -> float:
    text = fold(message.text[:READ])
    score = sum(
        fit(text, clue.terms, weight=weight)
        for clue, weight in zip(clues, weights, strict=True)
    )
    if message.role != Message.Role.USER:
        score *= ANSWER
    if message.text.rstrip().endswith("?"):
        score *= QUESTION
    return score


class _Forgotten:
    """What the person asked to forget: it is not recalled either."""

    def __init__(self, conversation: Conversation) -> None:
        runs = MemoryRun.objects.filter(
            persona=conversation.persona_id,
            step=MemoryRun.Step.FORGET,
            state=MemoryRun.State.APPLIED,
        ).values_list("changes", flat=True)[:FORGOTTEN_RUNS]
        entries = [
            entry
            for changes in runs
            for change in from_json(changes)
            for entry in entries_of("\n".join(change.remove))
        ]
        self._sources = {source for entry in entries for source in entry.sources}
        self._wishes = list(_wishes(entry.text for entry in entries))

    def has(self, message: Message) -> bool:
        """Say whether a message says what was to be forgotten."""
        return message.pk in self._sources or any(
            wish.means(message.text) for wish in self._wishes
        )


def _wishes(texts: Iterable[str]) -> Iterable[Wish]:
    return filter(None, map(wish_of, texts))
