"""WebSockets as the server speaks them: bounded frames, back-pressure, all close codes.

Extends daphne's protocol, which is autobahn's. Differences: frames to the client are
written straight to the transport and wait while the client does not read; nothing is
read from a client while the application has much of it to take; the limits
hold for what people send, not for what Cortex sends; codes such as 1012 and 1013 may be
used (autobahn's ``sendClose`` knows only 1000 and 3000-4999); what the handshake needed
is dropped when the socket is open.
"""

from __future__ import annotations

import struct
from typing import Any

from daphne.ws_protocol import WebSocketFactory, WebSocketProtocol

from channels_app.server.flow import Flow, Inbox

FRAME_LIMIT_BYTES = 64 * 1024
MANY_WAITING = 16
"""Frames (1 MB at most) that wait for the application before reading is paused."""
CLOSE_HANDSHAKE_S = 5.0
"""Time for a client to answer a close frame before the connection is cut."""
SLOW_CLOSE_HANDSHAKE_S = 15.0
"""The same for a client that was too slow: the frame waits behind unread bytes."""

RESTART = 1012
TOO_SLOW = 1013


def frame_header(opcode: int, length: int) -> bytes:
    """Return the header of a final, unmasked frame. Source: RFC 6455, section 5.2."""
    first = 0x80 | opcode
    if length < 126:
        return struct.pack("!BB", first, length)
    if length < 65536:
        return struct.pack("!BBH", first, 126, length)
    return struct.pack("!BBQ", first, 127, length)


class CortexWebSocket(WebSocketProtocol):  # type: ignore[misc]
    """One socket, from its handshake to its close."""

    request_id = ""
    path = b""
    client_addr = None
    application_queue: Inbox
    reading = True
    """False while the application has to take what was read."""

    def connectionMade(self) -> None:  # noqa: N802 - Twisted's name
        """Take the connection over from HTTP."""
        self.flow = Flow()
        super().connectionMade()
        self.transport.registerProducer(self.flow, True)

    def onOpen(self) -> None:  # noqa: N802 - autobahn's name
        """Drop what only the handshake needed; it weighs more than the open socket."""
        super().onOpen()
        self.http_request_data = b""
        self.http_headers: dict[str, str] = {}
        self.clean_headers: list[tuple[bytes, bytes]] = []
        self.request.headers = {}

    def onMessage(self, payload: bytes, isBinary: bool) -> None:  # noqa: N802, N803
        """Hand a frame to the application; read no more when it has many to take."""
        super().onMessage(payload, isBinary)
        if self.reading and self.application_queue.qsize() >= MANY_WAITING:
            self.reading = False
            self.transport.pauseProducing()

    def onPing(self, payload: bytes) -> None:  # noqa: N802 - autobahn's name
        """Answer a ping, unless the answers pile up unread."""
        if not self.flow.paused:
            super().onPing(payload)

    def new_inbox(self) -> Inbox:
        """Return the queue of what the client sends."""
        return Inbox(self._read_on)

    def _read_on(self) -> None:
        if not self.reading and self.application_queue.qsize() <= MANY_WAITING // 2:
            self.reading = True
            self.transport.resumeProducing()

    def serverSend(self, content: str | bytes, binary: bool = False) -> None:  # noqa: N802
        """Write one message as one frame."""
        if self.state == self.STATE_CONNECTING:
            self.serverAccept()
        if self.state != self.STATE_OPEN:
            return
        payload = content.encode() if isinstance(content, str) else content
        header = frame_header(2 if binary else 1, len(payload))
        self.transport.write(header + payload)

    def serverClose(self, code: int | None = None) -> None:  # noqa: N802 - daphne's name
        """Send a close frame with any code that a server may use."""
        self.sendCloseFrame(code=1000 if code is None else code, isReply=False)

    def handle_reply(self, message: dict[str, Any]) -> None:
        """Do what the application asks, unless the handshake is over already."""
        closing = message["type"] == "websocket.close"
        if closing and self.state not in (self.STATE_CONNECTING, self.STATE_OPEN):
            return
        super().handle_reply(message)

    def handle_exception(self, exception: BaseException) -> None:
        """Close with 1011, or refuse the handshake, when the application failed."""
        if hasattr(self, "handshake_deferred") or self.state == self.STATE_OPEN:
            super().handle_exception(exception)

    def check_timeouts(self) -> None:
        """Ping, and close a socket whose client has not taken a byte for 30 s."""
        if self.state == self.STATE_OPEN and self.flow.stalled(self.transport):
            self.close_slow()
        elif self.reading and not self.flow.paused:
            super().check_timeouts()

    def close_slow(self) -> None:
        """Close with 1013; the application hears of it at once."""
        self.closeHandshakeTimeout = SLOW_CLOSE_HANDSHAKE_S
        self.serverClose(TOO_SLOW)
        self.flow.stopProducing()
        if hasattr(self, "application_queue"):
            message = {"type": "websocket.disconnect", "code": TOO_SLOW}
            self.application_queue.put_nowait(message)
        self.muted = True
        self.server.log_slow(self)

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:  # noqa: N802, N803
        """Tell the application and let a waiting sender go on."""
        self.flow.stopProducing()
        if getattr(self, "server", None) is not None:
            super().onClose(wasClean, code, reason)


class CortexWebSocketFactory(WebSocketFactory):  # type: ignore[misc]
    """Builds sockets with Cortex's limits; messages are not compressed."""

    protocol = CortexWebSocket

    def __init__(self, server: Any) -> None:
        """Belong to ``server``; say nothing of names and versions in handshakes."""
        super().__init__(server, server="")
        self.setProtocolOptions(
            autoPingTimeout=server.ping_timeout,
            allowNullOrigin=True,  # origins are the application's to check
            openHandshakeTimeout=server.websocket_handshake_timeout,
            closeHandshakeTimeout=CLOSE_HANDSHAKE_S,
            maxFramePayloadSize=FRAME_LIMIT_BYTES,
            maxMessagePayloadSize=FRAME_LIMIT_BYTES,
            failByDrop=False,  # a close frame (1009) tells the client why
            tcpNoDelay=True,
            perMessageCompressionAccept=lambda offers: None,
        )
