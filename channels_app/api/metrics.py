"""``GET /metrics``: figures of the installation for Prometheus; administrators only."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from django.http import HttpRequest, HttpResponse
from ninja import Router

from accounts.tokens import ADMIN_SCOPE
from channels_app.api.auth import Auth
from channels_app.api.schemas import failing
from channels_app.care import metrics
from routing.db_pool import finish_in_db_pool

router = Router(tags=["Status"], auth=Auth(ADMIN_SCOPE))

FIGURES: Final[dict[str, Any]] = {
    "description": "One line for each figure, in Prometheus' text format 0.0.4; in "
    f"OpenMetrics where “Accept” names `{metrics.OPENMETRICS}`.",
    "content": {
        name: {"schema": {"type": "string"}}
        for name in ("text/plain", metrics.OPENMETRICS)
    },
}
_ONE_AT_A_TIME: Final = asyncio.Lock()
"""The first scrape may take a while; others must not fill the database pool.

Whoever goes away meanwhile is let go once the work is done: threads are not stopped.
"""


@router.get(
    "/metrics",
    response=failing(ok=None),
    summary="Figures for Prometheus",
    openapi_extra={"responses": {200: FIGURES}},
)
async def show(request: HttpRequest) -> HttpResponse:
    """Return how much was done, what waits, and how this process is.

    Needs the scope `admin`.
    """
    async with _ONE_AT_A_TIME:
        body, kind = await finish_in_db_pool(
            metrics.written, request.headers.get("Accept", "")
        )
    return HttpResponse(body, content_type=kind)
