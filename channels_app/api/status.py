"""``GET /status``: whether everything runs, what waits, and what was used in all."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest
from ninja import Router

from accounts.models import User
from channels_app.api.auth import Auth, caller_of
from channels_app.api.ledger import whose_amounts
from channels_app.api.schemas import StatusOut, failing
from channels_app.jobs.signs import signs
from channels_app.models import (
    InboundEvent,
    MailDelivery,
    OutboundReply,
    QueuedTask,
    WebhookDelivery,
)
from ledger import statistics
from ledger.records import timestamp
from routing.db_pool import run_in_db_pool

router = Router(tags=["Ledger"], auth=Auth("ledger", "admin"))


@router.get("/status", response=failing(ok=StatusOut), summary="How Cortex is")
async def status(request: HttpRequest) -> dict[str, Any]:
    """Say whether everything runs, how much waits, and what was used in all."""
    return await run_in_db_pool(_status, whose_amounts(caller_of(request)))


def _status(user: User | None) -> dict[str, Any]:
    models = statistics.breakdown(user, "model_id")
    alive = signs()
    return {
        "status": "healthy" if alive.is_healthy else "degraded",
        "runtime": "python/django",
        "queue_size": _waiting(user),
        "last_heartbeat": None if alive.beat_at is None else timestamp(alive.beat_at),
        "total_calls": models.whole.calls,
        "total_cost_estimated_usd": models.whole.cost_usd,
        "by_model": {
            name: {"calls": each.calls, "cost": each.cost_usd}
            for name, each in models.by("model_id").items()
        },
    }


def _waiting(user: User | None) -> int:
    """Count what workers have still to deal with."""
    at_work = {"state__in": ["pending", "processing"]}
    to_send = {"state__in": ["pending", "sending"]}
    waiting: list[tuple[QuerySet[Any, Any], str]] = [
        (QueuedTask.objects.filter(**at_work), "owner"),
        (
            InboundEvent.objects.filter(state__in=["received", "processing"]),
            "channel__owner",
        ),
        (OutboundReply.objects.filter(**to_send), "channel__owner"),
        (WebhookDelivery.objects.filter(**to_send), "endpoint__owner"),
        (MailDelivery.objects.filter(**to_send), "owner"),
    ]
    return sum(
        (rows if user is None else rows.filter(**{owner: user})).count()
        for rows, owner in waiting
    )
