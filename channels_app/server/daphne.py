"""The web server: daphne with back-pressure, limits, an access log and a drain.

daphne cancels every application at once on SIGTERM and its ``send`` never waits; both
are replaced here. The drain is the one way to stop: no new connections, no new turns,
running answers get their grace, sockets are closed with 1012, the process ends with
status 0. Import this module before Twisted: daphne installs the asyncio reactor.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any

from daphne.server import Server  # isort: skip - must install its reactor first
from twisted.internet import endpoints, error
from twisted.internet import reactor as installed_reactor
from twisted.logger import globalLogBeginner

from channels_app.request_ids import new_request_id, request_id
from channels_app.server.flow import Flow
from channels_app.server.http import CortexHTTPFactory, CortexRequest
from channels_app.server.websocket import (
    RESTART,
    CortexWebSocket,
    CortexWebSocketFactory,
)

logger = logging.getLogger("cortex.web")
access = logging.getLogger("cortex.access")

# Twisted's own annotations stop short of what is used here.
reactor: Any = installed_reactor
twisted_endpoints: Any = endpoints
Application = Callable[..., Coroutine[Any, Any, None]]
Drain = Callable[[], Awaitable[None]]

CLOSE_WITHIN_S = 3.0
"""Time for open responses to end, and then for sockets to answer the close frame."""
BACKLOG = 1024


class CortexServer(Server):  # type: ignore[misc]
    """One web process.

    Attributes:
        connections: Every open request and socket with its application task.
        draining: Set by the first signal; nothing new is accepted.
    """

    def __init__(
        self,
        application: Application,
        *,
        host: str,
        port: int,
        drain: Drain,
        ready: Callable[[], None] = lambda: None,
    ) -> None:
        """Describe the server; ``run`` starts it.

        Args:
            application: The ASGI application.
            host: Address to listen on.
            port: Port to listen on.
            drain: Awaited once when the process stops: ends running work.
            ready: Called when connections are accepted.
        """
        interface = twisted_endpoints.quoteStringArgument(host)
        super().__init__(
            application,
            endpoints=[f"tcp:port={port}:interface={interface}:backlog={BACKLOG}"],
            signal_handlers=False,
            ready_callable=ready,
            server_name="",
            websocket_timeout=-1,  # the consumer ends sessions; age alone does not
        )
        self.draining = False
        self.failed = False
        self._drain = drain
        self._ports: list[Any] = []
        self._stopping: asyncio.Task[None] | None = None

    # --- life ----------------------------------------------------------------------

    def run(self) -> int:
        """Serve until a signal comes; return the exit status (1: could not listen)."""
        self.connections: dict[Any, dict[str, Any]] = {}
        self.http_factory = CortexHTTPFactory(self)
        self.ws_factory = CortexWebSocketFactory(self)
        observer: Any = _forget
        globalLogBeginner.beginLoggingTo(
            [observer], redirectStandardIO=False, discardBuffer=True
        )
        loop: asyncio.AbstractEventLoop = reactor._asyncioEventloop
        asyncio.set_event_loop(loop)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, self.on_signal)
        reactor.callLater(1, self.application_checker)
        reactor.callLater(2, self.timeout_checker)
        for description in self.endpoints:
            listening = twisted_endpoints.serverFromString(reactor, description).listen(
                self.http_factory
            )
            listening.addCallbacks(self.listen_success, self.listen_error)
        reactor.addSystemEventTrigger("before", "shutdown", self.kill_all_applications)
        if not self.abort_start:
            self.ready_callable()
            reactor.run(installSignalHandlers=False)
        return 1 if self.failed else 0

    def listen_success(self, port: Any) -> None:
        """Keep the listening port, which the drain closes first."""
        super().listen_success(port)
        self._ports.append(port)

    def listen_error(self, failure: Any) -> None:
        """Say in one sentence why the server cannot listen, and end with status 1."""
        reason = failure.value
        if isinstance(reason, error.CannotListenError):
            said = getattr(reason.socketError, "strerror", None) or reason.socketError
            where = f"{reason.interface}:{reason.port}"
            text = f"Cortex cannot listen on {where}: {said}."
        else:
            text = f"Cortex cannot listen: {failure.getErrorMessage()}."
        print(text, file=sys.stderr)  # noqa: T201 - for the person at the terminal
        self.failed = True
        self.stop()

    def on_signal(self) -> None:
        """Drain on the first signal, stop at once on the second."""
        if self.draining:
            self.stop()
        else:
            self.start_drain()

    def start_drain(self) -> None:
        """Begin to stop."""
        if not self.draining:
            self.draining = True
            self._stopping = asyncio.ensure_future(self._drain_and_stop())

    async def _drain_and_stop(self) -> None:
        started = time.monotonic()
        try:
            for port in self._ports:
                port.stopListening()
            await self._drain()
            deadline = time.monotonic() + CLOSE_WITHIN_S
            await _until(lambda: not self._open(CortexRequest), deadline - 1)
            for request in self._open(CortexRequest):
                request.channel.transport.loseConnection()
            for socket in self._open(CortexWebSocket):
                socket.handle_reply({"type": "websocket.close", "code": RESTART})
            await _until(lambda: not self._open(CortexWebSocket), deadline)
        except Exception:
            logger.exception("the drain failed; stopping at once")
        finally:
            logger.info(
                "drained", extra={"seconds": round(time.monotonic() - started, 1)}
            )
            self.stop()

    def _open(self, kind: type) -> list[Any]:
        """Return the connections of ``kind`` that are not closed yet."""
        return [
            protocol
            for protocol, details in self.connections.items()
            if isinstance(protocol, kind)
            and "disconnected" not in details
            and getattr(protocol, "channel", protocol) is not None
            and details.get("application_instance") is not None
        ]

    def kill_all_applications(self) -> Any:
        """Cancel what is left when the reactor stops."""
        for details in self.connections.values():
            details.setdefault("application_instance", _ended())
        return super().kill_all_applications()

    # --- one connection ---------------------------------------------------------------

    def create_application(self, protocol: Any, scope: dict[str, Any]) -> Any:
        """Start the application of one connection, under a request id of its own.

        Returns the queue from which it takes what the client sends.
        """
        protocol.request_id = new_request_id()
        scope["state"] = {"request_id": protocol.request_id}
        scope["asgi"] = {"version": "3.0"}
        inbox = protocol.new_inbox()
        send = partial(self.handle_reply, protocol)
        token = request_id.set(protocol.request_id)
        try:
            instance = asyncio.ensure_future(self.application(scope, inbox.get, send))
        finally:
            request_id.reset(token)
        self.connections[protocol]["application_instance"] = instance
        return inbox

    async def handle_reply(self, protocol: Any, message: dict[str, Any]) -> None:
        """Pass a message of the application on; wait while the client does not read."""
        await super().handle_reply(protocol, message)
        flow: Flow | None = protocol.flow
        if flow is not None and flow.paused:
            await flow.ready()

    # --- access log -------------------------------------------------------------------

    def log_action(self, protocol: str, action: str, details: dict[str, Any]) -> None:
        """Write one line for each finished request and each end of a socket."""
        if protocol == "http" and action == "complete":
            _log_line(
                details["method"],
                details["path"],
                details["status"],
                ms=round(details["time_taken"] * 1000, 1),
                bytes=details["size"],
            )

    def log_refused(self, request: CortexRequest, status: int) -> None:
        """Write the line of a request that the server itself refused."""
        channel = request.channel
        path = getattr(channel, "_path", b"").decode("ascii", "replace")
        method = getattr(channel, "_command", b"").decode("ascii", "replace")
        _log_line(method, path, status)

    def log_slow(self, socket: CortexWebSocket) -> None:
        """Write a line for a socket whose client did not read."""
        logger.warning("a socket was too slow and is closed with 1013")


def _forget(event: Any) -> None:
    """Drop an event of Twisted's own log."""


def _log_line(method: str, path: str, status: int, **fields: float) -> None:
    path = path.partition("?")[0]
    if path != "/health":
        access.info("%s %s %d", method, path, status, extra=fields)


async def _until(done: Callable[[], bool], deadline: float) -> None:
    """Wait for something, at most until the monotonic time is ``deadline``."""
    while not done() and time.monotonic() < deadline:  # noqa: ASYNC110 - no event
        await asyncio.sleep(0.02)


def _ended() -> asyncio.Future[None]:
    future: asyncio.Future[None] = asyncio.get_event_loop().create_future()
    future.set_result(None)
    return future
