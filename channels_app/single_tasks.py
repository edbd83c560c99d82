"""One task put to a model and read to its end: what ``/task`` and the queue share."""

from __future__ import annotations

from collections.abc import Mapping
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
CUT_CODE: Final = "too_long"
"""The code that stands at a result which is not whole."""
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
    cut_short: str = ""
    """Why the text is not whole, one sentence; empty where it is."""


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

    Text that ends at the model's length limit was paid for and is a result, too.

    Raises ``TurnError``: it failed or was stopped.
    """
    finished = await _read_to_the_end(user_id, stream)
    error = finished["error"]
    usage = finished["usage"] or {}
    cost = finished["cost_usd"]
    return TaskResult(
        turn=stream.turn,
        text=stream.text("turn.delta"),
        model=finished["model"],
        input_tokens=usage.get("input_tokens"),
        output_tokens=usage.get("output_tokens"),
        cost_nano_usd=None if cost is None else nano_usd(Decimal(cost)),
        cut_short=error["message"] if error else "",
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
    if error is not None and not _is_cut_text(finished, stream):
        raise TurnError(
            error["code"], error["message"], retryable=bool(error["retryable"])
        )
    if finished["outcome"] == "interrupted":
        raise TurnError("internal", "The task was stopped before its end.")
    return finished


def _is_cut_text(finished: Mapping[str, Any], stream: TurnStream) -> bool:
    """Say whether there is text that only ends too early, at a limit of its length."""
    at_limit = finished["error"]["code"] == CUT_CODE
    text = stream.text("turn.delta")
    return at_limit and finished["outcome"] == "incomplete" and bool(text.strip())
