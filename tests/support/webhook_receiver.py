"""Somebody's program that receives webhooks, on loopback in a thread of its own.

It keeps every request and answers as ``answer`` was told, 204 otherwise. Signatures
are checked with the package that the convention's authors publish.

Source: https://github.com/standard-webhooks/standard-webhooks, "libraries/python".
"""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from standardwebhooks import Webhook

HANG = 0
"""A status that means: take the request and do not answer."""


@dataclass(frozen=True)
class Received:
    """One request."""

    method: str
    path: str
    headers: dict[str, str]
    """By their names in small letters."""
    body: bytes

    @property
    def id(self) -> str:
        """The delivery's id."""
        return self.headers["webhook-id"]

    @property
    def payload(self) -> Any:
        """The body decoded."""
        return json.loads(self.body)

    def verified(self, secret: str) -> Any:
        """Return the payload if the signature is right and recent, or raise."""
        return Webhook(secret).verify(self.body, self.headers)


class Receiver:
    """The program; a context manager."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self._answers: deque[tuple[int, dict[str, str]]] = deque()
        self._over = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                receiver._take(self)

            def do_GET(self) -> None:
                receiver._take(self)

            def log_message(self, format: str, *args: object) -> None:
                """Keep quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Receiver:
        """Listen."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End all connections and the thread."""
        self._over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    @property
    def origin(self) -> str:
        """Scheme, host and port."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def url(self) -> str:
        """The address that hears of events."""
        return f"{self.origin}/hooks/cortex"

    def answer(self, *statuses: int, **headers: str) -> None:
        """Answer the next requests so, one status each."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self._answers.extend((status, named) for status in statuses)

    def wait_for(self, count: int, within_s: float = 10) -> list[Received]:
        """Return the requests as soon as there are so many."""
        deadline = time.monotonic() + within_s
        while len(self.received) < count:
            assert time.monotonic() < deadline, f"Only {len(self.received)} came."
            time.sleep(0.01)
        return list(self.received)

    def _take(self, request: BaseHTTPRequestHandler) -> None:
        length = int(request.headers.get("Content-Length", "0"))
        headers = {name.lower(): value for name, value in request.headers.items()}
        body = request.rfile.read(length)
        self.received.append(Received(request.command, request.path, headers, body))
        status, more = self._answers.popleft() if self._answers else (204, {})
        if status == HANG:
            self._over.wait(30)
            return
        request.send_response(status)
        for name, value in more.items():
            request.send_header(name, value)
        request.send_header("Content-Length", "0")
        request.end_headers()
