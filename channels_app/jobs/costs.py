"""What a task cost, in all its attempts, as the ledger has it."""

from __future__ import annotations

import uuid

from channels_app.jobs.brief_turns import answers_of
from channels_app.jobs.kinds import TaskFailed, turn_of
from channels_app.models import QueuedTask
from ledger.money import write_amount
from ledger.turn_attempts import charged_to_turns, cost_of_turns


def cost_of(task: QueuedTask) -> int | None:
    """Return nano-dollars of all attempts, those that crashed included.

    ``None`` while the price of some call is unknown.
    """
    return cost_of_turns(_turns_of(task))


def left_of_cap(task: QueuedTask, cap_nano_usd: int | None) -> int | None:
    """Return what the attempt that runs may cost: a cap holds for all of a task.

    ``None`` = there is no cap. Asking for the task again by hand begins none anew.

    Raises ``TaskFailed`` (budget_exceeded) where nothing is left, or where nobody knows
    what an attempt before has cost.
    """
    if cap_nano_usd is None:
        return None
    charged = charged_to_turns(_turns_of(task))
    cap = f"This may cost at most {write_amount(cap_nano_usd)}"
    if charged is None:
        sentence = f"{cap}, and what an attempt before has cost is not known."
    elif charged >= cap_nano_usd:
        sentence = f"{cap}, and earlier attempts have cost {write_amount(charged)}."
    else:
        return cap_nano_usd - charged
    raise TaskFailed("budget_exceeded", sentence)


def _turns_of(task: QueuedTask) -> list[uuid.UUID]:
    if task.kind == "brief":
        return [answer.pk for answer in answers_of(task)]
    return [turn_of(task.pk, number) for number in range(1, task.attempts + 1)]
