"""Running a dispatch in a test, and looking at what it left behind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from django.db import connection

from accounts.models import User
from ledger.models import LedgerEntry
from routing import dispatcher
from routing.backends.base import Finished, TextDelta, Usage, UsageReported
from routing.dispatcher import DispatchResult, Notice, Routed
from routing.models import RouteDecision
from tests.routing.conftest import PROMPT, caller_of

HELLO: list[Any] = [
    TextDelta("Hel"),
    TextDelta("lo"),
    UsageReported(Usage(11, 2)),
    Finished(),
]


async def run(
    user: User, prompt: Any = PROMPT, **options: Any
) -> tuple[list[Any], DispatchResult]:
    """Dispatch and return the events and the result."""
    options.setdefault("caller", caller_of(user))
    async with dispatcher.stream(prompt, user=user, **options) as dispatch:
        events = [event async for event in dispatch]
    return events, dispatch.result


def text_of(events: list[Any]) -> str:
    """Return the answer that the events make."""
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def models_of(events: list[Any]) -> list[str]:
    """Return the labels of the models that were asked."""
    return [event.model for event in events if isinstance(event, Routed)]


def notices_of(events: list[Any]) -> list[str]:
    """Return the codes of the notices."""
    return [event.code for event in events if isinstance(event, Notice)]


async def closings(**conditions: Any) -> list[LedgerEntry]:
    """Return the closing rows, oldest first."""
    rows = LedgerEntry.objects.filter(kind__in=("settle", "release"), **conditions)
    return [row async for row in rows.order_by("id")]


async def decision_of(result: DispatchResult) -> RouteDecision:
    """Return the row of a dispatch's decision."""
    assert result.decision_id is not None
    return await RouteDecision.objects.aget(id=result.decision_id)


async def in_thread(func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call a function that uses the database, on a thread with its own connection."""

    def call() -> Any:
        try:
            return func(*args, **kwargs)
        finally:
            connection.close()

    return await asyncio.to_thread(call)
