"""``/queue``: tasks for later, how they go, and what came of them.

Queueing is one crossing into the database; everything else reads one's own rows.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Annotated, Any

from django.http import Http404, HttpRequest
from django.utils import timezone
from ninja import Query, Router

from accounts.models import User
from channels_app.api.auth import Auth, caller_of
from channels_app.api.queue_schemas import (
    KEY_PATTERN,
    QueuedOut,
    QueuedTaskOut,
    QueueIn,
    QueueOut,
    State,
    TaskId,
)
from channels_app.api.schemas import failing
from channels_app.errors import TurnError
from channels_app.jobs import queue as tasks
from channels_app.jobs.shown_costs import noted_cost, shown_cost
from channels_app.jobs.task_ids import read_id, shown_id
from channels_app.models import QueuedTask
from channels_app.single_tasks import tier_named
from ledger.money import as_dollars
from ledger.records import timestamp
from personas.personas import get_persona_for_user
from routing.db_pool import run_in_db_pool

router = Router(tags=["Queue"], auth=Auth("task"))

DEFAULT_TASKS, MAX_TASKS = 50, 100
Limit = Annotated[int, Query(ge=1, le=MAX_TASKS, description="How many at most.")]
Before = Annotated[
    str | None,
    Query(description="`next` of the page before: only what is older follows."),
]
States = Annotated[
    list[State] | None,
    Query(description="Only tasks in this state; may be given several times."),
]
KEY_HEADER = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "As `idempotency_key` in the body.",
    "schema": {"type": "string", "pattern": KEY_PATTERN},
}
LINKS = {
    name: {
        "operationId": f"channels_app_api_queue_{name}_task",
        "parameters": {"task_id": "$response.body#/id"},
    }
    for name in ("show", "cancel", "retry")
}
"""What can be asked about the task that an answer names."""
Change = Callable[[QueuedTask], QueuedTask]
_NOTHING = "There is no such task."


@router.post(
    "/queue",
    response=failing(400, 404, 409, 413, 422, ok=QueuedOut),
    summary="Have a task done later",
    openapi_extra={
        "parameters": [KEY_HEADER],
        "responses": {200: {"links": LINKS}},
    },
)
async def enqueue(request: HttpRequest, body: QueueIn) -> dict[str, Any]:
    """Queue a task and return at once; it is done also when you have gone.

    A worker does it as `/task` would, tries again where the failure may pass, and gives
    up after five attempts. A key makes it safe to send the same again.
    """
    key = _key(body.idempotency_key, request.headers.get("Idempotency-Key"))
    return await run_in_db_pool(_enqueue, caller_of(request).user, body, key)


@router.get("/queue", response=failing(400, 404, ok=QueueOut), summary="Your tasks")
async def list_tasks(
    request: HttpRequest,
    state: States = None,
    limit: Limit = DEFAULT_TASKS,
    before: Before = None,
) -> dict[str, Any]:
    """Return your tasks without their results, newest first."""
    user = caller_of(request).user
    return await run_in_db_pool(_page, user, state, limit, before)


@router.get(
    "/queue/{task_id}", response=failing(404, ok=QueuedTaskOut), summary="One task"
)
async def show_task(request: HttpRequest, task_id: TaskId) -> dict[str, Any]:
    """Return how a task goes, what it cost so far, and what came of it."""
    return await run_in_db_pool(_show, caller_of(request).user, task_id)


@router.post(
    "/queue/{task_id}/cancel",
    response=failing(404, 409, ok=QueuedTaskOut),
    summary="Cancel a task",
)
async def cancel_task(request: HttpRequest, task_id: TaskId) -> dict[str, Any]:
    """Cancel a task that waits; of one that runs, end the model's call within seconds.

    Until it has ended, `cancel_asked` is true.
    """
    return await run_in_db_pool(_change, caller_of(request).user, task_id, tasks.cancel)


@router.post(
    "/queue/{task_id}/retry",
    response=failing(404, 409, ok=QueuedTaskOut),
    summary="Try a task again",
)
async def retry_task(request: HttpRequest, task_id: TaskId) -> dict[str, Any]:
    """Queue a task again that failed, was given up or was cancelled."""
    return await run_in_db_pool(_change, caller_of(request).user, task_id, tasks.retry)


def _key(in_body: str | None, in_header: str | None) -> str:
    """Return the key of a request, wherever it stands."""
    if in_header is not None and re.fullmatch(KEY_PATTERN, in_header) is None:
        raise TurnError(
            "bad_request", "“Idempotency-Key” has a form that is not possible here."
        )
    if in_body and in_header and in_body != in_header:
        raise TurnError(
            "conflict", "The header and the body name different idempotency keys."
        )
    return in_body or in_header or ""


# --- in the database ----------------------------------------------------------


def _enqueue(user: User, body: QueueIn, key: str) -> dict[str, Any]:
    persona = None if body.persona is None else get_persona_for_user(user, body.persona)
    task = tasks.enqueue(
        user,
        tasks.NewTask(
            body.task,
            persona=persona,
            tier=tier_named(body.force_tier),  # type: ignore[arg-type]
            not_before=_still_to_come(body.not_before),
            idempotency_key=key,
        ),
    )
    waits = task.state == QueuedTask.State.PENDING
    return {
        "id": shown_id(task.pk),
        "status": "queued" if waits else task.state,
        "position": _position(task),
    }


def _still_to_come(moment: datetime | None) -> datetime | None:
    """Leave out a time that has passed, so that nobody gets before others by one."""
    return moment if moment is not None and moment > timezone.now() else None


def _own(user: User, given: str) -> QueuedTask:
    """Return the task that a caller names; raises ``Http404``."""
    task_id = read_id(given)
    if task_id is None:
        raise Http404(_NOTHING)
    return tasks.get_task_for_user(user, task_id)


def _page(
    user: User, states: Sequence[str] | None, limit: int, before: str | None
) -> dict[str, Any]:
    found = tasks.tasks_visible_to(user)
    if states:
        found = found.filter(state__in=states)
    if before is not None:
        found = tasks.older_than(found, _own(user, before))
    rows = list(
        found.select_related("persona", "schedule").defer("result")[: limit + 1]
    )
    shown = rows[:limit]
    more = len(rows) > limit
    return {
        "tasks": [_line(task) for task in shown],
        "next": shown_id(shown[-1].pk) if more else None,
    }


def _show(user: User, given: str) -> dict[str, Any]:
    task = _own(user, given)
    done = task.state == QueuedTask.State.DONE
    return _line(task) | {
        "position": _position(task),
        "result": task.result if done else None,
        "estimated_cost_usd": as_dollars(shown_cost(task)),
    }


def _change(user: User, given: str, change: Change) -> dict[str, Any]:
    change(_own(user, given))
    return _show(user, given)


def _position(task: QueuedTask) -> int | None:
    return tasks.position_of(task) or None


def _line(task: QueuedTask) -> dict[str, Any]:
    """Return a task without what takes another query."""
    error = {"code": task.error_code, "message": task.error}
    return {
        "id": shown_id(task.pk),
        "kind": task.kind,
        "state": task.state,
        "task": task.text,
        "persona": task.persona.name if task.persona else None,
        "tier": task.tier,
        "source": task.source,
        "brief": task.schedule.name if task.schedule else None,
        "attempts": task.attempts,
        "cancel_asked": task.cancel_asked,
        "not_before": _moment(task.not_before),
        "created_at": _moment(task.created_at),
        "started_at": _moment(task.started_at),
        "finished_at": _moment(task.finished_at),
        "error": error if task.error_code else None,
        "incomplete": bool(task.error_code) and task.state == QueuedTask.State.DONE,
        "model": task.model or None,
        "input_tokens": task.input_tokens,
        "output_tokens": task.output_tokens,
        "estimated_cost_usd": as_dollars(noted_cost(task)),
        "conversation": str(task.conversation_id) if task.conversation_id else None,
    }


def _moment(moment: datetime | None) -> str | None:
    return None if moment is None else timestamp(moment)
