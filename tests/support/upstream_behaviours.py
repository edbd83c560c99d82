"""What the mock of a model's host does; the model's name chooses.

The table stands in ``upstream.py``. Every behaviour works in each of the wire formats.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol

from tests.support.wire import CHUNK_CHARACTERS, Call, ToolRequest, token_text

UNPACED_BATCH = 32
"""Chunks handed to the network at once when no cadence is asked for."""
RETRY_AFTER_S = 7
SPLIT_TEXT = "Grüße, 世界! 🙂"
"""What ``split-bytes`` says."""
LOOKUP = ToolRequest("call_1", "lookup", ('{"word": ', '"cortex"}'))
CLOCK = ToolRequest("call_2", "clock", ("{}",))


class Sender(Protocol):
    """What a behaviour needs of a connection."""

    transport: asyncio.Transport

    async def write(self, data: bytes) -> None:
        """Send bytes, waiting while the other side does not read."""

    async def respond(
        self, status: int, payload: Any, headers: dict[str, str] | None = None
    ) -> None:
        """Send a whole JSON response."""

    async def start_stream(self) -> None:
        """Send the head of an event stream."""

    def finish(self) -> None:
        """Note that the answer is complete."""


Behaviour = Callable[[Sender, Call, "re.Match[str]"], Coroutine[Any, Any, None]]
_BEHAVIOURS: list[tuple[re.Pattern[str], Behaviour]] = []


def _behaviour(pattern: str) -> Callable[[Behaviour], Behaviour]:
    def register(function: Behaviour) -> Behaviour:
        _BEHAVIOURS.append((re.compile(pattern, re.S), function))
        return function

    return register


async def behave(name: str, to: Sender, call: Call) -> None:
    """Answer as ``name`` says; an unknown name is an unknown model."""
    for pattern, function in _BEHAVIOURS:
        if match := pattern.fullmatch(name):
            await function(to, call, match)
            return
    await to.respond(*refusal(call, 404, f"The model '{name}' does not exist."))


def refusal(
    call: Call, status: int, message: str, *, retry_after_s: int | None = None
) -> tuple[int, dict[str, Any], dict[str, str]]:
    """Return status, body and headers of an answer that is none."""
    body, headers = call.wire.error(status, message, retry_after_s=retry_after_s)
    return status, body, headers


def http_chunk(data: bytes) -> bytes:
    """Return a piece of a body whose length is not known before."""
    return b"%x\r\n%b\r\n" % (len(data), data)


# --- the parts of an answer --------------------------------------------------------


async def _start(to: Sender, call: Call, *, usage: bool = True) -> None:
    await to.start_stream()
    if data := call.wire.start(call, usage=usage):
        await to.write(http_chunk(data))


async def _pieces(to: Sender, call: Call, text: str) -> None:
    """Send the chunks of a text inside a stream that has begun."""
    for start in range(0, len(text), CHUNK_CHARACTERS):
        await _piece(to, call, text[start : start + CHUNK_CHARACTERS])


async def _piece(to: Sender, call: Call, piece: str) -> None:
    call.sent_ns.append(time.monotonic_ns())
    call.tokens_sent += 1
    call.text += piece
    await to.write(http_chunk(call.wire.text_event(call, piece)))


async def _end(
    to: Sender, call: Call, finish: str = "stop", *, usage: bool = True
) -> None:
    """Send the finish reason, the usage, and the end mark."""
    data = call.wire.end(call, finish, usage=usage)
    await to.write(http_chunk(data) + b"0\r\n\r\n")
    to.finish()


async def _say(to: Sender, call: Call, text: str, finish: str = "stop") -> None:
    """Answer with a text in chunks of four characters and end properly."""
    if not call.wire.streams(call):
        call.text, call.tokens_sent = text, -(-len(text) // CHUNK_CHARACTERS)
        await to.respond(200, call.wire.whole(call, text, finish))
        return
    await _start(to, call)
    await _pieces(to, call, text)
    await _end(to, call, finish)


def _counting(count: int) -> str:
    return "".join(map(token_text, range(count)))


# --- answers that end well ---------------------------------------------------------


@_behaviour(r"echo|(?:claude|gemini)-.*")
async def _echo(to: Sender, call: Call, _: Any) -> None:
    await _say(to, call, call.prompt)


@_behaviour(r"say:(.*)")
async def _said(to: Sender, call: Call, match: re.Match[str]) -> None:
    await _say(to, call, match[1])


@_behaviour(r"tokens-(\d+)(?:-(\d+)ms)?")
async def _tokens(to: Sender, call: Call, match: re.Match[str]) -> None:
    count, interval_ms = int(match[1]), int(match[2] or 0)
    if not call.wire.streams(call):
        await _say(to, call, _counting(count))
        return
    await _start(to, call)
    if interval_ms:
        await _send_paced(to, call, count, interval_ms / 1000)
    else:
        await _send_unpaced(to, call, count)
    await _end(to, call)


async def _send_paced(to: Sender, call: Call, count: int, interval_s: float) -> None:
    """Send one chunk per interval, each at its own moment, without drift."""
    loop = asyncio.get_running_loop()
    start = loop.time()
    for index in range(count):
        delay = start + index * interval_s - loop.time()
        if delay > 0:
            await asyncio.sleep(delay)
        call.sent_ns.append(time.monotonic_ns())
        call.tokens_sent += 1
        await to.write(http_chunk(call.wire.text_event(call, token_text(index))))


async def _send_unpaced(to: Sender, call: Call, count: int) -> None:
    """Send chunks as fast as the other side reads, some at a time."""
    for first in range(0, count, UNPACED_BATCH):
        chunks = []
        for index in range(first, min(first + UNPACED_BATCH, count)):
            call.tokens_sent += 1
            chunks.append(http_chunk(call.wire.text_event(call, token_text(index))))
        now = time.monotonic_ns()
        call.sent_ns.extend([now] * len(chunks))
        await to.write(b"".join(chunks))
        await asyncio.sleep(0)


@_behaviour(r"cached")
async def _cached(to: Sender, call: Call, _: Any) -> None:
    call.cache_read_tokens = call.input_tokens // 2
    call.cache_write_tokens = call.input_tokens // 4
    await _say(to, call, call.prompt)


@_behaviour(r"think")
async def _think(to: Sender, call: Call, _: Any) -> None:
    await _start(to, call)
    for piece in ("Let me ", "think."):
        call.thinking_tokens += 1
        await to.write(http_chunk(call.wire.thinking_event(call, piece)))
    await _pieces(to, call, _counting(8))
    await _end(to, call)


@_behaviour(r"no-usage")
async def _no_usage(to: Sender, call: Call, _: Any) -> None:
    await _start(to, call, usage=False)
    await _pieces(to, call, call.prompt)
    await _end(to, call, usage=False)


@_behaviour(r"length|filtered")
async def _cut_short(to: Sender, call: Call, match: re.Match[str]) -> None:
    text = call.prompt if match[0] == "length" else ""
    await _say(to, call, text, match[0])


@_behaviour(r"empty")
async def _empty(to: Sender, call: Call, _: Any) -> None:
    await _say(to, call, "")


@_behaviour(r"tool|two-tools")
async def _tool(to: Sender, call: Call, match: re.Match[str]) -> None:
    tools: Sequence[ToolRequest] = (LOOKUP,)
    await _start(to, call)
    if match[0] == "two-tools":
        tools = (LOOKUP, CLOCK)
        await _pieces(to, call, "Let me look.")
    call.tokens_sent += len(tools)
    for event in call.wire.tool_events(call, tools):
        await to.write(http_chunk(event))
    await _end(to, call, "tool")


@_behaviour(r"long-line")
async def _long_line(to: Sender, call: Call, _: Any) -> None:
    await _start(to, call)
    call.text, call.tokens_sent = "x" * 1_200_000, 1
    await to.write(http_chunk(call.wire.text_event(call, call.text)))
    await _end(to, call)


@_behaviour(r"big-(\d+)")
async def _big(to: Sender, call: Call, match: re.Match[str]) -> None:
    await _start(to, call)
    for _ in range(int(match[1])):
        call.tokens_sent += 1
        await to.write(http_chunk(call.wire.text_event(call, "x" * 50_000)))
    await _end(to, call)


@_behaviour(r"split-bytes")
async def _split_bytes(to: Sender, call: Call, _: Any) -> None:
    await _start(to, call)
    call.text, call.tokens_sent = SPLIT_TEXT, 1
    event = call.wire.text_event(call, call.text)
    for start in range(0, len(event), 7):
        await to.write(http_chunk(event[start : start + 7]))
        await asyncio.sleep(0.002)
    await _end(to, call)


# --- late, broken and refused answers ----------------------------------------------


@_behaviour(r"slow-(\d+)ms")
async def _slow(to: Sender, call: Call, match: re.Match[str]) -> None:
    await asyncio.sleep(int(match[1]) / 1000)
    await _say(to, call, call.prompt)


@_behaviour(r"hang")
async def _hang(to: Sender, call: Call, _: Any) -> None:
    await asyncio.Event().wait()


@_behaviour(r"(stall|cut|end)-after-(\d+)")
async def _break_off(to: Sender, call: Call, match: re.Match[str]) -> None:
    await _start(to, call)
    await _pieces(to, call, _counting(int(match[2])))
    if match[1] == "stall":
        await asyncio.Event().wait()
    elif match[1] == "cut":
        await _reset(to)
    else:
        await to.write(b"0\r\n\r\n")
        to.finish()


@_behaviour(r"cut:(.*)")
async def _cut(to: Sender, call: Call, match: re.Match[str]) -> None:
    await _start(to, call)
    await _pieces(to, call, match[1])
    await _reset(to)


async def _reset(to: Sender) -> None:
    await asyncio.sleep(0.05)  # the text must be on its way before the reset
    to.finish()
    to.transport.abort()


@_behaviour(r"error-in-stream|malformed")
async def _bad_event(to: Sender, call: Call, match: re.Match[str]) -> None:
    await _start(to, call)
    await _pieces(to, call, _counting(3))
    data = b"data: {this is no JSON\n\n"
    if match[0] == "error-in-stream":
        data = call.wire.error_event()
    await to.write(http_chunk(data) + b"0\r\n\r\n")
    to.finish()


@_behaviour(r"too-long")
async def _too_long(to: Sender, call: Call, _: Any) -> None:
    await to.respond(400, call.wire.too_long(call))


@_behaviour(r"status-(\d{3})(-bare)?")
async def _status(to: Sender, call: Call, match: re.Match[str]) -> None:
    status = int(match[1])
    pause = RETRY_AFTER_S if status == 429 and not match[2] else None
    words = f"Status {status}, as asked."
    await to.respond(*refusal(call, status, words, retry_after_s=pause))


@_behaviour(r"redirect")
async def _redirect(to: Sender, call: Call, _: Any) -> None:
    await to.respond(302, {}, {"Location": "http://127.0.0.1:9/elsewhere"})
