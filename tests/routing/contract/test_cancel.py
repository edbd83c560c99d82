"""Leaving a call ends it: at the host within 250 ms, and every process with it."""

from __future__ import annotations

import asyncio
import time

import psutil

from routing.backends.base import TextDelta
from tests.routing.contract.harness import PATIENT, PROMPT, Bench

WITHIN_NS = 250_000_000


async def test_leaving_an_answer_ends_it_at_the_host(bench: Bench) -> None:
    bench.behave("tokens-3000-10ms")
    async with bench.open() as events:
        async for event in events:
            if isinstance(event, TextDelta):
                break
        running = bench.children()
        left_ns = time.monotonic_ns()
    call = await bench.wait_for(lambda call: call.disconnected_ns)
    assert call.disconnected_ns is not None
    assert call.disconnected_ns - left_ns < WITHIN_NS
    assert call.tokens_sent < 3000
    assert bool(running) == bench.kind.is_program
    assert not psutil.wait_procs(running, timeout=5)[1]


async def test_cancelling_while_nothing_came_ends_it_at_the_host(bench: Bench) -> None:
    bench.behave("hang")

    async def ask() -> None:
        async with bench.open() as events:
            async for _ in events:
                raise AssertionError("Nothing was said.")

    asking = asyncio.create_task(ask())
    await bench.wait_for(lambda call: call.asks)
    running = bench.children()
    left_ns = time.monotonic_ns()
    asking.cancel()
    (result,) = await asyncio.gather(asking, return_exceptions=True)
    assert isinstance(result, asyncio.CancelledError)
    call = await bench.wait_for(lambda call: call.disconnected_ns)
    assert call.disconnected_ns is not None
    assert call.disconnected_ns - left_ns < WITHIN_NS
    assert not psutil.wait_procs(running, timeout=5)[1]


async def test_cancelling_at_any_moment_of_the_start_leaves_nothing(
    bench: Bench,
) -> None:
    bench.behave(*["hang"] * 8)
    for delay_s in (0, 0.001, 0.01, 0.05):
        asking = asyncio.create_task(bench.call())
        await asyncio.sleep(delay_s)
        asking.cancel()
        (result,) = await asyncio.gather(asking, return_exceptions=True)
        assert isinstance(result, asyncio.CancelledError)
    assert not psutil.wait_procs(bench.children(), timeout=5)[1]


async def test_calls_at_the_same_time_do_not_mix(bench: Bench) -> None:
    bench.behave("tokens-40-5ms", "say:something else", "tokens-40-5ms")

    async def ask() -> str:
        text = ""
        async with bench.backend.stream(
            PROMPT, bench.target(), max_output_tokens=2000, timeouts=PATIENT
        ) as events:
            async for event in events:
                if isinstance(event, TextDelta):
                    text += event.text
        return text

    said = await asyncio.gather(ask(), ask(), ask())
    assert sorted(map(len, said)) == [14, 160, 160]
    assert len(set(said)) == 2
