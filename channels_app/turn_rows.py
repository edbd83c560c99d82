"""An answer's row while it is written and when it ends.

Everything here is synchronous, runs in the database pool and touches nothing but the
rows of answers.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypedDict

from django.http import Http404
from django.utils import timezone

from accounts.models import User
from accounts.transactions import quick_transaction
from channels_app import turn_sql
from channels_app.errors import RETRYABLE, TurnError
from channels_app.turn_place import ALIVE_WITHIN
from ledger.money import format_usd
from personas.conversations import get_message_for_user
from personas.models import Message
from routing.backends.base import Usage

USAGE_FIELDS = (
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
)


class Seam(TypedDict):
    """Where another model went on inside an answer, as ``Message.seams`` keeps it."""

    at: int
    """Characters of the answer that stand before it."""
    model: str


@dataclass(frozen=True, slots=True)
class Progress:
    """What a running answer has so far."""

    text: str
    seams: tuple[Seam, ...] | None = None
    """All of them; ``None`` = those that the row has already."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How an answer ended; becomes the last state of its row."""

    outcome: str
    text: str
    seams: tuple[Seam, ...] = ()
    model: str = ""
    tier: int | None = None
    reason: str = ""
    attempts: int = 0
    usage: Usage | None = None
    cost_nano_usd: int | None = None
    estimated: bool = False
    error_code: str = ""
    error_message: str = ""


def save_progress(answers: Mapping[uuid.UUID, Progress]) -> None:
    """Save what running answers have so far, in one transaction."""
    rows = {turn: (each.text, each.seams) for turn, each in answers.items()}
    with quick_transaction():
        turn_sql.save_texts(rows, now=timezone.now())


def refresh_alive(
    turns: Iterable[uuid.UUID], unstored: Mapping[uuid.UUID, int] | None = None
) -> set[uuid.UUID]:
    """Say that this process still writes these answers; return which must stop.

    An answer must stop when its person was deactivated or deleted, or when its
    conversation was deleted. ``unstored`` has the person of each that has no row.
    """
    running = set(turns)
    wanted = Message.objects.filter(pk__in=running)
    wanted.filter(state=Message.State.GENERATING).update(alive_at=timezone.now())
    welcome = wanted.filter(owner__is_active=True, conversation__deleted_at=None)
    unwelcome = running - set(welcome.values_list("pk", flat=True))
    if unstored:
        people = User.objects.filter(pk__in=set(unstored.values()), is_active=True)
        active = set(people.values_list("pk", flat=True))
        unwelcome |= {turn for turn, user in unstored.items() if user not in active}
    return unwelcome


def end(turn: uuid.UUID, ending: Ending) -> None:
    """Save how an answer ended, unless it has an end already or was deleted.

    What was ended for a process that had seemed dead is booked, and perhaps asked for
    again: when that process is back, only the text is kept that people have seen.
    """
    usage = ending.usage or Usage()
    written = Message.objects.filter(pk=turn, state=Message.State.GENERATING)
    seems_dead = Message.objects.filter(
        pk=turn, state=Message.State.INTERRUPTED, error_code="internal"
    )
    text = {"text": ending.text, "seams": list(ending.seams)}
    ended = written.update(
        **text,
        state=ending.outcome,
        model=ending.model[:200],
        tier=ending.tier,
        reason=ending.reason[:200],
        attempts=ending.attempts,
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cost_nano_usd=ending.cost_nano_usd,
        estimated=ending.estimated,
        error_code=ending.error_code,
        error_message=ending.error_message[:300],
        alive_at=None,
        finished_at=timezone.now(),
    )
    if not ended and ending.text:
        seems_dead.update(**text)


def asked_to_stop(turns: Iterable[uuid.UUID]) -> set[uuid.UUID]:
    """Return which of these answers their people want no more of."""
    asked = Message.objects.filter(pk__in=list(turns), stop_asked=True)
    return set(asked.values_list("pk", flat=True))


def ask_to_stop(turns: Iterable[uuid.UUID]) -> None:
    """Note that answers are to be stopped; their process sees it within a second."""
    written = Message.objects.filter(pk__in=list(turns))
    written.filter(state=Message.State.GENERATING).update(stop_asked=True)


def ask_to_stop_for_user(user_id: int, turn: uuid.UUID) -> bool | None:
    """Note that a person's answer is to be stopped.

    Returns whether its process lives, which sees that within a second; ``None`` where
    the answer is over. Raises ``TurnError`` (not_found).
    """
    message = _answer_for_user(user_id, turn)
    if message.state != Message.State.GENERATING:
        return None
    ask_to_stop([turn])
    alive_at = message.alive_at
    return alive_at is not None and timezone.now() - alive_at < ALIVE_WITHIN


def state_for_user(user_id: int, turn: uuid.UUID) -> str:
    """Return the state of a person's answer; raises ``TurnError`` (not_found)."""
    return _answer_for_user(user_id, turn).state


def _answer_for_user(user_id: int, turn: uuid.UUID) -> Message:
    try:
        message = get_message_for_user(User(pk=user_id), turn)
    except Http404:
        message = None
    if message is None or message.role != Message.Role.ASSISTANT:
        raise TurnError("not_found", "There is no such answer.", turn=str(turn))
    return message


def finished_fields(turn: uuid.UUID, ending: Ending) -> dict[str, Any]:
    """Return the fields of ``turn.finished``."""
    error = usage = None
    if ending.error_code:
        error = {
            "code": ending.error_code,
            "message": ending.error_message,
            "retryable": ending.error_code in RETRYABLE,
        }
    if ending.usage is not None:
        usage = {name: getattr(ending.usage, name) for name in USAGE_FIELDS}
    return {
        "outcome": ending.outcome,
        "message": str(turn),
        "model": ending.model or None,
        "tier": ending.tier,
        "usage": usage,
        "cost_usd": format_usd(ending.cost_nano_usd),
        "estimated": ending.estimated,
        "error": error,
    }


def saved_ending(turn: uuid.UUID) -> dict[str, Any] | None:
    """Return ``finished_fields`` from the row; ``None`` while the answer is written."""
    row = Message.objects.filter(pk=turn).first()
    if row is None:
        return finished_fields(turn, Ending("interrupted", ""))
    if row.state == Message.State.GENERATING:
        return None
    known = row.input_tokens is not None or row.output_tokens is not None
    ending = Ending(
        outcome=row.state,
        text=row.text,
        model=row.model,
        tier=row.tier,
        usage=Usage(row.input_tokens, row.output_tokens) if known else None,
        cost_nano_usd=row.cost_nano_usd,
        estimated=row.estimated,
        error_code=row.error_code,
        error_message=row.error_message,
    )
    return finished_fields(turn, ending)
