"""What a task is said to cost, while it waits or runs and afterwards."""

from __future__ import annotations

from channels_app.jobs.costs import cost_of
from channels_app.jobs.queue import OPEN
from channels_app.models import QueuedTask


def noted_cost(task: QueuedTask) -> int | None:
    """Return nano-dollars as the row has them, without a query; ``None`` = unknown."""
    if task.attempts == 0 and task.source != "import" and task.cost_nano_usd is None:
        return 0
    return task.cost_nano_usd


def shown_cost(task: QueuedTask) -> int | None:
    """Return nano-dollars as the ledger has them now, where the row does not say.

    Attempts that died with their worker are known only after a while.
    """
    noted = noted_cost(task)
    if task.attempts == 0:
        return noted
    if noted is not None and task.state not in OPEN:
        return noted
    return cost_of(task)
