"""Answers whose process died: they end as interrupted, with the text they have.

Part of the worker's tick. The calls behind them were sent and may have to be paid, so
they are booked at once, with token counts estimated from the texts, instead of holding
the person's budget until nobody can be writing any more.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta

from asgiref.sync import async_to_sync
from django.db import Error as DatabaseError
from django.db.models import Q
from django.utils import timezone

from channels_app import presence
from ledger import entries
from ledger.errors import LedgerError
from ledger.models import LedgerEntry
from ledger.types import Settlement
from personas.context import load_material
from personas.models import Message
from personas.prompts import build_prompt
from routing.attempt import prompt_tokens
from routing.backends.base import BackendError
from routing.registry import catalogue_for
from routing.tokens import estimate_tokens

logger = logging.getLogger(__name__)

WHOLE_CONTEXT_TOKENS = 1_000_000
"""The room that is assumed for a model that does not exist any more."""


def interrupt_abandoned(stale_s: float = 30) -> int:
    """Mark answers whose process died as interrupted, book them, and tell their people.

    An answer is abandoned when nobody said for ``stale_s`` seconds that it is being
    written. Returns how many there were.
    """
    stale = Q(alive_at__lt=timezone.now() - timedelta(seconds=stale_s))
    written = Message.objects.filter(
        stale | Q(alive_at=None), state=Message.State.GENERATING
    )
    found = written.select_related("conversation__persona", "conversation__owner")
    ended = [answer for answer in found if _interrupt(answer)]
    if ended:
        async_to_sync(_tell)(ended)
    return len(ended)


def _interrupt(answer: Message) -> bool:
    """End one answer; False when its process ended or refreshed it meanwhile."""
    unchanged = Message.objects.filter(
        pk=answer.pk, state=Message.State.GENERATING, alive_at=answer.alive_at
    )
    ended = unchanged.update(
        state=Message.State.INTERRUPTED,
        error_code="internal",
        error_message="Cortex stopped while this answer was being written.",
        alive_at=None,
        finished_at=timezone.now(),
    )
    if not ended:
        return False
    try:
        for opened in entries.open_attempts(answer.pk):
            _book(answer, opened)
    except (LedgerError, DatabaseError) as error:
        # The reservation stays open; the tick releases it later as unknown.
        logger.warning("Answer %s was not booked: %s", answer.pk, error)
    return True


def _book(answer: Message, opened: LedgerEntry) -> None:
    """Close an attempt with what the kept text tells and note it with the answer."""
    seen_at = answer.alive_at or opened.created_at
    begin = _begin_of(answer, opened)
    used = Settlement(
        outcome="interrupted",
        elapsed_ms=max(0, (seen_at - opened.created_at) // timedelta(milliseconds=1)),
        error_code=entries.ABANDONED,
        input_tokens=_input_tokens(answer, opened.model_id, answer.text[:begin]),
        output_tokens=estimate_tokens(answer.text[begin:]),
        estimated=True,
    )
    cost = entries.settle(opened.attempt_id, used)
    alone = begin == 0  # else others wrote and read a part of it
    Message.objects.filter(pk=answer.pk).update(
        model=opened.model_id,
        tier=opened.tier,
        attempts=opened.attempt_number,
        input_tokens=used.input_tokens if alone else None,
        output_tokens=used.output_tokens if alone else None,
        cost_nano_usd=cost.cost_nano_usd if opened.attempt_number == 1 else None,
        estimated=True,
    )


def _begin_of(answer: Message, opened: LedgerEntry) -> int:
    """Return how many characters stood there before this attempt wrote.

    Who goes on inside an answer has a seam from their first word on.
    """
    last = answer.seams[-1] if answer.seams else None
    if last and last["model"] == opened.model_id:
        return int(last["at"])
    others = LedgerEntry.objects.filter(
        turn_id=opened.turn_id, outcome=LedgerEntry.Outcome.INCOMPLETE
    )
    return len(answer.text) if others.exists() else 0


def _input_tokens(answer: Message, label: str, so_far: str) -> int | None:
    """Estimate the prompt by building it once more; ``None`` where that fails.

    Who went on inside an answer was given the text so far as well.
    """
    model = catalogue_for(answer.owner).find(label)
    room = model.input_tokens if model else WHOLE_CONTEXT_TOKENS
    upto = Message(pk=answer.parent_id)
    try:
        material = load_material(answer.conversation, upto=upto)
        return prompt_tokens(build_prompt(material, room)) + estimate_tokens(so_far)
    except (BackendError, ValueError):
        return None


async def _tell(answers: list[Message]) -> None:
    """Let the pages of these answers' people read them again."""
    notes = [
        presence.conversation_changed(
            answer.owner_id, answer.conversation_id, turn=answer.pk
        )
        for answer in answers
    ]
    await asyncio.gather(*notes)
