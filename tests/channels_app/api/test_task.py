from __future__ import annotations

import asyncio
import datetime
import uuid
from typing import Any

import pytest

from accounts.models import User
from channels_app import turns, webhooks
from channels_app.live_turns import RUNNING
from ledger.models import LedgerEntry, LedgerPreview
from personas.models import Conversation, Message, Persona
from routing.backends.base import (
    ConnectionFailed,
    Finished,
    TextDelta,
    Usage,
    UsageReported,
)
from routing.backends.scripted import calls, playing
from routing.models import Host
from tests.support.api import api_of, await_text
from tests.support.chat import scripted_model
from tests.support.chat_fixtures import *  # noqa: F403

FIELDS = [
    "id",
    "task",
    "model",
    "result",
    "elapsed_seconds",
    "input_tokens",
    "output_tokens",
    "estimated_cost_usd",
    "timestamp",
]
DONE = [TextDelta("42"), UsageReported(Usage(1000, 500)), Finished()]


@pytest.fixture(autouse=True)
def models(turns_running: None) -> None:
    """Three models, one of each tier; nobody knows what the last one costs."""
    for tier, label, dollars in ((1, "small", 1), (2, "middle", 2), (3, "large", None)):
        price = None if dollars is None else dollars * 1_000_000_000
        scripted_model(
            label,
            tier=tier,
            input_price_nano_usd_per_mtok=price,
            output_price_nano_usd_per_mtok=None if price is None else 2 * price,
        )
    Host.objects.update(is_local=False)  # what runs at home costs nothing


@pytest.fixture
def announced(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What webhooks were told."""
    told: list[tuple[Any, ...]] = []

    async def announce(*args: Any) -> None:
        told.append(args)

    monkeypatch.setattr(webhooks, "announce", announce)
    return told


async def test_a_task_answers_with_exactly_these_fields(
    alice: User, announced: list[Any], seen: Any
) -> None:
    api = await api_of(alice)
    with playing(middle=DONE):
        response = await api.post("/task", {"task": "Compute", "force_tier": "sonnet"})

    assert response.status_code == 200, await_text(response)
    done = response.json()
    assert list(done) == FIELDS
    assert done["id"].startswith("task-") and uuid.UUID(done["id"][5:])
    assert (done["task"], done["result"], done["model"]) == ("Compute", "42", "middle")
    assert (done["input_tokens"], done["output_tokens"]) == (1000, 500)
    assert done["estimated_cost_usd"] == pytest.approx(0.004)
    assert done["elapsed_seconds"] >= 0
    assert done["timestamp"].endswith("Z")
    assert datetime.datetime.fromisoformat(done["timestamp"])
    assert await seen(Conversation.objects.count) == 0
    assert await seen(Message.objects.count) == 0
    row = await seen(lambda: LedgerEntry.objects.get(kind="settle"))
    assert (row.channel, row.user_id, str(row.turn_id)) == (
        "api",
        alice.pk,
        done["id"][5:],
    )


@pytest.mark.parametrize(
    ("force_tier", "model"),
    [
        ("haiku", "small"),
        ("sonnet", "middle"),
        ("opus", "large"),
        (1, "small"),
        (2, "middle"),
        (3, "large"),
        (None, "small"),
    ],
)
async def test_the_forced_tier_does_it(
    alice: User, force_tier: Any, model: str
) -> None:
    api = await api_of(alice)

    response = await api.post("/task", {"task": "Say hello", "force_tier": force_tier})

    assert response.json()["model"] == model


@pytest.mark.parametrize(
    "force_tier", ["gpt", "Haiku", "", "1", 0, 4, -1, 1.5, True, [], {}, "haiku "]
)
async def test_another_tier_is_422(alice: User, force_tier: Any) -> None:
    api = await api_of(alice)

    response = await api.post("/task", {"task": "x", "force_tier": force_tier})

    assert response.status_code == 422
    error = response.json()["error"]
    assert error["code"] == "bad_request"
    assert error["message"].startswith("“force_tier” must be 'haiku', 'sonnet'")


async def test_a_model_of_unknown_price_costs_null(alice: User) -> None:
    with playing(large=DONE):
        response = await (await api_of(alice)).post(
            "/task", {"task": "x", "force_tier": 3}
        )

    assert response.json()["estimated_cost_usd"] is None


@pytest.mark.usefixtures("persona")
async def test_a_persona_does_it_with_its_files(alice: User) -> None:
    with playing(small=DONE):
        response = await (await api_of(alice)).post(
            "/task", {"task": "Who are you?", "persona": "inara", "force_tier": 1}
        )
        assert "Inara" in calls[0].prompt.system

    assert response.status_code == 200


async def test_somebody_elses_persona_is_not_found(persona: Persona, bob: User) -> None:
    response = await (await api_of(bob)).post(
        "/task", {"task": "x", "persona": "inara"}
    )

    assert (response.status_code, response.json()["error"]["code"]) == (
        404,
        "not_found",
    )


async def test_a_private_personas_task_leaves_no_preview(
    alice: User, persona: Persona, seen: Any
) -> None:
    await seen(lambda: Persona.objects.filter(pk=persona.pk).update(private=True))
    await seen(lambda: Host.objects.update(is_local=True))

    response = await (await api_of(alice)).post(
        "/task", {"task": "secret", "persona": "inara", "force_tier": 1}
    )

    assert response.status_code == 200
    assert await seen(LedgerPreview.objects.count) == 0


async def test_text_that_ends_at_the_length_limit_is_returned(
    alice: User, announced: list[Any]
) -> None:
    api = await api_of(alice)
    cut = [*DONE[:2], Finished(complete=False)]
    with playing(small=cut):
        response = await api.post("/task", {"task": "Write", "force_tier": 1})
    async with asyncio.timeout(20):
        while not announced:
            await asyncio.sleep(0.01)

    assert response.status_code == 200, await_text(response)
    done = response.json()
    assert list(done) == [*FIELDS, "incomplete"]
    assert (done["result"], done["incomplete"]) == ("42", True)
    assert (done["output_tokens"], done["estimated_cost_usd"]) == (500, 0.002)
    assert announced[0][1] == "task.done" and announced[0][3]["incomplete"]


async def test_a_failed_task_is_an_error(alice: User, announced: list[Any]) -> None:
    refused = [ConnectionFailed("refused")]
    with playing(small=refused, middle=refused, large=refused):
        response = await (await api_of(alice)).post(
            "/task", {"task": "x", "force_tier": 1}
        )

    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (502, "upstream_unavailable")
    assert announced == []


async def test_who_leaves_ends_the_task(alice: User) -> None:
    api = await api_of(alice)
    with playing(small=[TextDelta("one "), 20.0, TextDelta("two"), Finished()]):
        asking = asyncio.create_task(api.post("/task", {"task": "x", "force_tier": 1}))
        while not (RUNNING and next(iter(RUNNING.values())).chars):
            await asyncio.sleep(0.01)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        async with asyncio.timeout(5):
            while RUNNING:
                await asyncio.sleep(0.01)


async def test_webhooks_hear_of_it_without_the_texts(
    alice: User, announced: list[Any]
) -> None:
    with playing(small=DONE):
        response = await (await api_of(alice)).post(
            "/task", {"task": "Compute", "force_tier": 1}
        )
    await turns.drain(0)

    done = response.json()
    news = {name: done[name] for name in FIELDS if name not in {"task", "result"}}
    news["incomplete"] = False
    assert announced == [(alice.pk, "task.done", done["id"], news)]


@pytest.mark.parametrize(
    ("body", "status", "sentence"),
    [
        ({}, 400, "“task” is missing."),
        ({"task": ""}, 400, "“task”: "),
        ({"task": ["x"]}, 400, "“task” must be a text."),
        ({"task": "x", "persona": "A B"}, 400, "“persona”"),
        ({"task": "x" * 32_001}, 413, "“task”: "),
    ],
)
async def test_wrong_tasks_are_refused(
    alice: User, body: Any, status: int, sentence: str
) -> None:
    response = await (await api_of(alice)).post("/task", body)

    assert response.status_code == status
    assert response.json()["error"]["message"].startswith(sentence)
