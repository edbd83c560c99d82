"""What a task cost, in all its attempts, as the ledger has it."""

from __future__ import annotations

from channels_app.jobs.brief_turns import answers_of
from channels_app.jobs.kinds import turn_of
from channels_app.models import QueuedTask
from ledger.turn_attempts import cost_of_turns


def cost_of(task: QueuedTask) -> int | None:
    """Return nano-dollars of all attempts, those that crashed included.

    ``None`` while the price of some call is unknown.
    """
    if task.kind == "brief":
        turns = [answer.pk for answer in answers_of(task)]
    else:
        turns = [turn_of(task.pk, number) for number in range(1, task.attempts + 1)]
    return cost_of_turns(turns)
