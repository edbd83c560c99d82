"""Distils a persona's messages into its memory, step by step, with one call for each.

New messages go into the short memory, old or crowding lines from there into the mid one
and from there into the long one. What is read is noted before the call, and looked at
again in the transaction that stores: a message that was deleted, paused or forgotten
while the model worked leads to nothing. A process that dies in between has paid for the
call, and the batch is done again. One caller at a time, for which the callers' lock is
responsible (``channels_app.jobs.beat_steps.memory``).

Texts never reach a log, and calls are booked without a preview.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from django.db import transaction
from django.utils import timezone

from ledger.types import Caller
from personas.memory import instructions, tiers
from personas.memory.instructions import Asked, Material
from personas.memory.steps import (
    Job,
    prepare_short,
    prepare_up,
    store_answer,
    store_failure,
)
from personas.memory.triggers import ROLE
from personas.models import MemoryRun, MemorySettings, Persona
from routing import dispatcher
from routing.attempt import AT_THE_LIMIT, NO_TEXT
from routing.backends.base import Prompt, Timeouts
from routing.db_pool import run_in_db_pool
from routing.discovery import CHANNEL
from routing.events import Completion

TIMEOUTS: Final = Timeouts(connect_s=10, first_token_s=180, between_tokens_s=60,
                           total_s=300)  # fmt: skip
"""Nobody waits, and a model in the house may have to be loaded first."""
MOST_ROOM: Final = 24_000
"""Tokens of a prompt, however large the model's context is."""
State = MemoryRun.State


async def distil(persona_id: int, *, by_hand: bool = False) -> list[MemoryRun]:
    """Take every step that a persona is due for; return what came of each.

    A failed call ends it, and the pause until the next attempt grows; so does an answer
    of no use. Nothing to do makes no call.

    Args:
        persona_id: Whose messages.
        by_hand: Somebody asked for it, also where the memory is switched off.
    """
    asked = await run_in_db_pool(_begin, persona_id)
    if asked is None:
        return []
    runs: list[MemoryRun] = []
    failed = False
    for prepare in _steps(persona_id, by_hand or asked):
        job = await run_in_db_pool(prepare)
        if isinstance(job, MemoryRun):
            runs.append(job)
            failed = True
        elif job is not None:
            run = await _take(job)
            runs += [run] if run is not None else []
            failed = failed or (run is not None and run.state == State.LEFT)
            if run is not None and run.state == State.FAILED:
                failed = True
                break
    await run_in_db_pool(_end, persona_id, failed)
    return runs


def _steps(
    persona_id: int, by_hand: bool
) -> list[Callable[[], Job | MemoryRun | None]]:
    """Return what prepares each step, in order: room is made where there is none."""
    mid, long = tiers.UP
    up = partial(prepare_up, persona_id, by_hand=by_hand)
    return [
        partial(up, long, only_full=True),
        partial(up, mid, only_full=True),
        partial(prepare_short, persona_id, by_hand),
        partial(up, mid),
        partial(up, long),
    ]


async def _take(job: Job) -> MemoryRun | None:
    """Make one call and store what came of it; ``None`` = nothing is left of it."""
    question = _Question(job.material)
    user, persona = job.persona.owner, job.persona
    completion = await dispatcher.complete(
        question,
        user=user,
        role=ROLE,
        private=persona.private,
        preview=False,
        caller=Caller(user.id, user.username, persona.id, persona.name, CHANNEL),
        max_output_tokens=instructions.OUTPUT_TOKENS,
        timeouts=TIMEOUTS,
        background=True,
    )
    if (why := _failure(completion)) or question.asked is None:
        return await run_in_db_pool(store_failure, job, completion, why)
    return await run_in_db_pool(store_answer, job, question.asked.material, completion)


class _Question:
    """Builds the prompt for each model that is asked, and keeps the last one's."""

    def __init__(self, material: Material) -> None:
        self.asked: Asked | None = None
        self._material = material
        self._fence = instructions.new_fence()

    def __call__(self, room: int) -> Prompt:
        """Return the prompt for a model with so much room in tokens."""
        room = min(room, MOST_ROOM)
        self.asked = instructions.asked(self._material, room, self._fence)
        return self.asked.prompt


def _failure(completion: Completion) -> str:
    """Return why there is no answer; an empty one, and one cut at its limit, count."""
    result = completion.result
    if result.error is None:
        return "" if result.outcome == "complete" else "The call was interrupted."
    if result.error.message == NO_TEXT or (
        completion.text and result.error.message in AT_THE_LIMIT
    ):
        return ""
    return result.error.message


# --- before the call ------------------------------------------------------------------


def _begin(persona_id: int) -> bool | None:
    """Note an attempt; return whether somebody asked for it, ``None`` = no persona.

    It counts as failed until it has ended, so that one that kills its process is not
    repeated without a pause.
    """
    with transaction.atomic():
        persona = Persona.objects.filter(pk=persona_id, owner__is_active=True).first()
        if persona is None:
            return None
        row, _ = MemorySettings.objects.get_or_create(persona=persona)
        asked = row.asked_at is not None
        row.tried_at, row.asked_at = timezone.now(), None
        row.failures = min(row.failures + 1, 1000)
        row.save(update_fields=["tried_at", "asked_at", "failures"])
    return asked


def _end(persona_id: int, failed: bool) -> None:
    if not failed:
        MemorySettings.objects.filter(persona=persona_id).update(failures=0)
