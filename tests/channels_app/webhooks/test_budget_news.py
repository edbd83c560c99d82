"""A turn that reaches a threshold of a budget tells the person's addresses."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.utils import timezone

from accounts.models import User
from channels_app import webhooks
from channels_app.models import WebhookDelivery
from channels_app.turn_requests import TurnRequest
from channels_app.turns import start_turn
from channels_app.webhooks import endpoints
from ledger import budgets
from tests.support.webhook_receiver import Receiver

pytestmark = pytest.mark.usefixtures(
    "couriers_end", "turns_running", "persona", "scripted"
)


async def turn_of(user: User) -> list[dict[str, Any]]:
    request = TurnRequest(
        str(uuid.uuid4()), "A secret question", persona="inara", model="scripted"
    )
    started = await start_turn(user.pk, request)
    assert started.stream is not None
    async with asyncio.timeout(10):
        batches = [batch async for batch in started.stream.read()]
    return [frame.fields for batch in batches for frame in batch]


async def test_reached_threshold_arrives_once_and_without_texts(
    alice: User,
    receiver: Receiver,
    seen: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hook, secret = await seen(
        endpoints.add, alice, receiver.url, ["budget.warning", "task.done"]
    )
    warning = budgets.BudgetWarning(
        "person:day", 80, 400_000_000, timezone.now(), "80 % is used."
    )
    monkeypatch.setattr(budgets, "warnings_due", lambda user: [warning])
    for _ in range(2):
        frames = await turn_of(alice)
        assert frames[-1]["type"] == "turn.finished"
        await webhooks.deliver_due(hook.pk)
    (came,) = receiver.received
    payload = came.verified(secret)
    assert (payload["type"], payload["data"]["text"]) == (
        "budget.warning",
        "80 % is used.",
    )
    assert b"secret question" not in came.body


async def test_turn_without_a_threshold_announces_nothing(
    alice: User, receiver: Receiver, seen: Callable[..., Any]
) -> None:
    await seen(endpoints.add, alice, receiver.url, ["budget.warning"])
    await turn_of(alice)
    assert not await seen(WebhookDelivery.objects.exists)


async def test_turn_ends_well_although_nothing_can_be_announced(
    alice: User, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("on purpose")

    warning = budgets.BudgetWarning("person:day", 50, 1, timezone.now(), "Half.")
    monkeypatch.setattr(budgets, "warnings_due", lambda user: [warning])
    monkeypatch.setattr("channels_app.webhooks.announcing.store", fail)
    frames = await turn_of(alice)
    assert (frames[-1]["type"], frames[-1]["outcome"]) == ("turn.finished", "complete")
    assert "budget.warning could not be announced" in caplog.text
