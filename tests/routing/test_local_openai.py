"""Servers that answer in one piece, or not at all as they should."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from routing.backends import api_call
from routing.backends.base import (
    AuthenticationFailed,
    BackendError,
    BadRequest,
    ConnectionFailed,
    Event,
    Finished,
    Prompt,
    PromptMessage,
    RateLimited,
    Target,
    TextDelta,
    TimedOut,
    Timeouts,
    UpstreamFailed,
    Usage,
    UsageReported,
)
from routing.backends.local_openai import LocalOpenAI, note_on

PROMPT = Prompt("", (PromptMessage("user", "Hi"),))
STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"


@asynccontextmanager
async def answering(
    status: str, content_type: str, body: bytes
) -> AsyncIterator[Target]:
    """Serve one fixed response and give the target of a call to it."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", request, re.IGNORECASE)
        await reader.readexactly(int(length[1]) if length else 0)
        head = f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\n"
        head += f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        port = server.sockets[0].getsockname()[1]
        yield Target("local_openai", f"http://127.0.0.1:{port}/v1", "", "m", 8192, True)
    finally:
        server.close()
        await server.wait_closed()


@asynccontextmanager
async def sending(
    *pieces: bytes, then: str, head: bytes = STREAM_HEAD
) -> AsyncIterator[Target]:
    """Serve the beginning of an answer, then ``hang`` or ``reset``."""
    over = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for piece in (head, *pieces) if pieces else ():
            writer.write(piece)
            await writer.drain()
        if then == "hang":
            await over.wait()
        else:
            await asyncio.sleep(0.05)
            writer.transport.abort()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        port = server.sockets[0].getsockname()[1]
        yield Target("local_openai", f"http://127.0.0.1:{port}/v1", "", "m", 8192, True)
    finally:
        over.set()
        server.close()
        await server.wait_closed()


async def call(
    target: Target, limits: Timeouts | None = None, prompt: Prompt = PROMPT
) -> list[Event]:
    """Call the target and return its events."""
    async with LocalOpenAI().stream(
        prompt, target, max_output_tokens=10, timeouts=limits or Timeouts()
    ) as events:
        return [event async for event in events]


async def test_answer_in_one_piece() -> None:
    body = (
        b'{"choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}],'
        b' "usage": {"prompt_tokens": 1, "completion_tokens": 1}}'
    )
    async with answering("200 OK", "application/json", body) as target:
        events = await call(target)
    assert TextDelta("Hi") in events
    assert any(isinstance(event, UsageReported) for event in events)
    assert events[-1] == Finished()


@pytest.mark.parametrize(
    ("status", "content_type", "body", "kind", "sentence"),
    [
        ("200 OK", "text/html", b"<h1>Sign in</h1>", UpstreamFailed, "its address"),
        ("200 OK", "application/json", b'{"error": "x"}', UpstreamFailed, "an error"),
        ("200 OK", "text/event-stream", b"", ConnectionFailed, "cut the answer"),
        ("400 Bad", "text/plain", b"no json", BadRequest, "status 400"),
        ("500 Bad", "text/html", b"<" * 300_000, UpstreamFailed, "status 500"),
    ],
)
async def test_no_answer_is_one_clear_error(
    status: str, content_type: str, body: bytes, kind: type[BackendError], sentence: str
) -> None:
    async with answering(status, content_type, body) as target:
        with pytest.raises(kind, match=sentence):
            await call(target)


@pytest.mark.parametrize("limits", [Timeouts(), Timeouts(first_token_s=0.2)])
@pytest.mark.parametrize(
    ("status", "kind", "pause_s"),
    [
        (429, RateLimited, 7),
        (401, AuthenticationFailed, None),
        (500, UpstreamFailed, None),
    ],
)
async def test_refusal_whose_words_never_come_is_still_that_refusal(
    status: int,
    kind: type[BackendError],
    pause_s: float | None,
    limits: Timeouts,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(api_call, "REFUSAL_WITHIN_S", 0.4)
    head = f"HTTP/1.1 {status} No\r\nRetry-After: 7\r\nContent-Length: 99\r\n\r\n"
    async with sending(b"{", then="hang", head=head.encode()) as target:
        with pytest.raises(kind) as caught:
            await call(target, limits)
    assert not caught.value.worked
    assert getattr(caught.value, "retry_after_s", None) == pause_s


async def test_refused_connection_is_a_connection_failure(unused_tcp_port: int) -> None:
    url = f"http://127.0.0.1:{unused_tcp_port}/v1"
    with pytest.raises(ConnectionFailed, match="cannot be reached") as caught:
        await call(Target("local_openai", url, "", "m", 8192, True))
    assert not caught.value.worked


async def test_connection_cut_after_the_request_may_have_cost_something() -> None:
    async with sending(then="reset") as target:
        with pytest.raises(ConnectionFailed, match="cut the connection") as caught:
            await call(target)
    assert caught.value.worked


SAID = b'data: {"choices": [{"delta": {"content": "Hi"}}]}\n\n'
WHY = b'data: {"choices": [{"delta": {}, "finish_reason": "stop"}]}\n\n'
COUNT = b'data: {"choices": [], "usage": {"prompt_tokens": 3}}\n\n'


@pytest.mark.parametrize("then", ["hang", "reset"])
async def test_answer_with_a_finish_reason_is_whole_without_an_end_mark(
    then: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_call, "LAST_WORDS_S", 0.2)
    async with sending(SAID, WHY, COUNT, then=then) as target:
        async with asyncio.timeout(20):
            events = await call(target)
    assert set(events[:-1]) == {TextDelta("Hi"), UsageReported(Usage(3))}
    assert events[-1] == Finished()


@pytest.mark.parametrize(
    ("then", "kind"), [("hang", TimedOut), ("reset", ConnectionFailed)]
)
async def test_answer_without_a_finish_reason_is_cut(
    then: str, kind: type[BackendError]
) -> None:
    async with sending(SAID, then=then) as target:
        with pytest.raises(kind):
            await call(target, Timeouts(between_tokens_s=0.2))


LONG = Prompt("Be kind. " * 2000, (PromptMessage("user", "Hi"),))
"""About 4,500 tokens."""


@pytest.mark.parametrize(
    ("prompt", "usage", "noted"),
    [
        (LONG, Usage(2048, 5), True),
        (LONG, Usage(2400, 5), False),
        (LONG, Usage(12, 5, cache_read_tokens=4400), False),
        (LONG, Usage(None, 5), False),
        (LONG, Usage(0, 5), False),
        (PROMPT, Usage(1, 5), False),
    ],
)
def test_prompt_that_was_cut_without_a_word_is_noticed(
    prompt: Prompt, usage: Usage, noted: bool
) -> None:
    note = note_on(prompt, usage)
    assert bool(note) == noted
    if noted:
        assert "2,048" in note
        assert "context is smaller" in note


async def test_answer_to_a_cut_prompt_ends_with_a_note() -> None:
    count = {"choices": [], "usage": {"prompt_tokens": 2048, "completion_tokens": 1}}
    data = b"data: " + json.dumps(count).encode() + b"\n\ndata: [DONE]\n\n"
    for prompt in (LONG, PROMPT):
        served = answering("200 OK", "text/event-stream", SAID + WHY + data)
        async with served as target:
            *_, last = await call(target, prompt=prompt)
        assert isinstance(last, Finished)
        assert last.complete
        assert bool(last.note) == (prompt is LONG)


def test_target_does_not_show_its_key() -> None:
    target = Target("local_openai", "http://x/v1", "sk-canary", "m", 8192, True)
    assert "canary" not in repr(target)
