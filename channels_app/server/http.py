"""HTTP requests as the server takes them: bounded bodies, back-pressure, plain errors.

Extends daphne's request. A body above 25 MB is refused with 413 while its headers are
read, or while a chunked one arrives, before anything is spooled (Twisted would spool
whole bodies before Django looks). Errors of the server itself are JSON without a page.
"""

from __future__ import annotations

import asyncio
import io
import json
from typing import Any

from daphne.http_protocol import HTTPFactory, WebRequest
from twisted.internet import reactor as installed_reactor
from twisted.web import http

from channels_app.server.flow import Flow
from channels_app.web.csp import OTHER_HEADERS

reactor: Any = installed_reactor  # a module to the type checker
BODY_LIMIT_BYTES = 25 * 1024 * 1024
HEADERS_LIMIT_BYTES = 96 * 1024
"""All headers together; with more a connection is closed without an answer. Room for
a nonsense of 64 KB as a token, which shall be refused like every other one."""
http.RESPONSES.setdefault(429, b"Too Many Requests")
http.RESPONSES.setdefault(422, b"Unprocessable Content")
LINGER_S = 10.0
"""How long a refused body is read and dropped, so that the client sees the answer."""
IDLE_TIMEOUT_S = 60.0
"""A connection without a request, or with half of one, is closed after this long."""
TOO_LONG = "The request is larger than the 25 MB that Cortex accepts."

_ERROR_HEADERS = (
    (b"Content-Type", b"application/json"),
    (b"Content-Security-Policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"Cache-Control", b"no-store"),
    *((name.encode(), value.encode()) for name, value in OTHER_HEADERS.items()),
)
_CODES = {400: "bad_request", 413: "too_long", 503: "busy"}


def error_body(status: int, message: str) -> bytes:
    """Return ``{"error": {"code", "message"}}`` for an error of the server itself."""
    code = _CODES.get(status, "internal")
    return json.dumps({"error": {"code": code, "message": message}}).encode()


class CortexRequest(WebRequest):  # type: ignore[misc]
    """One HTTP request, from its headers to the end of its answer."""

    refused = False
    """A 413 was written; what still arrives of the body is dropped."""
    request_id = ""
    flow: Flow | None = None
    producer: Flow | None
    _received_bytes = 0

    # --- reading -------------------------------------------------------------------

    def gotLength(self, length: int | None) -> None:  # noqa: N802 - Twisted's name
        """Prepare for a body of ``length`` bytes (None: chunked), or refuse it."""
        if length is not None and length > BODY_LIMIT_BYTES:
            self.content = io.BytesIO()
            self._refuse_body()
        else:
            super().gotLength(length)

    def handleContentChunk(self, data: bytes) -> None:  # noqa: N802 - Twisted's name
        """Spool a piece of the body while it stays within the limit."""
        self._received_bytes += len(data)
        if self.refused:
            return
        if self._received_bytes > BODY_LIMIT_BYTES:
            self._refuse_body()
        else:
            super().handleContentChunk(data)

    def _refuse_body(self) -> None:
        """Answer 413 and close, but read on for a while.

        Closing with unread bytes makes the system send a reset, which throws away an
        answer that the client has not read yet.
        """
        self.refused = True
        self.requestHeaders.removeHeader(b"expect")  # no "100 Continue" after a 413
        body = error_body(413, TOO_LONG)
        lines = [b"HTTP/1.1 413 Content Too Large"]
        lines += [name + b": " + value for name, value in _ERROR_HEADERS]
        lines += [b"Connection: close", b"Content-Length: %d" % len(body), b"", body]
        self.channel.transport.write(b"\r\n".join(lines))
        self.channel.persistent = False
        self.channel.setTimeout(None)
        self.channel.transport.loseWriteConnection()
        transport = self.channel.transport
        reactor.callLater(LINGER_S, transport.abortConnection)
        self.server.log_refused(self, 413)

    def requestReceived(  # noqa: N802 - Twisted's name
        self, command: bytes, path: bytes, version: bytes
    ) -> None:
        """Hand a complete request on; a refused one has its answer already."""
        if self.refused:
            self.channel.transport.loseConnection()
        else:
            # Forms are Django's to parse; Twisted would parse them a second time.
            self._parsePOSTFormSubmission = False
            super().requestReceived(command, path, version)

    def process(self) -> Any:
        """Turn the request into an application of its own, or into a WebSocket."""
        upgrade = self.requestHeaders.getRawHeaders(b"Upgrade") or [b""]
        if upgrade[0].lower() == b"websocket":
            # The HTTP channel must not stay the transport's producer: it would keep
            # itself and this request alive for as long as the socket is open.
            self.channel.transport.unregisterProducer()
        else:
            self.flow = Flow()
            self.registerProducer(self.flow, True)
        return super().process()

    def new_inbox(self) -> asyncio.Queue[dict[str, Any]]:
        """Return the queue of the request; Twisted bounds what it reads meanwhile."""
        return asyncio.Queue()

    # --- answering -----------------------------------------------------------------

    def _release(self) -> None:
        if self.flow is not None:
            self.flow.stopProducing()
        if self.producer is not None and self.channel is not None:
            self.unregisterProducer()
        self.producer = None

    def finish(self) -> None:
        """End the answer."""
        self._release()
        super().finish()

    def connectionLost(self, reason: Any) -> None:  # noqa: N802 - Twisted's name
        """Let a waiting sender go on, then tell the application."""
        self._release()
        super().connectionLost(reason)

    def basic_error(self, status: int, status_text: bytes, body: str) -> None:
        """Answer with an error of the server itself."""
        if self.finished or self.channel is None:
            return
        headers = list(_ERROR_HEADERS)
        if self._response_started:  # too late for a status: cut it off
            self.channel.transport.abortConnection()
            return
        self.handle_reply(
            {"type": "http.response.start", "status": status, "headers": headers}
        )
        self.handle_reply(
            {"type": "http.response.body", "body": error_body(status, body)}
        )

    def handle_exception(self, exception: BaseException) -> None:
        """Answer 500 when the application itself failed."""
        self.basic_error(500, b"", "Something went wrong on this server.")

    def check_timeouts(self) -> None:
        """Cut off a client that has not taken a byte for 30 s."""
        if self.flow is None or self.channel is None:
            return
        transport = self.channel.transport
        if self.flow.stalled(transport):
            self.flow.stopProducing()
            transport.abortConnection()


class CortexHTTPFactory(HTTPFactory):  # type: ignore[misc]
    """Builds connections whose requests are ``CortexRequest``."""

    timeOut = IDLE_TIMEOUT_S  # noqa: N815 - Twisted's name

    def buildProtocol(self, addr: Any) -> Any:  # noqa: N802 - Twisted's name
        """Return the protocol of one new connection."""
        protocol = super().buildProtocol(addr)
        protocol.requestFactory = CortexRequest
        channel = protocol._channel  # what reads HTTP/1.1, behind a wrapper
        channel.MAX_LENGTH = channel.totalHeadersSize = HEADERS_LIMIT_BYTES
        return protocol
