"""What must hold for streams: R1, R2, R6, R7, R8, R26.

``test_two_processes`` has what concerns several processes, ``test_runtime`` what
concerns one that dies, stops or is overrun.
"""

from __future__ import annotations

import asyncio
import json
import random
import sqlite3
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from channels.layers import channel_layers, get_channel_layer
from django.conf import settings
from django.db import connection

from channels_app import turns
from ledger.models import LedgerEntry
from personas.models import Message
from routing.backends.base import Finished, TextDelta
from routing.backends.scripted import playing
from routing.models import Model
from tests.support.chat import ChatSocket, connected
from tests.support.chat_fixtures import *  # noqa: F403
from tests.support.upstream import CHUNK_CHARACTERS, Upstream, token_text

Register = Callable[..., Model]


def tokens(count: int) -> str:
    """Return the text of a ``tokens-…`` model's answer."""
    return "".join(token_text(index) for index in range(count))


def seqs(socket: ChatSocket, turn: str) -> list[int]:
    """Return the numbers of a turn's frames in the order of arrival."""
    return [frame["seq"] for frame in socket.received if frame.get("turn") == turn
            and "seq" in frame]  # fmt: skip


# --- R1, R2: the reader may come and go ---------------------------------------


@pytest.mark.usefixtures("turns_running", "persona")
async def test_r01_twenty_broken_connections_lose_and_double_nothing(
    alice_session: str, mock_models: Register, seen: Any
) -> None:
    model = "tokens-1500-1ms"
    await seen(mock_models, model)
    chance = random.Random(1)
    text, after, turn = "", -1, None
    for part in range(21):
        async with connected(alice_session) as socket:
            if turn is None:
                turn = (await socket.say("count", model=model))["turn"]
                after = 0
            else:
                await socket.send("turn.resume", turn=turn, after=after)
            frames_to_read = chance.randint(1, 30) if part < 20 else 10**6
            for _ in range(frames_to_read):
                frame = await socket.receive()
                if frame.get("turn") != turn or "seq" not in frame:
                    continue
                assert frame["seq"] > after
                after = frame["seq"]
                text += frame["text"] if frame["type"] == "turn.delta" else ""
                if frame["type"] == "turn.finished":
                    break
            if frame["type"] == "turn.finished":
                break
    assert frame["outcome"] == "complete"
    assert text == tokens(1500)
    assert (await seen(lambda: Message.objects.get(pk=turn))).text == text


@pytest.mark.usefixtures("turns_running", "persona")
async def test_r01_a_replay_from_every_number_is_exact(
    alice_session: str, mock_models: Register, seen: Any
) -> None:
    await seen(mock_models, "tokens-40")
    async with connected(alice_session) as socket:
        finished = await socket.ask("count", model="tokens-40")
        whole = socket.text_of(finished["turn"])
    async with connected(alice_session) as socket:
        for after in range(-1, finished["seq"]):
            seen_before = len(socket.received)
            await socket.send("turn.resume", turn=finished["turn"], after=after)
            await socket.until("turn.finished")
            frames = socket.received[seen_before:]
            assert all(frame["seq"] > after for frame in frames)
            replayed = "".join(frame.get("text", "") for frame in frames)
            assert whole.endswith(replayed)
            if after < 4:
                assert replayed == whole


@pytest.mark.usefixtures("turns_running", "persona")
async def test_r02_an_answer_goes_on_when_the_tab_closes(
    alice_session: str, mock_models: Register, seen: Any
) -> None:
    await seen(mock_models, "tokens-200-2ms")
    async with connected(alice_session) as first:
        turn = (await first.say("count", model="tokens-200-2ms"))["turn"]
        await first.until("turn.delta")
    assert turns.running_count() == 1
    async with connected(alice_session) as second, connected(alice_session) as third:
        for socket in (second, third):
            await socket.send("turn.resume", turn=turn, after=-1)
        for socket in (second, third):
            finished = await socket.until("turn.finished")
            assert finished["outcome"] == "complete"
            assert socket.text_of(turn) == tokens(200)
            assert sorted(set(seqs(socket, turn))) == seqs(socket, turn)


@pytest.mark.usefixtures("turns_running", "persona")
async def test_r02_a_tab_that_closes_while_the_turn_starts_does_not_stop_it(
    alice_session: str, mock_models: Register, seen: Any
) -> None:
    await seen(mock_models, "tokens-20")
    async with connected(alice_session) as socket:
        await socket.send(
            "message.send",
            client_id="c",
            persona="inara",
            text="count",
            model="tokens-20",
        )
        await asyncio.sleep(0)
    async with asyncio.timeout(10):
        finished = Message.objects.filter(state="complete", role="assistant")
        while not await seen(finished.exists):
            await asyncio.sleep(0.02)


# --- R6, R7: bytes and queues -------------------------------------------------


def bytes_of(socket: ChatSocket) -> int:
    """Return the bytes of all frames received, with the frames' own headers."""
    sizes = [len(text.encode()) for text in socket.raw]
    return sum(size + (2 if size < 126 else 4) for size in sizes)


@pytest.mark.usefixtures("turns_running", "persona", "scripted")
async def test_r06_bytes_grow_in_step_with_the_answer(alice_session: str) -> None:
    sizes = []
    for count in (1_000, 10_000):
        script = [step for index in range(count)
                  for step in (TextDelta(token_text(index)), 0.0)]  # fmt: skip
        with playing(scripted=[*script, Finished()]):
            async with connected(alice_session) as socket:
                finished = await socket.ask("count", model="scripted")
                assert socket.text_of(finished["turn"]) == tokens(count)
                sizes.append(bytes_of(socket))
    assert sizes[1] / sizes[0] <= 10.5


@pytest.mark.usefixtures("turns_running", "persona")
async def test_r06_a_token_costs_at_most_120_bytes_of_frame(
    alice_session: str, mock_models: Register, seen: Any
) -> None:
    await seen(mock_models, "tokens-100-10ms")
    async with connected(alice_session) as socket:
        await socket.ask("count", model="tokens-100-10ms")
    deltas = [text for text in socket.raw if json.loads(text)["type"] == "turn.delta"]
    for text in deltas:
        overhead = len(text.encode()) + 4 - len(json.loads(text)["text"].encode())
        assert overhead <= 120
    assert len(deltas) > 20, "the answer came in one piece, which measures nothing"


@pytest.mark.usefixtures("turns_running", "persona")
async def test_r07_a_full_channel_layer_loses_no_text(
    alice_session: str, mock_models: Register, seen: Any
) -> None:
    get_channel_layer().capacity = 1
    await seen(mock_models, "tokens-3000")
    try:
        async with connected(alice_session) as one, connected(alice_session) as two:
            turn = (await one.say("count", model="tokens-3000"))["turn"]
            await two.send("turn.resume", turn=turn, after=-1)
            for socket in (one, two):
                await socket.until("turn.finished")
                assert socket.text_of(turn) == tokens(3000)
    finally:
        channel_layers.backends.clear()


# --- R8: stop -----------------------------------------------------------------


@pytest.mark.usefixtures("turns_running", "persona")
@pytest.mark.parametrize("model", ["tokens-5000-2ms", "hang", "stall-after-3"])
async def test_r08_stop_ends_the_upstream_call(
    alice_session: str,
    upstream: Upstream,
    mock_models: Register,
    seen: Any,
    model: str,
) -> None:
    await seen(mock_models, model)
    async with connected(alice_session) as socket:
        turn = (await socket.say("count", model=model))["turn"]
        if model == "hang":
            await socket.until("turn.stage", stage="waiting")
            await seen(upstream.wait_for, lambda call: call.model == model)
        else:
            await socket.until("turn.delta")
        pressed_ns = time.monotonic_ns()
        await socket.send("turn.stop", turn=turn)
        finished = await socket.until("turn.finished")
    assert finished["outcome"] == "interrupted"
    call = await seen(upstream.wait_for_disconnect)
    assert (call.disconnected_ns - pressed_ns) / 1e6 <= 250
    answer = await seen(lambda: Message.objects.get(pk=turn))
    assert answer.state == "interrupted"
    assert answer.text == socket.text_of(turn)
    row = await seen(lambda: LedgerEntry.objects.get(turn_id=turn, kind="settle"))
    assert row.outcome == "interrupted"
    # Billed is what was received, by estimate, not what might have come.
    assert row.estimated
    received = len(answer.text) / CHUNK_CHARACTERS
    assert row.output_tokens <= received * 1.15 + 1
    assert row.output_tokens > 0 or not answer.text


# --- R26: a database or Redis that is away ------------------------------------


@pytest.mark.usefixtures("turns_running", "persona", "scripted")
async def test_r26_chat_answers_after_the_database_was_locked(
    alice_session: str,
) -> None:
    if connection.vendor != "sqlite":
        pytest.skip("only SQLite locks the whole database")
    locker = sqlite3.connect(settings.DATABASES["default"]["NAME"])
    try:
        async with connected(alice_session) as socket:
            locker.execute("BEGIN IMMEDIATE")
            started = time.monotonic()
            asyncio.get_running_loop().call_later(2, locker.rollback)
            finished = await socket.ask("still there?", model="scripted")
            assert time.monotonic() - started >= 1.9
            assert finished["outcome"] == "complete"
    finally:
        locker.close()


@pytest.mark.usefixtures("turns_running", "persona", "scripted")
async def test_r26_a_database_locked_for_long_gives_a_clear_error(
    alice_session: str, seen: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    if connection.vendor != "sqlite":
        pytest.skip("only SQLite locks the whole database")
    locker = sqlite3.connect(settings.DATABASES["default"]["NAME"])
    try:
        async with AsyncExitStack() as stack:
            # More tabs than the database pool has threads, so that some have to queue.
            sockets = [
                await stack.enter_async_context(connected(alice_session))
                for _ in range(10)
            ]
            locker.execute("BEGIN IMMEDIATE")
            started = time.monotonic()
            for number, socket in enumerate(sockets):
                await socket.send(
                    "message.send",
                    client_id=f"c{number}",
                    persona="inara",
                    text="hello",
                )
            for number, socket in enumerate(sockets):
                error = await socket.until("error", within_s=20)
                assert (error["code"], error["retryable"]) == ("internal", True)
                assert error["client_id"] == f"c{number}"
            assert time.monotonic() - started < 5
            locker.rollback()
            assert await seen(Message.objects.count) == 0
            finished = await sockets[0].ask("and now?", model="scripted")
            assert finished["outcome"] == "complete"
    finally:
        locker.close()
