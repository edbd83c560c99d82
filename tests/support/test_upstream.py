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


ANTHROPIC_HEADERS = {"x-api-key": "sk-1", "anthropic-version": "2023-06-01"}
GEMINI_HEADERS = {"x-goog-api-key": "sk-1"}
MESSAGES = {
    "max_tokens": 9,
    "system": [{"type": "text", "text": "Be kind."}],
    "messages": [{"role": "user", "content": [{"type": "text", "text": "Hello you"}]}],
}
CONTENTS = {
    "systemInstruction": {"parts": [{"text": "Be kind."}]},
    "contents": [{"role": "user", "parts": [{"text": "Date"}, {"text": "Hello you"}]}],
}


async def post(
    url: str, body: dict[str, Any], headers: dict[str, str]
) -> tuple[int, str, str]:
    """Post and return status, pause asked for, and body."""
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.post(url, json=body) as answer,
    ):
        return answer.status, answer.headers.get("Retry-After", ""), await answer.text()


def payloads(body: str) -> list[Any]:
    """Return the data of each event."""
    lines = [line for line in body.splitlines() if line.startswith("data: ")]
    return [json.loads(line.removeprefix("data: ")) for line in lines]


@pytest.mark.parametrize("query", ["", "?beta=true"])
async def test_upstream_speaks_the_messages_format(
    upstream: Upstream, query: str
) -> None:
    body = {**MESSAGES, "model": "think", "stream": True}
    url = f"{upstream.url}/v1/messages{query}"
    status, _, text = await post(url, body, ANTHROPIC_HEADERS)
    events = payloads(text)
    deltas = [event["delta"] for event in events if event["type"].endswith("k_delta")]
    assert status == 200
    assert "".join(each.get("thinking", "") for each in deltas) == "Let me think."
    said = "".join(each.get("text", "") for each in deltas)
    assert said == "".join(token_text(index) for index in range(8))
    assert [event["type"] for event in events if "block_s" in event["type"]] == [
        "content_block_start", "content_block_stop",
    ] * 2  # fmt: skip
    assert events[0]["message"]["usage"]["input_tokens"] == 4
    assert events[-2]["usage"] == {"output_tokens": 10}
    assert events[-1] == {"type": "message_stop"}
    (call,) = upstream.completions
    assert (call.prompt, call.key, call.model) == ("Hello you", "sk-1", "think")


async def test_upstream_answers_messages_whole(upstream: Upstream) -> None:
    body = {**MESSAGES, "model": "cached"}
    url = f"{upstream.url}/v1/messages"
    _, _, text = await post(url, body, ANTHROPIC_HEADERS)
    answer = json.loads(text)
    assert answer["content"] == [{"type": "text", "text": "Hello you"}]
    assert answer["usage"] == {
        "input_tokens": 1,
        "cache_creation_input_tokens": 1,
        "cache_read_input_tokens": 2,
        "output_tokens": 3,
    }


async def test_upstream_speaks_gemini(upstream: Upstream) -> None:
    url = f"{upstream.url}/v1beta/models/echo:streamGenerateContent?alt=sse"
    status, _, text = await post(url, CONTENTS, GEMINI_HEADERS)
    events = payloads(text)
    parts = [event["candidates"][0]["content"]["parts"][0] for event in events]
    assert status == 200
    assert "".join(part["text"] for part in parts) == "Hello you"
    assert events[-1]["candidates"][0]["finishReason"] == "STOP"
    counts = [event["usageMetadata"]["candidatesTokenCount"] for event in events]
    assert counts == [1, 2, 3, 3]
    _, _, text = await post(
        url.replace("echo:streamG", "say%3AOh%20no:g").replace("?alt=sse", ""),
        CONTENTS,
        GEMINI_HEADERS,
    )
    (candidate,) = json.loads(text)["candidates"]
    assert candidate["content"]["parts"] == [{"text": "Oh no"}]


@pytest.mark.parametrize(
    ("path", "body", "headers", "pause", "kind"),
    [
        ("/v1/chat/completions", {}, {}, "7", "scripted"),
        ("/v1/messages", MESSAGES, ANTHROPIC_HEADERS, "7", "rate_limit_error"),
        ("/v1beta/models/MODEL:streamGenerateContent?alt=sse", CONTENTS,
         GEMINI_HEADERS, "", "RESOURCE_EXHAUSTED"),
    ],
)  # fmt: skip
async def test_upstream_refuses_in_each_format(
    upstream: Upstream, path: str, body: Any, headers: Any, pause: str, kind: str
) -> None:
    for model, wanted in (("status-429", pause), ("status-429-bare", "")):
        url = upstream.url + path.replace("MODEL", model)
        status, asked, text = await post(url, {**body, "model": model}, headers)
        assert (status, asked) == (429, wanted)
        assert kind in text
        assert ("7s" in text) == (kind.isupper() and model == "status-429")
    upstream.require_key("sk-2")
    status, _, _ = await post(url, {**body, "model": "echo"}, headers)
    assert status == 401


@pytest.mark.parametrize(
    ("path", "headers", "names"),
    [
        ("/v1/models", {}, lambda data: [each["id"] for each in data["data"]]),
        ("/v1/models?limit=1000", ANTHROPIC_HEADERS,
         lambda data: [each["id"] for each in data["data"] if each["type"]]),
        ("/v1beta/models?pageSize=1000", GEMINI_HEADERS,
         lambda data: [each["name"].partition("/")[2] for each in data["models"]]),
    ],
)  # fmt: skip
async def test_upstream_lists_models_in_each_format(
    upstream: Upstream, path: str, headers: Any, names: Any
) -> None:
    upstream.list_models("one", "two")
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.get(upstream.url + path) as answer,
    ):
        assert names(await answer.json()) == ["one", "two"]
