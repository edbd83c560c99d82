"""``GET /ledger`` and ``/ledger/stats``: what was used.

One's own rows and sums; for the session of an administrator, or a token of theirs with
the scope ``admin``, everybody's amounts. The start of a prompt is shown to its owner
alone.
"""

from __future__ import annotations

from typing import Annotated, Any

from django.http import HttpRequest
from ninja import Query, Router

from accounts.models import User
from channels_app.api.auth import ApiCaller, Auth, caller_of
from channels_app.api.schemas import LedgerOut, StatsOut, failing
from ledger import export, statistics
from routing.db_pool import run_in_db_pool

router = Router(tags=["Ledger"], auth=Auth("ledger", "admin"))

DEFAULT_ROWS, MAX_ROWS = 50, 1000
Limit = Annotated[int, Query(ge=1, le=MAX_ROWS, description="How many rows at most.")]


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
    return await run_in_db_pool(statistics.summary, whose_amounts(caller_of(request)))


def whose_amounts(caller: ApiCaller) -> User | None:
    """Return whose amounts a caller sees; ``None`` = everybody's."""
    return None if caller.sees_everybody else caller.user


def _rows(caller: ApiCaller, limit: int) -> list[dict[str, Any]]:
    rows = export.closing_rows(whose_amounts(caller)).order_by("-id")[:limit]
    return list(export.records(rows, owner=caller.user))
