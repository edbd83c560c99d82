"""What kinds of tasks there are, and what the work of one may give back.

The table names its functions by their dotted paths, so that whoever only queues a task
loads nothing of what will do it.
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import cast

from django.utils.module_loading import import_string

from channels_app.models import QueuedTask

Effect = Callable[[], None]
"""Written in the transaction in which a task ends, and so exactly once; synchronous."""


@dataclass(frozen=True, slots=True)
class Done:
    """What came of a task that was done."""

    result: str = ""
    model: str = ""
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost_nano_usd: int | None = None
    """Of all attempts; ``None`` where a model was asked = as the ledger has it."""
    conversation_id: uuid.UUID | None = None
    error_code: str = ""
    error: str = ""
    """Why the result is not whole, one safe sentence; empty where it is."""
    effect: Effect | None = None


class TaskFailed(Exception):
    """A task was not done; ``str()`` is one safe sentence for its owner.

    ``code`` is one of ``channels_app.errors.CODES``; ``retryable`` says whether another
    attempt, later, may be better.
    """

    def __init__(self, code: str, sentence: str, retryable: bool = False) -> None:
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence
        self.retryable = retryable


Work = Callable[[QueuedTask], Awaitable[Done]]
"""Does a task. It may be called again for the same task, also while an earlier attempt
whose lease was lost still ends, and it may be cancelled at any moment: then it must end
its model call. Where ``task.lost`` is set then, it has to do so without the database,
which may be what is out of reach."""
Ended = Callable[[QueuedTask], None]
"""Told, in the same transaction, that a task has ended for good, in whichever state."""

KINDS: dict[str, Work | str] = {
    "task": "channels_app.jobs.asking.work",
    "trial": "channels_app.jobs.asking.try_out",
    "brief": "channels_app.jobs.briefs.work",
}
"""Who does each kind of task."""
ENDINGS: dict[str, Ended | str] = {
    "task": "channels_app.jobs.asking.ended",
    "brief": "channels_app.jobs.brief_delivery.ended",
}
"""Who is told of the end of each kind of task, where somebody is."""


def register(name: str, work: Work, ended: Ended | None = None) -> None:
    """Add a kind, or replace it; for tests and measurements."""
    KINDS[name] = work
    if ended is not None:
        ENDINGS[name] = ended


def work_of(task: QueuedTask) -> Work:
    """Return what does a task.

    Raises ``TaskFailed`` where this version of Cortex does not know its kind.
    """
    work = KINDS.get(task.kind)
    if work is None:
        raise TaskFailed("internal", "This kind of task is not known here.")
    return cast(Work, import_string(work)) if isinstance(work, str) else work


def tell_ended(task: QueuedTask) -> None:
    """Tell whoever has to know that a task is over; synchronous, in the transaction."""
    ended = ENDINGS.get(task.kind)
    if isinstance(ended, str):
        ended = cast(Ended, import_string(ended))
    if ended is not None:
        ended(task)


def attempt_turn(task: QueuedTask) -> uuid.UUID:
    """Return the turn's id of the attempt that runs, by which the ledger knows it."""
    return turn_of(task.pk, task.attempts)


def turn_of(task_id: uuid.UUID, attempt: int) -> uuid.UUID:
    """Return the turn's id of an attempt."""
    return uuid.uuid5(task_id, str(attempt))
