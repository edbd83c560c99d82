"""A server that gives fixed answers by path, for what the big mock does not play."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

Answer = tuple[int, Any]
"""Status, and what is sent: bytes as an event stream, anything else as JSON."""


class FixedAnswers:
    """The server in a thread of its own; a context manager."""

    def __init__(
        self,
        answers: dict[str, Answer],
        *,
        otherwise: Answer = (404, {"detail": "Not Found"}),
        redirect_to: str = "",
    ) -> None:
        self._answers = answers
        self._otherwise = otherwise
        self._location = f"Location: {redirect_to}\r\n" if redirect_to else ""
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))
        self._loop: asyncio.AbstractEventLoop
        self._stop: asyncio.Event
        self.url = ""
        self.requests: list[tuple[str, dict[str, str]]] = []
        """Method and path, and the headers, of every request so far."""

    def __enter__(self) -> FixedAnswers:
        """Start it and wait until it listens."""
        self._thread.start()
        self._ready.wait(5)
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(5)

    @property
    def paths(self) -> list[str]:
        """Method and path of every request so far."""
        return [path for path, _ in self.requests]

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        self._ready.set()
        await self._stop.wait()
        server.close()

    async def _answer(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.rstrip().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines)
        await reader.readexactly(int(headers.get("content-length", "0")))
        request = first.rpartition(" ")[0]
        self.requests.append((request, headers))
        status, payload = self._answers.get(request, self._otherwise)
        streamed = isinstance(payload, bytes)
        data = payload if streamed else json.dumps(payload).encode()
        kind = "text/event-stream" if streamed else "application/json"
        writer.write(
            f"HTTP/1.1 {status} -\r\nContent-Type: {kind}\r\nConnection: close\r\n"
            f"Content-Length: {len(data)}\r\n\r\n".encode()
            + data
        )
        await writer.drain()
        writer.close()
