"""One task put to a model and read to its end: what ``/task`` and the queue share."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from channels_app import turns
from channels_app.errors import TurnError
from channels_app.streams import TurnStream
from channels_app.turn_requests import Tier, UnstoredRequest
from ledger.money import nano_usd

DONE: Final = "task.done"
"""What webhooks hear of, without the texts: an address may be anywhere."""
FAILED: Final = "task.failed"
TIERS: Final[dict[str, Tier]] = {"haiku": 1, "sonnet": 2, "opus": 3}
"""What Symbiont called the three tiers."""


@dataclass(frozen=True, slots=True)
class TaskResult:
    """What came of a task; ``None`` = unknown."""

    turn: UUID
    text: str
    model: str | None
    input_tokens: int | None
    output_tokens: int | None
    cost_nano_usd: int | None


def tier_named(asked: str | int | None) -> Tier | None:
    """Return the tier that a name or a number (1 to 3) stands for.

    ``None`` stays ``None``. Raises ``KeyError`` for a name that is none.
    """
    if asked is None:
        return None
    return TIERS[asked] if isinstance(asked, str) else asked  # type: ignore[return-value]


async def do_task(user_id: int, request: UnstoredRequest) -> TaskResult:
    """Have a task done and return what came of it; a caller who is cancelled ends it.

    Raises:
        TurnError: It failed, was refused or was stopped; ``turns.start_unstored`` says
            what else can stand in the way.
    """
    return await result_of(user_id, await turns.start_unstored(user_id, request))


async def result_of(user_id: int, stream: TurnStream) -> TaskResult:
    """Return what comes of a task that was begun; a caller who is cancelled ends it.

    Raises ``TurnError``: it failed or was stopped.
    """
    finished = await _read_to_the_end(user_id, stream)
    usage = finished["usage"] or {}
    cost = finished["cost_usd"]
    return TaskResult(
        turn=stream.turn,
        text=stream.text("turn.delta"),
        model=finished["model"],
        input_tokens=usage.get("input_tokens"),
        output_tokens=usage.get("output_tokens"),
        cost_nano_usd=None if cost is None else nano_usd(Decimal(cost)),
    )


async def _read_to_the_end(user_id: int, stream: TurnStream) -> dict[str, Any]:
    """Return the fields of ``turn.finished``; raises ``TurnError`` for a failure."""
    finished: dict[str, Any] = {}
    try:
        async for batch in stream.read():
            if batch[-1].type == "turn.finished":
                finished = batch[-1].fields
    finally:
        if not stream.finished:
            # The caller has gone; nobody pays for an answer that nobody reads.
            await turns.stop_turn(user_id, stream.turn)
    error = finished["error"]
    if error is not None:
        raise TurnError(
            error["code"], error["message"], retryable=bool(error["retryable"])
        )
    if finished["outcome"] == "interrupted":
        raise TurnError("internal", "The task was stopped before its end.")
    return finished
