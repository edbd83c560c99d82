"""``POST /task``: one task, done at once, of which only the ledger keeps anything."""

from __future__ import annotations

import time
from decimal import Decimal
from typing import Any, Final

from django.http import HttpRequest
from django.utils import timezone
from ninja import Router

from channels_app import turns, webhooks
from channels_app.api.auth import Auth, caller_of
from channels_app.api.schemas import TaskIn, TaskOut, failing
from channels_app.errors import TurnError
from channels_app.live_turns import spawn
from channels_app.streams import TurnStream
from channels_app.turn_requests import Tier, UnstoredRequest
from ledger.records import timestamp
from routing.backends.base import PromptMessage

router = Router(tags=["Task"], auth=Auth("task"))

EVENT: Final = "task.done"
"""What webhooks hear of, without the texts: an address may be anywhere."""
TIERS: Final[dict[str | int, Tier]] = {"haiku": 1, "sonnet": 2, "opus": 3}
"""What Symbiont called the three tiers."""


@router.post(
    "/task",
    response=failing(400, 402, 404, 409, 413, 422, 502, 503, 504, ok=TaskOut),
    summary="Have a task done",
)
async def task(request: HttpRequest, body: TaskIn) -> TaskOut:
    """Do a task now and return its result, with what it cost.

    Without `force_tier` the task itself decides how capable a model it needs. Whoever
    leaves ends the task.
    """
    user_id = caller_of(request).user.pk
    began = time.monotonic()
    stream = await turns.start_unstored(
        user_id,
        UnstoredRequest(
            messages=(PromptMessage("user", body.task),),
            persona=body.persona,
            tier=_tier(body.force_tier),
        ),
    )
    finished = await _read_to_the_end(user_id, stream)
    usage = finished["usage"] or {}
    cost = finished["cost_usd"]
    done = TaskOut(
        id=f"task-{stream.turn}",
        task=body.task,
        model=finished["model"],
        result=stream.text("turn.delta"),
        elapsed_seconds=round(time.monotonic() - began, 3),
        input_tokens=usage.get("input_tokens"),
        output_tokens=usage.get("output_tokens"),
        estimated_cost_usd=None if cost is None else float(Decimal(cost)),
        timestamp=timestamp(timezone.now()),
    )
    news = done.model_dump(exclude={"task", "result"})
    spawn(webhooks.announce(user_id, EVENT, done.id, news), f"news of {done.id}")
    return done


def _tier(asked: str | int | None) -> Tier:
    if asked is None:
        return "auto"
    return TIERS.get(asked, asked)  # type: ignore[arg-type]


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
        raise TurnError(error["code"], error["message"])
    if finished["outcome"] == "interrupted":
        raise TurnError("internal", "The task was stopped before its end.")
    return finished
