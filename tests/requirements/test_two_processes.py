"""Several web processes act as one over Redis, and survive its absence: R1, R8, R26."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.processes import ServerProcess
from tests.support.redis import RedisServer
from tests.support.seeding import Chat, Seed, chatting, seed
from tests.support.upstream import Upstream, token_text

pytestmark = pytest.mark.timeout(120)
SLOW, LONG = "tokens-300-10ms", "tokens-4000-10ms"


def tokens(count: int) -> str:
    """Return the text of a ``tokens-…`` model's answer."""
    return "".join(token_text(index) for index in range(count))


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """A Redis that the test may stop and start."""
    with RedisServer() as server:
        yield server


@pytest.fixture
def two(
    start_server: Callable[..., ServerProcess],
    own_redis: RedisServer,
    upstream: Upstream,
) -> tuple[ServerProcess, ServerProcess, Seed]:
    """Two web processes on one database and one Redis, and alice's session."""
    one = start_server("serve", REDIS_URL=own_redis.url)
    other = start_server("web", REDIS_URL=own_redis.url)
    return one, other, seed(one, upstream.base_url, [SLOW, LONG], "alice", "bob")


async def first_text(chat: Chat, turn: str) -> None:
    while not chat.text(turn):
        await chat.receive()


async def answer_of(chat: Chat) -> dict[str, Any]:
    """Return the next frame that is not a note to all tabs."""
    while (frame := await chat.receive())["type"] == "conversation.changed":
        pass
    return frame


async def send(chat: Chat, type: str, **fields: object) -> None:
    await chat.ws.send_json({"type": type, **fields})


async def test_r01_another_process_replays_and_follows_the_stream(
    two: tuple[ServerProcess, ServerProcess, Seed],
) -> None:
    one, other, seeded = two
    async with (
        chatting(one, seeded, "alice") as here,
        chatting(other, seeded, "alice") as there,
        chatting(other, seeded, "bob") as stranger,
    ):
        turn = (await here.say("count", model=SLOW))["turn"]
        note = await there.receive()
        assert (note["type"], note["turn"]) == ("conversation.changed", turn)
        await first_text(here, turn)
        await send(there, "turn.resume", turn=turn, after=-1)
        await send(stranger, "turn.resume", turn=turn, after=-1)
        refusal = await answer_of(stranger)
        assert refusal["code"] == "not_found"
        finished = await there.until("turn.finished", turn)
        assert finished["outcome"] == "complete"
        assert there.text(turn) == tokens(300)
        assert await here.until("turn.finished", turn) == finished
    async with chatting(other, seeded, "alice") as late:
        middle = finished["seq"] - 100
        await send(late, "turn.resume", turn=turn, after=middle)
        first = await answer_of(late)
        assert first["seq"] > middle
        await late.until("turn.finished", turn)
        # One event is the end itself; what one read of the host brought is one event.
        rest = late.text(turn)
        assert tokens(300).endswith(rest)
        assert len(rest) >= 99 * 4


async def test_r08_another_process_stops_the_turn(
    two: tuple[ServerProcess, ServerProcess, Seed], upstream: Upstream
) -> None:
    one, other, seeded = two
    async with (
        chatting(one, seeded, "alice") as here,
        chatting(other, seeded, "alice") as there,
    ):
        turn = (await here.say("count", model=LONG))["turn"]
        await first_text(here, turn)
        pressed_ns = time.monotonic_ns()
        await send(there, "turn.stop", turn=turn)
        finished = await here.until("turn.finished", turn)
        assert finished["outcome"] == "interrupted"
    call = await asyncio.to_thread(upstream.wait_for_disconnect)
    assert call.disconnected_ns is not None
    assert (call.disconnected_ns - pressed_ns) / 1e6 <= 250


async def test_r08_another_process_stops_the_turn_without_redis(
    start_server: Callable[..., ServerProcess], upstream: Upstream
) -> None:
    one, other = start_server("serve", REDIS_URL=""), start_server("web", REDIS_URL="")
    seeded = seed(one, upstream.base_url, [LONG], "alice")
    async with (
        chatting(one, seeded, "alice") as here,
        chatting(other, seeded, "alice") as there,
    ):
        turn = (await here.say("count", model=LONG))["turn"]
        await first_text(here, turn)
        await send(there, "turn.stop", turn=turn)
        finished = await here.until("turn.finished", turn)
        assert (finished["outcome"], finished["error"]) == ("interrupted", None)
        # It was no mistake to ask there: the next answer is not an error.
        await send(there, "ping")
        assert (await answer_of(there))["type"] == "pong"


async def test_r26_chat_goes_on_while_redis_is_down(
    two: tuple[ServerProcess, ServerProcess, Seed], own_redis: RedisServer
) -> None:
    one, other, seeded = two
    async with (
        chatting(one, seeded, "alice") as here,
        chatting(other, seeded, "alice") as there,
    ):
        turn = (await here.say("count", model=SLOW))["turn"]
        await first_text(here, turn)
        own_redis.stop()
        # What runs here goes on here …
        await here.until("turn.finished", turn)
        assert here.text(turn) == tokens(300)
        # … a new message is answered, on an open socket and on a new one …
        started = time.monotonic()
        during = await here.say("again", model=SLOW)
        assert during["type"] == "turn.started"
        assert time.monotonic() - started < 5
        await here.until("turn.finished", during["turn"])
        async with chatting(one, seeded, "bob") as late:
            answer = await late.say("me too", model=SLOW)
            assert answer["type"] == "turn.started"
            await late.until("turn.finished", answer["turn"])
        # … and who asks elsewhere hears clearly that it cannot be had now.
        started = time.monotonic()
        await send(there, "turn.resume", turn=during["turn"], after=-1)
        error = await answer_of(there)
        assert time.monotonic() - started < 5
        assert (error["type"], error["retryable"]) == ("error", True)

        own_redis.start()
        await asyncio.sleep(2)
        after = (await here.say("and now", model=SLOW))["turn"]
        await send(there, "turn.resume", turn=after, after=-1)
        deadline = time.monotonic() + 10
        while (await answer_of(there))["type"] == "error":
            assert time.monotonic() < deadline
            await asyncio.sleep(0.2)
            await send(there, "turn.resume", turn=after, after=-1)
        await there.until("turn.finished", after)
        assert there.text(after) == tokens(300)
