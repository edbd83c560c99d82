"""What somebody deletes is no longer written, nor paid for."""

from __future__ import annotations

import asyncio
import uuid

import pytest
from asgiref.sync import sync_to_async
from django.db import connections
from django.test import AsyncClient

from accounts.models import User
from channels_app.live_turns import RUNNING, hub
from channels_app.turn_requests import TurnRequest
from channels_app.turns import StartedTurn, start_turn, stop_all
from ledger.models import LedgerEntry
from personas.models import Message
from routing.backends.base import Finished, TextDelta
from routing.backends.scripted import playing
from routing.db_pool import run_in_db_pool

pytestmark = pytest.mark.usefixtures("turns_running", "scripted", "persona")
LASTING = [TextDelta("one "), 20.0, TextDelta("two"), Finished()]


async def writing(user: User) -> StartedTurn:
    """Start an answer that takes long and wait for its first words."""
    started = await start_turn(
        user.pk,
        TurnRequest(str(uuid.uuid4()), "hello", persona="inara", model="scripted"),
    )
    assert started.stream is not None
    async for batch in started.stream.read():
        if any(frame.type == "turn.delta" for frame in batch):
            break
    return started


async def post(user: User, path: str, data: dict[str, str]) -> None:
    client = AsyncClient()
    await client.aforce_login(user)
    try:
        assert (await client.post(path, data)).status_code == 302
    finally:
        await sync_to_async(connections.close_all)()


async def ended(started: StartedTurn) -> None:
    """Wait, much shorter than the answer would take, until its turn is over."""
    async with asyncio.timeout(8):
        while started.turn in RUNNING:
            await asyncio.sleep(0.01)


async def test_deleting_a_conversation_stops_its_answer(alice: User) -> None:
    with playing(scripted=LASTING):
        started = await writing(alice)
        conversation = started.beginning.conversation
        await post(alice, f"/c/{conversation}/delete", {})
        await ended(started)
    answer = await run_in_db_pool(lambda: Message.objects.get(pk=started.turn))
    assert (answer.state, answer.text) == ("interrupted", "one ")


async def test_deleting_another_conversation_stops_nothing(alice: User) -> None:
    with playing(scripted=LASTING):
        started, other = await writing(alice), await writing(alice)
        await post(alice, f"/c/{other.beginning.conversation}/delete", {})
        await ended(other)
        assert started.turn in RUNNING
        assert started.turn is not None
        await stop_all([started.turn])
        await ended(started)


async def test_deleting_a_persona_stops_its_answers(alice: User) -> None:
    with playing(scripted=LASTING):
        started = await writing(alice)
        await post(alice, "/personas/inara/delete/", {"name": "inara"})
        await ended(started)
    rows = await run_in_db_pool(lambda: list(LedgerEntry.objects.order_by("id")))
    assert rows[-1].outcome == "interrupted"


async def test_answers_elsewhere_are_asked_to_stop(
    alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[uuid.UUID] = []

    async def request_stop(turn: uuid.UUID) -> bool:
        asked.append(turn)
        return True

    monkeypatch.setattr(hub(), "request_stop", request_stop)
    turn = uuid.uuid4()
    await stop_all([turn])
    assert asked == [turn]
