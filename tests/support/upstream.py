"""An OpenAI-compatible server on loopback whose behaviour the model's name chooses.

It is raw asyncio, so that it is never the slow part of a measurement. Tests run it in
a thread (``Upstream``), benchmarks in a process of its own::

    python -m tests.support.upstream        # prints "ready http://127.0.0.1:PORT"

which ends with its standard input and shows its journal at ``GET /journal``
(``DELETE`` empties it). What a model's name means:

=====================  ==============================================================
``echo``               the last user message, four characters a chunk
``say:TEXT``           TEXT
``tokens-N-Mms``       N chunks of 4 characters, one every M ms; ``tokens-N`` unpaced
``think``              reasoning first, then ``tokens-8``
``no-usage``           never reports usage
``length``             stops with finish reason ``length``
``filtered``           stops with finish reason ``content_filter``
``empty``              finishes without any text
``tool``               asks for the tool ``lookup`` in pieces
``slow-Mms``           as ``echo``, but the first byte comes after M ms
``hang``               takes the request and never answers
``stall-after-N``      N chunks, then silence
``cut-after-N``        N chunks, then the connection is reset
``end-after-N``        N chunks, then a clean end without the end mark
``error-in-stream``    3 chunks, then an error event
``malformed``          3 chunks, then an event that is no JSON
``long-line``          one event of 1.2 MB
``big-N``              N events of 50 KB
``split-bytes``        multi-byte characters, written 7 bytes at a time
``too-long``           HTTP 400 ``exceed_context_size_error``
``status-NNN``         HTTP NNN with an error body; 429 carries ``Retry-After: 7``
``redirect``           HTTP 302 to another port
=====================  ==============================================================

``Upstream.script(model, *behaviours)`` makes the next calls of one model behave as
each of the names in turn. Token texts count up in base 36 (``0000``, ``0001`` …), so a
receiver can tell which chunk a character came from; the journal holds the moment each
chunk was sent on ``CLOCK_MONOTONIC``, which all processes of a machine share.
Unknown names answer 404, as real servers do.

Source for the wire format: the OpenAI API reference, chat completions, streaming.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import sys
import threading
import time
from array import array
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Any

CHUNK_CHARACTERS = 4
UNPACED_BATCH = 32
"""Chunks handed to the network at once when no cadence is asked for."""
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


def token_text(index: int) -> str:
    """Return the text of chunk ``index``: four base-36 digits."""
    result = ""
    for _ in range(CHUNK_CHARACTERS):
        index, digit = divmod(index, 36)
        result = _DIGITS[digit] + result
    return result


def _event(model: str, delta: dict[str, Any], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    payload = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": model,
        "choices": [choice],
    }
    return b"data: " + json.dumps(payload).encode() + b"\n\n"


def _http_chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


@dataclass
class Call:
    """One request that arrived, and what became of it; times in ns, monotonic."""

    method: str
    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    started_ns: int
    tokens_sent: int = 0
    text: str = ""
    """What was sent; empty for ``tokens-…`` models, whose text is known."""
    sent_ns: array[int] = field(default_factory=lambda: array("q"))
    finished_ns: int | None = None
    """When the answer was complete."""
    disconnected_ns: int | None = None
    """When the client left before the answer was complete."""

    @property
    def model(self) -> str:
        """The model that was asked for."""
        return str(self.body.get("model", ""))

    @property
    def prompt(self) -> str:
        """The text of the last user message."""
        return _last_user_text(self.body)

    @property
    def input_tokens(self) -> int:
        """The count that is reported as usage: a quarter of all characters sent."""
        texts = [_content(message) for message in self.body.get("messages", [])]
        return max(1, sum(map(len, texts)) // 4)

    def as_json(self) -> dict[str, Any]:
        """Return the journal's view of the call."""
        return {
            "method": self.method,
            "path": self.path,
            "model": self.model,
            "prompt": self.prompt,
            "tokens_sent": self.tokens_sent,
            "started_ns": self.started_ns,
            "finished_ns": self.finished_ns,
            "disconnected_ns": self.disconnected_ns,
            "sent_ns": self.sent_ns.tolist(),
        }


def _content(message: dict[str, Any]) -> str:
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in content)


def _last_user_text(body: dict[str, Any]) -> str:
    for message in reversed(body.get("messages", [])):
        if message.get("role") == "user":
            return _content(message)
    return ""


class _Connection(asyncio.Protocol):
    """One keep-alive connection; at most one request at a time."""

    def __init__(self, server: _Server) -> None:
        self.server = server
        self.buffer = bytearray()
        self.transport: asyncio.Transport
        self.writable = asyncio.Event()
        self.writable.set()
        self.task: asyncio.Task[None] | None = None
        self.call: Call | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.server.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.server.connections.discard(self)
        if self.call and self.call.finished_ns is None:
            self.call.disconnected_ns = time.monotonic_ns()
        if self.task:
            self.task.cancel()

    def pause_writing(self) -> None:
        self.writable.clear()

    def resume_writing(self) -> None:
        self.writable.set()

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        if self.task is None:
            self._next_request()

    def _next_request(self) -> None:
        head, separator, rest = self.buffer.partition(b"\r\n\r\n")
        if not separator:
            return
        request_line, *lines = head.decode("latin-1").split("\r\n")
        headers = {}
        for line in lines:
            name, _, value = line.partition(":")
            headers[name.strip().lower()] = value.strip()
        length = int(headers.get("content-length", "0"))
        if len(rest) < length:
            return
        method, path, _ = request_line.split(" ", 2)
        body = json.loads(rest[:length]) if length else {}
        self.buffer = rest[length:]
        self.call = Call(method, path, headers, body, time.monotonic_ns())
        self.task = asyncio.ensure_future(self._answer(self.call))

    async def _answer(self, call: Call) -> None:
        try:
            await self.server.answer(self, call)
        finally:
            self.task = None
        if not self.transport.is_closing():
            self._next_request()

    async def write(self, data: bytes) -> None:
        """Send bytes, waiting while the other side does not read."""
        if not self.writable.is_set():
            await self.writable.wait()
        self.transport.write(data)

    async def respond(
        self, status: int, payload: Any, headers: dict[str, str] | None = None
    ) -> None:
        """Send a whole JSON response."""
        data = json.dumps(payload).encode()
        head = [f"HTTP/1.1 {status} -", "Content-Type: application/json"]
        head += [f"{name}: {value}" for name, value in (headers or {}).items()]
        head += [f"Content-Length: {len(data)}", "", ""]
        await self.write("\r\n".join(head).encode() + data)
        self.finish()

    async def start_stream(self) -> None:
        """Send the head of an event stream."""
        await self.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
            b"Cache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n"
        )

    def finish(self) -> None:
        """Note that the answer is complete."""
        if self.call:
            self.call.finished_ns = time.monotonic_ns()


Behaviour = Callable[
    ["_Server", _Connection, Call, "re.Match[str]"], Coroutine[Any, Any, None]
]
_BEHAVIOURS: list[tuple[re.Pattern[str], Behaviour]] = []


def _behaviour(pattern: str) -> Callable[[Behaviour], Behaviour]:
    def register(function: Behaviour) -> Behaviour:
        _BEHAVIOURS.append((re.compile(pattern, re.S), function))
        return function

    return register


class _Server:
    """What the connections share: journal, scripts, listed models."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.scripts: dict[str, deque[str]] = {}
        self.models = ["echo", "tokens-100-10ms"]
        self.api_key = ""
        self.connections: set[_Connection] = set()

    async def answer(self, connection: _Connection, call: Call) -> None:
        """Answer one request."""
        path = call.path.partition("?")[0]
        if path == "/journal":
            if call.method == "DELETE":
                self.calls.clear()
            await connection.respond(200, [item.as_json() for item in self.calls])
            return
        self.calls.append(call)
        if self.api_key and call.headers.get("authorization") != (
            f"Bearer {self.api_key}"
        ):
            await connection.respond(401, {"error": {"message": "Wrong key."}})
        elif path.endswith("/models"):
            data = [{"id": name, "object": "model"} for name in self.models]
            await connection.respond(200, {"object": "list", "data": data})
        elif path.endswith("/chat/completions") and call.method == "POST":
            await self._complete(connection, call)
        else:
            await connection.respond(404, {"error": {"message": "No such page."}})

    async def _complete(self, connection: _Connection, call: Call) -> None:
        name = call.model
        if script := self.scripts.get(name):
            name = script.popleft()
        for pattern, function in _BEHAVIOURS:
            if match := pattern.fullmatch(name):
                await function(self, connection, call, match)
                return
        message = f"The model '{name}' does not exist."
        await connection.respond(
            404, {"error": {"message": message, "code": "model_not_found"}}
        )

    async def stream_text(
        self, connection: _Connection, call: Call, text: str, finish: str = "stop"
    ) -> None:
        """Stream a text in chunks of four characters and end properly."""
        if not call.body.get("stream"):
            call.text, call.tokens_sent = text, -(-len(text) // CHUNK_CHARACTERS)
            await connection.respond(200, _whole_answer(call, text, finish))
            return
        await connection.start_stream()
        await connection.write(
            _http_chunk(_event(call.model, {"role": "assistant", "content": ""}))
        )
        await self.send_pieces(connection, call, text)
        await self.end_stream(connection, call, finish)

    async def send_pieces(self, connection: _Connection, call: Call, text: str) -> None:
        """Send the chunks of a text inside a stream that has begun."""
        for start in range(0, len(text), CHUNK_CHARACTERS):
            piece = text[start : start + CHUNK_CHARACTERS]
            call.sent_ns.append(time.monotonic_ns())
            await connection.write(_http_chunk(_event(call.model, {"content": piece})))
            call.tokens_sent += 1
            call.text += piece

    async def end_stream(
        self,
        connection: _Connection,
        call: Call,
        finish: str = "stop",
        *,
        usage: bool = True,
    ) -> None:
        """Send the finish reason, the usage if it was asked for, and the end mark."""
        data = _event(call.model, {}, finish)
        options = call.body.get("stream_options") or {}
        if usage and options.get("include_usage"):
            payload = {"choices": [], "model": call.model, "usage": _usage(call)}
            data += b"data: " + json.dumps(payload).encode() + b"\n\n"
        data += b"data: [DONE]\n\n"
        await connection.write(_http_chunk(data) + b"0\r\n\r\n")
        connection.finish()


def _usage(call: Call) -> dict[str, int]:
    return {
        "prompt_tokens": call.input_tokens,
        "completion_tokens": call.tokens_sent,
        "total_tokens": call.input_tokens + call.tokens_sent,
    }


def _whole_answer(call: Call, text: str, finish: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": text}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": call.model,
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
        "usage": _usage(call),
    }


@_behaviour(r"echo")
async def _echo(server: _Server, connection: _Connection, call: Call, _: Any) -> None:
    await server.stream_text(connection, call, call.prompt)


@_behaviour(r"say:(.*)")
async def _say(
    server: _Server, connection: _Connection, call: Call, match: re.Match[str]
) -> None:
    await server.stream_text(connection, call, match[1])


@_behaviour(r"tokens-(\d+)(?:-(\d+)ms)?")
async def _tokens(
    server: _Server, connection: _Connection, call: Call, match: re.Match[str]
) -> None:
    count, interval_ms = int(match[1]), int(match[2] or 0)
    if not call.body.get("stream"):
        text = "".join(map(token_text, range(count)))
        await server.stream_text(connection, call, text)
        return
    await connection.start_stream()
    if interval_ms:
        await _send_paced(connection, call, count, interval_ms / 1000)
    else:
        await _send_unpaced(connection, call, count)
    await server.end_stream(connection, call)


def _token_parts(call: Call) -> tuple[bytes, bytes]:
    """Return what stands before and after a token's text in its HTTP chunk."""
    before, _, after = _event(call.model, {"content": "@@@@"}).partition(b"@@@@")
    length = len(before) + CHUNK_CHARACTERS + len(after)
    return b"%x\r\n%b" % (length, before), after + b"\r\n"


async def _send_paced(
    connection: _Connection, call: Call, count: int, interval_s: float
) -> None:
    """Send one chunk per interval, each at its own moment, without drift."""
    before, after = _token_parts(call)
    loop = asyncio.get_running_loop()
    start = loop.time()
    for index in range(count):
        delay = start + index * interval_s - loop.time()
        if delay > 0:
            await asyncio.sleep(delay)
        if not connection.writable.is_set():
            await connection.writable.wait()
        call.sent_ns.append(time.monotonic_ns())
        connection.transport.write(before + token_text(index).encode() + after)
        call.tokens_sent += 1


async def _send_unpaced(connection: _Connection, call: Call, count: int) -> None:
    """Send chunks as fast as the other side reads, some at a time."""
    before, after = _token_parts(call)
    for first in range(0, count, UNPACED_BATCH):
        indexes = range(first, min(first + UNPACED_BATCH, count))
        data = b"".join(
            before + token_text(index).encode() + after for index in indexes
        )
        now = time.monotonic_ns()
        call.sent_ns.extend([now] * len(indexes))
        await connection.write(data)
        call.tokens_sent += len(indexes)
        await asyncio.sleep(0)


@_behaviour(r"think")
async def _think(server: _Server, connection: _Connection, call: Call, _: Any) -> None:
    await connection.start_stream()
    for piece in ("Let me ", "think."):
        event = _event(call.model, {"reasoning_content": piece})
        await connection.write(_http_chunk(event))
    await server.send_pieces(connection, call, "".join(map(token_text, range(8))))
    await server.end_stream(connection, call)


@_behaviour(r"no-usage")
async def _no_usage(
    server: _Server, connection: _Connection, call: Call, _: Any
) -> None:
    await connection.start_stream()
    await server.send_pieces(connection, call, call.prompt)
    await server.end_stream(connection, call, usage=False)


@_behaviour(r"length|filtered")
async def _cut_short(
    server: _Server, connection: _Connection, call: Call, match: re.Match[str]
) -> None:
    finish = "length" if match[0] == "length" else "content_filter"
    text = call.prompt if match[0] == "length" else ""
    await server.stream_text(connection, call, text, finish)


@_behaviour(r"empty")
async def _empty(server: _Server, connection: _Connection, call: Call, _: Any) -> None:
    await server.stream_text(connection, call, "")


@_behaviour(r"tool")
async def _tool(server: _Server, connection: _Connection, call: Call, _: Any) -> None:
    await connection.start_stream()
    function = {"name": "lookup", "arguments": ""}
    first = {"index": 0, "id": "call_1", "type": "function", "function": function}
    pieces: list[dict[str, Any]] = [first]
    for arguments in ('{"word": ', '"cortex"}'):
        pieces.append({"index": 0, "function": {"arguments": arguments}})
    for piece in pieces:
        event = _event(call.model, {"tool_calls": [piece]})
        await connection.write(_http_chunk(event))
    await server.end_stream(connection, call, "tool_calls")


@_behaviour(r"slow-(\d+)ms")
async def _slow(
    server: _Server, connection: _Connection, call: Call, match: re.Match[str]
) -> None:
    await asyncio.sleep(int(match[1]) / 1000)
    await server.stream_text(connection, call, call.prompt)


@_behaviour(r"hang")
async def _hang(server: _Server, connection: _Connection, call: Call, _: Any) -> None:
    await asyncio.Event().wait()


@_behaviour(r"(stall|cut|end)-after-(\d+)")
async def _break_off(
    server: _Server, connection: _Connection, call: Call, match: re.Match[str]
) -> None:
    await connection.start_stream()
    text = "".join(map(token_text, range(int(match[2]))))
    await server.send_pieces(connection, call, text)
    if match[1] == "stall":
        await asyncio.Event().wait()
    elif match[1] == "cut":
        await asyncio.sleep(0.05)  # the text must be on its way before the reset
        connection.finish()
        connection.transport.abort()
    else:
        await connection.write(b"0\r\n\r\n")
        connection.finish()


@_behaviour(r"error-in-stream|malformed")
async def _bad_event(
    server: _Server, connection: _Connection, call: Call, match: re.Match[str]
) -> None:
    await connection.start_stream()
    await server.send_pieces(connection, call, "".join(map(token_text, range(3))))
    data = b"data: {this is no JSON\n\n"
    if match[0] == "error-in-stream":
        data = b'data: {"error": {"message": "The model fell over.", "code": 500}}\n\n'
    await connection.write(_http_chunk(data) + b"0\r\n\r\n")
    connection.finish()


@_behaviour(r"long-line")
async def _long_line(
    server: _Server, connection: _Connection, call: Call, _: Any
) -> None:
    await connection.start_stream()
    call.text, call.tokens_sent = "x" * 1_200_000, 1
    await connection.write(_http_chunk(_event(call.model, {"content": call.text})))
    await server.end_stream(connection, call)


@_behaviour(r"big-(\d+)")
async def _big(
    server: _Server, connection: _Connection, call: Call, match: re.Match[str]
) -> None:
    await connection.start_stream()
    event = _http_chunk(_event(call.model, {"content": "x" * 50_000}))
    for _ in range(int(match[1])):
        await connection.write(event)
        call.tokens_sent += 1
    await server.end_stream(connection, call)


@_behaviour(r"split-bytes")
async def _split_bytes(
    server: _Server, connection: _Connection, call: Call, _: Any
) -> None:
    await connection.start_stream()
    call.text, call.tokens_sent = "Grüße, 世界! 🙂", 1
    payload = {"choices": [{"index": 0, "delta": {"content": call.text}}]}
    event = b"data: " + json.dumps(payload, ensure_ascii=False).encode() + b"\n\n"
    for start in range(0, len(event), 7):
        await connection.write(_http_chunk(event[start : start + 7]))
        await asyncio.sleep(0.002)
    await server.end_stream(connection, call)


@_behaviour(r"too-long")
async def _too_long(
    server: _Server, connection: _Connection, call: Call, _: Any
) -> None:
    error = {
        "code": 400,
        "type": "exceed_context_size_error",
        "message": "the request exceeds the available context size",
        "n_prompt_tokens": call.input_tokens,
        "n_ctx": 1024,
    }
    await connection.respond(400, {"error": error})


@_behaviour(r"status-(\d{3})")
async def _status(
    server: _Server, connection: _Connection, call: Call, match: re.Match[str]
) -> None:
    status = int(match[1])
    headers = {"Retry-After": "7"} if status == 429 else {}
    error = {"message": f"Status {status}, as asked.", "type": "scripted"}
    await connection.respond(status, {"error": error}, headers)


@_behaviour(r"redirect")
async def _redirect(
    server: _Server, connection: _Connection, call: Call, _: Any
) -> None:
    await connection.respond(302, {}, {"Location": "http://127.0.0.1:9/elsewhere"})


class Upstream:
    """The server in a thread of its own, for tests; a context manager."""

    def __init__(self) -> None:
        self._server = _Server()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="upstream", daemon=True)
        self._loop: asyncio.AbstractEventLoop
        self._stop: asyncio.Event
        self.port = 0

    def __enter__(self) -> Upstream:
        """Start it and wait until it listens."""
        self._thread.start()
        self._ready.wait(5)
        return self

    def __exit__(self, *_: object) -> None:
        """End all connections and the thread."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(5)

    @property
    def url(self) -> str:
        """Scheme, host and port, without a trailing slash."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def base_url(self) -> str:
        """What a ``local_openai`` host takes as its base URL."""
        return f"{self.url}/v1"

    @property
    def calls(self) -> list[Call]:
        """Every request so far, oldest first."""
        return list(self._server.calls)

    @property
    def completions(self) -> list[Call]:
        """The requests for an answer, oldest first."""
        return [call for call in self.calls if call.path.endswith("/completions")]

    def clear(self) -> None:
        """Empty the journal."""
        self._server.calls.clear()

    def script(self, model: str, *behaviours: str) -> None:
        """Let the next calls of ``model`` behave as these names, one call each."""
        self._server.scripts[model] = deque(behaviours)

    def list_models(self, *names: str) -> None:
        """Choose what ``/v1/models`` lists."""
        self._server.models = list(names)

    def require_key(self, key: str) -> None:
        """Answer 401 to every call without this key."""
        self._server.api_key = key

    def wait_for(
        self, condition: Callable[[Call], Any], *, within_s: float = 5
    ) -> Call:
        """Return the first call that fulfils ``condition``, waiting for it."""
        deadline = time.monotonic() + within_s
        while True:
            for call in self.calls:
                if condition(call):
                    return call
            if time.monotonic() > deadline:
                raise AssertionError(f"No such call within {within_s} s: {self.calls}")
            time.sleep(0.005)

    def wait_for_disconnect(self, *, within_s: float = 5) -> Call:
        """Return the first call whose client left before the end of the answer."""
        return self.wait_for(lambda call: call.disconnected_ns, within_s=within_s)

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        listener = await self._loop.create_server(
            lambda: _Connection(self._server), "127.0.0.1", 0
        )
        self.port = listener.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        listener.close()
        await _close_all(self._server)


async def _close_all(server: _Server) -> None:
    tasks = [connection.task for connection in server.connections if connection.task]
    for connection in list(server.connections):
        connection.transport.abort()
    if tasks:
        await asyncio.wait(tasks, timeout=2)
    await asyncio.sleep(0)


async def serve_until_input_ends() -> None:
    """Serve, print the address, and return when standard input is closed."""
    server = _Server()
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(lambda: _Connection(server), "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    sys.stdout.write(f"ready http://127.0.0.1:{port}\n")
    sys.stdout.flush()
    ended = asyncio.Event()

    def read() -> None:
        sys.stdin.read()
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(ended.set)

    threading.Thread(target=read, daemon=True).start()
    await ended.wait()
    listener.close()
    await _close_all(server)


def texts(count: int) -> Iterator[str]:
    """Yield the texts of the first ``count`` chunks of a ``tokens-…`` model."""
    return (token_text(index) for index in range(count))


if __name__ == "__main__":
    asyncio.run(serve_until_input_ends())
