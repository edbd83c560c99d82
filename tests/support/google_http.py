"""HTTP of the stand-in for Google: reads requests, writes answers, decides nothing."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol
from urllib.parse import parse_qs, urlsplit

BY_HAND = frozenset({"/messages", "/service-account", "/send"})
"""Addresses that Google has not."""


@dataclass
class Request:
    """One request that arrived; ``at`` is ``time.monotonic()``."""

    kind: str
    """keys, token, create, patch or delete."""
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any
    at: float = field(default_factory=time.monotonic)
    status: int = 0

    @property
    def space(self) -> str:
        """The space that a request of the Chat API is about."""
        return "/".join(self.path.split("/")[2:4])

    @property
    def text(self) -> str:
        """The text of a message that was to be written."""
        return str(self.body.get("text", ""))


class Google(Protocol):
    """What decides."""

    def answer(self, request: Request) -> tuple[int, Any, dict[str, str]]:
        """Return status, JSON and headers; status 0 cuts the connection."""

    def by_hand(self, path: str, wish: dict[str, Any]) -> Any:
        """Return what somebody asks for who tries things out."""


class GoogleServer(ThreadingHTTPServer):
    """The listening socket on a free port of this machine."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, google: Google) -> None:
        self.google = google
        super().__init__(("127.0.0.1", 0), _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: GoogleServer
    protocol_version = "HTTP/1.1"

    def handle_one_request(self) -> None:
        """Serve one request; a client that has gone is no error."""
        try:
            super().handle_one_request()
        except (ConnectionError, TimeoutError):
            self.close_connection = True

    def _serve(self) -> None:
        parts = urlsplit(self.path)
        raw = self.rfile.read(int(self.headers.get("content-length", 0)))
        if parts.path in BY_HAND:
            wish = json.loads(raw) if raw else {}
            self._write(200, self.server.google.by_hand(parts.path, wish), {})
            return
        request = Request(
            kind=self._kind(parts.path),
            path=parts.path,
            query={name: each[0] for name, each in parse_qs(parts.query).items()},
            headers={name.lower(): value for name, value in self.headers.items()},
            body=self._decoded(raw),
        )
        status, payload, headers = self.server.google.answer(request)
        request.status = status
        if status == 0:
            self.close_connection = True
            return
        self._write(status, payload, headers)

    do_GET = do_POST = do_PATCH = do_DELETE = _serve  # noqa: N815

    def _kind(self, path: str) -> str:
        if self.command == "GET":
            return "keys"
        if path == "/token":
            return "token"
        return {"POST": "create", "PATCH": "patch", "DELETE": "delete"}[self.command]

    def _decoded(self, raw: bytes) -> Any:
        kind = self.headers.get("content-type", "")
        if kind.startswith("application/x-www-form-urlencoded"):
            return {name: each[0] for name, each in parse_qs(raw.decode()).items()}
        return json.loads(raw) if raw else {}

    def _write(self, status: int, payload: Any, headers: dict[str, str]) -> None:
        data = json.dumps(payload).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: Any) -> None:
        """Say nothing."""
