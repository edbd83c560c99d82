"""``GET /ledger``, ``/ledger/stats`` and ``/status``: what was used, and how it is.

One's own rows and sums; for the session of an administrator, or a token of theirs with
the scope ``admin``, everybody's amounts. The start of a prompt is shown to its owner
alone.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any

from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from ninja import Query, Router

from accounts.models import User
from channels_app.api.auth import ApiCaller, Auth, caller_of
from channels_app.api.schemas import LedgerOut, StatsOut, StatusOut, failing
from channels_app.jobs import tick
from channels_app.models import InboundEvent, OutboundReply, WebhookDelivery
from ledger import export, statistics
from ledger.records import timestamp
from routing.db_pool import run_in_db_pool

router = Router(tags=["Ledger"], auth=Auth("ledger", "admin"))

DEFAULT_ROWS, MAX_ROWS = 50, 1000
Limit = Annotated[int, Query(ge=1, le=MAX_ROWS, description="How many rows at most.")]
WORKER_SILENT_AFTER = timedelta(seconds=60)
"""The worker ticks every ten seconds; after so long it is taken for dead."""


@router.get(
    "/ledger",
    response=failing(400, ok=LedgerOut),
    summary="The newest calls",
)
async def ledger(
    request: HttpRequest,
    limit: Limit = DEFAULT_ROWS,
) -> dict[str, Any]:
    """Return the newest closed calls of models, newest first."""
    return {"entries": await run_in_db_pool(_rows, caller_of(request), limit)}


@router.get("/ledger/stats", response=failing(ok=StatsOut), summary="Sums of all calls")
async def ledger_stats(request: HttpRequest) -> dict[str, Any]:
    """Return how many calls there were and what they cost, by model and by day."""
    return await run_in_db_pool(statistics.summary, _whose(caller_of(request)))


@router.get("/status", response=failing(ok=StatusOut), summary="How Cortex is")
async def status(request: HttpRequest) -> dict[str, Any]:
    """Say whether everything runs, how much waits, and what was used in all."""
    return await run_in_db_pool(_status, _whose(caller_of(request)))


def _whose(caller: ApiCaller) -> User | None:
    """Return whose amounts a caller sees; ``None`` = everybody's."""
    return None if caller.sees_everybody else caller.user


def _rows(caller: ApiCaller, limit: int) -> list[dict[str, Any]]:
    rows = export.closing_rows(_whose(caller)).order_by("-id")[:limit]
    return list(export.records(rows, owner=caller.user))


def _status(user: User | None) -> dict[str, Any]:
    models = statistics.breakdown(user, "model_id")
    alive_at = tick.last_began_at()
    return {
        "status": "healthy" if _is_alive(alive_at) else "degraded",
        "runtime": "python/django",
        "queue_size": _waiting(user),
        "last_heartbeat": None if alive_at is None else timestamp(alive_at),
        "total_calls": models.whole.calls,
        "total_cost_estimated_usd": models.whole.cost_usd,
        "by_model": {
            name: {"calls": each.calls, "cost": each.cost_usd}
            for name, each in models.by("model_id").items()
        },
    }


def _is_alive(moment: datetime | None) -> bool:
    return moment is not None and moment > timezone.now() - WORKER_SILENT_AFTER


def _waiting(user: User | None) -> int:
    """Count what the worker has still to deal with."""
    open_deliveries = {"state__in": ["pending", "sending"]}
    waiting: list[tuple[QuerySet[Any, Any], str]] = [
        (
            InboundEvent.objects.filter(state__in=["received", "processing"]),
            "channel__owner",
        ),
        (OutboundReply.objects.filter(**open_deliveries), "channel__owner"),
        (WebhookDelivery.objects.filter(**open_deliveries), "endpoint__owner"),
    ]
    return sum(
        (rows if user is None else rows.filter(**{owner: user})).count()
        for rows, owner in waiting
    )
