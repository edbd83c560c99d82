"""One dispatch after another, with a scripted host or a real one on loopback."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from accounts.models import User
from ledger.models import LedgerEntry
from routing import dispatcher
from routing.backends import scripted
from routing.backends.base import (
    AuthenticationFailed,
    BadRequest,
    ConnectionFailed,
    ContextTooLong,
    Finished,
    Prompt,
    PromptMessage,
    RateLimited,
    Refused,
    TextDelta,
    ThinkingDelta,
    TimedOut,
    Timeouts,
    UnknownModel,
    UpstreamFailed,
    Usage,
    UsageReported,
)
from routing.dispatcher import Routed
from routing.models import Host, Model
from tests.routing.conftest import PROMPT, caller_of

pytestmark = pytest.mark.django_db(transaction=True)

HELLO = [TextDelta("Hel"), TextDelta("lo"), UsageReported(Usage(11, 2)), Finished()]


async def run(user: User, **options: Any) -> tuple[list[Any], Any]:
    """Dispatch and return the events and the result."""
    options.setdefault("caller", caller_of(user))
    prompt = options.pop("prompt", PROMPT)
    async with dispatcher.stream(prompt, user=user, **options) as dispatch:
        events = [event async for event in dispatch]
    return events, dispatch.result


def closings() -> list[LedgerEntry]:
    """Return the closing rows, oldest first."""
    return list(LedgerEntry.objects.filter(kind__in=["settle", "release"]))


def text_of(events: list[Any]) -> str:
    """Return the answer that the events make."""
    return "".join(event.text for event in events if isinstance(event, TextDelta))


async def test_complete_answer_is_shown_and_booked(
    alice: User, add_model: Callable[..., Model]
) -> None:
    await asyncio.to_thread(add_model)
    with scripted.playing(m1=HELLO):
        events, result = await run(alice, model="m1")
    assert events == [
        Routed("m1", 1, "chosen by name", 1, False),
        TextDelta("Hel"),
        TextDelta("lo"),
    ]
    assert result.outcome == "complete"
    assert result.usage == Usage(11, 2)
    assert (result.attempts, result.error) == (1, None)
