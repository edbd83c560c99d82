from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import aiohttp
import pytest

from tests.support.upstream import Upstream, token_text


async def ask(upstream: Upstream, model: str, text: str = "hello world") -> list[Any]:
    """Stream one answer and return its events."""
    body = {
        "model": model,
        "messages": [{"role": "user", "content": text}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{upstream.base_url}/chat/completions", json=body) as answer,
    ):
        assert answer.status == 200
        lines = (await answer.text()).splitlines()
    events = [line.removeprefix("data: ") for line in lines if line]
    assert events.pop() == "[DONE]"
    return [json.loads(event) for event in events]


def text_of(events: list[Any]) -> str:
    """Join the text of the events of one answer."""
    choices = [event["choices"][0] for event in events if event["choices"]]
    return "".join(choice["delta"].get("content") or "" for choice in choices)


async def test_upstream_echoes_and_reports_usage(upstream: Upstream) -> None:
    events = await ask(upstream, "echo", "hello world")
    assert text_of(events) == "hello world"
    assert events[-1]["usage"]["completion_tokens"] == 3
    (call,) = upstream.completions
    assert (call.prompt, call.tokens_sent) == ("hello world", 3)
    assert call.finished_ns and call.disconnected_ns is None


@pytest.mark.parametrize("model", ["tokens-100", "tokens-100-1ms"])
async def test_upstream_counts_tokens_up(upstream: Upstream, model: str) -> None:
    events = await ask(upstream, model)
    assert text_of(events) == "".join(token_text(index) for index in range(100))
    (call,) = upstream.completions
    assert len(call.sent_ns) == 100
    assert list(call.sent_ns) == sorted(call.sent_ns)


async def test_upstream_notes_when_the_client_leaves(upstream: Upstream) -> None:
    asking = asyncio.create_task(ask(upstream, "tokens-10000-10ms"))
    await asyncio.to_thread(upstream.wait_for, lambda call: call.tokens_sent)
    left_ns = time.monotonic_ns()
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    call = await asyncio.to_thread(upstream.wait_for_disconnect)
    assert call.disconnected_ns is not None and call.disconnected_ns > left_ns
    assert call.tokens_sent < 10000


async def test_upstream_follows_a_script_then_the_name(upstream: Upstream) -> None:
    upstream.script("echo", "status-429", "status-500")
    url = f"{upstream.base_url}/chat/completions"
    statuses = []
    async with aiohttp.ClientSession() as session:
        for _ in range(3):
            async with session.post(url, json={"model": "echo"}) as answer:
                statuses.append(answer.status)
                if answer.status == 429:
                    assert answer.headers["Retry-After"] == "7"
                await answer.read()
    assert statuses == [429, 500, 200]


async def test_upstream_knows_only_its_models(upstream: Upstream) -> None:
    url = f"{upstream.base_url}/chat/completions"
    async with (
        aiohttp.ClientSession() as session,
        session.post(url, json={"model": "nobody"}) as answer,
    ):
        assert answer.status == 404
