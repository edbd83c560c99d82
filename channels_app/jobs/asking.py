"""Queued tasks of the kind “task”: done as ``POST /task`` does one, only later.

Each attempt is a turn of its own that nothing is kept of but its rows in the ledger,
so that an attempt which died with its worker is paid for and found there, too.
"""

from __future__ import annotations

from typing import Any, Final

from accounts.models import User
from channels_app import single_tasks, turns
from channels_app.errors import TurnError
from channels_app.jobs.costs import left_of_cap
from channels_app.jobs.kinds import Done, TaskFailed, attempt_turn
from channels_app.jobs.task_ids import shown_id
from channels_app.jobs.task_turns import begun
from channels_app.models import QueuedTask
from channels_app.turn_requests import Tier, UnstoredRequest
from channels_app.webhooks import announcing
from ledger.money import as_dollars
from ledger.records import timestamp
from personas.models import Persona
from personas.personas import personas_visible_to
from routing.backends.base import PromptMessage
from routing.db_pool import run_in_db_pool

CHANNEL: Final = "queue"
_TIERS: Final[dict[int | None, Tier]] = {1: 1, 2: 2, 3: 3}


async def work(task: QueuedTask) -> Done:
    """Put the task to a model as ``POST /task`` does; raises ``TaskFailed``."""
    return await _ask(task, _TIERS.get(task.tier, "auto"))


async def try_out(task: QueuedTask) -> Done:
    """Put a brief's prompt to the model that its runs would ask; ``TaskFailed``.

    Without a tier that is the one of the persona's policy.
    """
    return await _ask(task, _TIERS.get(task.tier))


async def _ask(task: QueuedTask, tier: Tier | None) -> Done:
    """Put the task to a model; cancelling this ends the model's call.

    Raises:
        TaskFailed: With the sentence of what stood in the way. Worth another try is
            what may pass by itself; a wrong key, an empty budget or a missing model
            waits for somebody to see to it.
    """
    persona, cap = await run_in_db_pool(_persona_and_cap, task)
    request = UnstoredRequest(
        messages=(PromptMessage("user", task.text),),
        persona=persona,
        tier=tier,
        channel=CHANNEL,
        background=True,
        max_cost_nano_usd=cap,
        turn=attempt_turn(task),
    )
    stream = await begun(lambda: turns.start_unstored(task.owner_id, request))
    try:
        found = await single_tasks.result_of(task.owner_id, stream)
    except TurnError as error:
        raise TaskFailed(error.code, error.message, error.retryable) from None
    # The cost is left to the ledger, which knows of every attempt.
    return Done(
        result=found.text,
        model=found.model or "",
        input_tokens=found.input_tokens,
        output_tokens=found.output_tokens,
        error_code=single_tasks.CUT_CODE if found.cut_short else "",
        error=found.cut_short,
    )


def _persona_and_cap(task: QueuedTask) -> tuple[str | None, int | None]:
    """Return who does an attempt and what it may cost, ``None`` = no cap."""
    return _persona_name(task), left_of_cap(task, task.cap_nano_usd)


def _persona_name(task: QueuedTask) -> str | None:
    """Return the name of the persona that does a task, as it is called by now."""
    owner = User.objects.filter(pk=task.owner_id, is_active=True).first()
    if owner is None:
        raise TaskFailed("forbidden", "The account of its owner is switched off.")
    if task.persona_id is None:
        return None
    try:
        return personas_visible_to(owner).get(pk=task.persona_id).name
    except Persona.DoesNotExist:
        raise TaskFailed("not_found", "The persona of this task is gone.") from None


def ended(task: QueuedTask) -> None:
    """Store for the owner's webhooks that a task is done or failed, without its texts.

    In the transaction that ends the task; its owner's own cancelling is no news.
    """
    about: dict[str, Any]
    if task.state == QueuedTask.State.DONE:
        about = {"model": task.model, "incomplete": bool(task.error_code)}
        _announce(task, single_tasks.DONE, about)
    elif task.state in {QueuedTask.State.FAILED, QueuedTask.State.DEAD}:
        error = {"code": task.error_code, "message": task.error}
        about = {"state": task.state, "attempts": task.attempts, "error": error}
        _announce(task, single_tasks.FAILED, about)


def _announce(task: QueuedTask, event: str, about: dict[str, Any]) -> None:
    begun, over = task.started_at, task.finished_at
    elapsed = (over - begun).total_seconds() if begun and over else None
    news = about | {
        "id": shown_id(task.pk),
        "elapsed_seconds": elapsed,
        "input_tokens": task.input_tokens,
        "output_tokens": task.output_tokens,
        "estimated_cost_usd": as_dollars(task.cost_nano_usd),
        "timestamp": timestamp(over) if over else None,
    }
    announcing.store(task.owner_id, event, shown_id(task.pk), news)
