"""A model's host on loopback whose behaviour the model's name chooses.

One server speaks three wire formats, so that every kind of back end meets the same
trouble: OpenAI's (``…/v1/chat/completions``), Anthropic's (``…/v1/messages``) and
Gemini's (``…/v1beta/models/NAME:streamGenerateContent``), each with its list of
models. It is raw asyncio, so that it is never the slow part of a measurement. Tests
run it in a thread (``Upstream``), benchmarks in a process of its own::

    python -m tests.support.upstream        # prints "ready http://127.0.0.1:PORT"

which ends with its standard input and shows its journal at ``GET /journal``
(``DELETE`` empties it). What a model's name means:

=====================  ==============================================================
``echo``               the last user message, four characters a chunk; so do all
                       names that begin with ``claude-`` or ``gemini-``
``say:TEXT``           TEXT
``tokens-N-Mms``       N chunks of 4 characters, one every M ms; ``tokens-N`` unpaced
``cached``             as ``echo``; half of the input was cached, a quarter is now
``think``              reasoning first (2 tokens), then ``tokens-8``
``no-usage``           never reports usage
``length``             stops with finish reason ``length``
``filtered``           stops because the host or the model refuses, without text
``empty``              finishes without any text
``tool``               asks for the tool ``lookup`` in pieces (Gemini: whole)
``two-tools``          says ``Let me look.`` and asks for ``lookup`` and ``clock``
``slow-Mms``           as ``echo``, but the first byte comes after M ms
``hang``               takes the request and never answers
``stall-after-N``      N chunks, then silence
``cut-after-N``        N chunks, then the connection is reset
``cut:TEXT``           TEXT, then the connection is reset
``end-after-N``        N chunks, then a clean end without the end mark
``error-in-stream``    3 chunks, then an error event
``malformed``          3 chunks, then an event that is no JSON
``long-line``          one event of 1.2 MB
``big-N``              N events of 50 KB
``split-bytes``        multi-byte characters, written 7 bytes at a time
``too-long``           HTTP 400 that says the prompt is too long
``status-NNN``         HTTP NNN with an error body; 429 says to wait 7 s, and
                       ``status-429-bare`` does not
``redirect``           HTTP 302 to another port
=====================  ==============================================================

``Upstream.script(model, *behaviours)`` makes the next calls of one model behave as
each of the names in turn. Token texts count up in base 36 (``0000``, ``0001`` …), so a
receiver can tell which chunk a character came from; the journal holds the moment each
chunk was sent on ``CLOCK_MONOTONIC``, which all processes of a machine share.
Unknown names answer 404, as real servers do.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Final

from tests.support.anthropic_upstream import AnthropicWire
from tests.support.gemini_upstream import GeminiWire
from tests.support.openai_upstream import OpenAIWire
from tests.support.upstream_behaviours import behave, refusal
from tests.support.wire import CHUNK_CHARACTERS, Call, Wire, token_text

__all__ = ["CHUNK_CHARACTERS", "Call", "Upstream", "texts", "token_text"]

OPENAI: Final = OpenAIWire()
ANTHROPIC: Final = AnthropicWire()
GEMINI: Final = GeminiWire()


def _wire_of(path: str, headers: dict[str, str]) -> Wire:
    """Return the format of a request; two vendors list models at one address."""
    if path.startswith("/v1beta/") or "x-goog-api-key" in headers:
        return GEMINI
    if "anthropic-version" in headers or "/v1/messages" in path:
        return ANTHROPIC
    return OPENAI


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
        self.call = Call(method, path, headers, body, _wire_of(path, headers))
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
        self._note_status(status)
        data = json.dumps(payload).encode()
        head = [f"HTTP/1.1 {status} -", "Content-Type: application/json"]
        head += [f"{name}: {value}" for name, value in (headers or {}).items()]
        head += [f"Content-Length: {len(data)}", "", ""]
        await self.write("\r\n".join(head).encode() + data)
        self.finish()

    async def start_stream(self) -> None:
        """Send the head of an event stream."""
        self._note_status(200)
        await self.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
            b"Cache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n"
        )

    def finish(self) -> None:
        """Note that the answer is complete."""
        if self.call:
            self.call.finished_ns = time.monotonic_ns()

    def _note_status(self, status: int) -> None:
        if self.call:
            self.call.status = status


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
        if self.api_key and call.key != self.api_key:
            await connection.respond(*refusal(call, 401, "Wrong key."))
        elif path.endswith("/models") and call.method == "GET":
            await connection.respond(200, call.wire.listing(self.models))
        elif call.asks:
            name = call.model
            if script := self.scripts.get(name):
                name = script.popleft()
            await behave(name, connection, call)
        else:
            await connection.respond(*refusal(call, 404, "No such page."))


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
        """Scheme, host and port; what the vendors' addresses are set to."""
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
        return [call for call in self.calls if call.asks]

    def clear(self) -> None:
        """Empty the journal."""
        self._server.calls.clear()

    def script(self, model: str, *behaviours: str) -> None:
        """Let the next calls of ``model`` behave as these names, one call each."""
        self._server.scripts[model] = deque(behaviours)

    def list_models(self, *names: str) -> None:
        """Choose what the lists of models hold."""
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
