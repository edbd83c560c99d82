"""``POST /task``: one task, done at once, of which only the ledger keeps anything."""

from __future__ import annotations

import time

from django.http import HttpRequest
from django.utils import timezone
from ninja import Router

from channels_app import webhooks
from channels_app.api.auth import Auth, caller_of
from channels_app.api.schemas import TaskIn, TaskOut, failing
from channels_app.live_turns import spawn
from channels_app.single_tasks import DONE, do_task, tier_named
from channels_app.turn_requests import UnstoredRequest
from ledger.money import as_dollars
from ledger.records import timestamp
from routing.backends.base import PromptMessage

router = Router(tags=["Task"], auth=Auth("task"))


@router.post(
    "/task",
    response=failing(400, 402, 404, 409, 413, 422, 502, 503, 504, ok=TaskOut),
    summary="Have a task done",
    exclude_defaults=True,  # whole results have the fields they always had
)
async def task(request: HttpRequest, body: TaskIn) -> TaskOut:
    """Do a task now and return its result, with what it cost.

    Without `force_tier` the task itself decides how capable a model it needs. Whoever
    leaves ends the task. A result that ends at the length limit has `incomplete`.
    """
    user_id = caller_of(request).user.pk
    began = time.monotonic()
    found = await do_task(
        user_id,
        UnstoredRequest(
            messages=(PromptMessage("user", body.task),),
            persona=body.persona,
            tier=tier_named(body.force_tier) or "auto",
        ),
    )
    done = TaskOut(
        id=f"task-{found.turn}",
        task=body.task,
        model=found.model,
        result=found.text,
        elapsed_seconds=round(time.monotonic() - began, 3),
        input_tokens=found.input_tokens,
        output_tokens=found.output_tokens,
        estimated_cost_usd=as_dollars(found.cost_nano_usd),
        timestamp=timestamp(timezone.now()),
        incomplete=bool(found.cut_short),
    )
    news = done.model_dump(exclude={"task", "result"})
    spawn(webhooks.announce(user_id, DONE, done.id, news), f"news of {done.id}")
    return done
