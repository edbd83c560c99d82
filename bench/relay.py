"""A TCP relay that copies bytes both ways: ``python -m bench.relay TARGET_PORT``.

Prints ``ready http://127.0.0.1:PORT`` and ends with its standard input.
"""

from __future__ import annotations

import asyncio
import sys
import threading


class _Outgoing(asyncio.Protocol):
    """The connection to the target; what arrives goes back to the client."""

    def __init__(self, client: asyncio.Transport) -> None:
        self.client = client

    def data_received(self, data: bytes) -> None:
        self.client.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.client.close()


class _Incoming(asyncio.Protocol):
    """The connection of a client; bytes wait until the target is connected."""

    def __init__(self, target_port: int) -> None:
        self.target_port = target_port
        self.waiting = bytearray()
        self.target: asyncio.Transport | None = None
        self.connecting: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.connecting = asyncio.ensure_future(self._connect(transport))

    async def _connect(self, client: asyncio.Transport) -> None:
        loop = asyncio.get_running_loop()
        self.target, _ = await loop.create_connection(
            lambda: _Outgoing(client), "127.0.0.1", self.target_port
        )
        self.target.write(bytes(self.waiting))

    def data_received(self, data: bytes) -> None:
        if self.target:
            self.target.write(data)
        else:
            self.waiting += data

    def connection_lost(self, exc: Exception | None) -> None:
        if self.target:
            self.target.close()


async def serve(target_port: int) -> None:
    """Relay until standard input ends."""
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(lambda: _Incoming(target_port), "127.0.0.1", 0)
    print(f"ready http://127.0.0.1:{listener.sockets[0].getsockname()[1]}", flush=True)
    ended = asyncio.Event()

    def read() -> None:
        sys.stdin.read()
        loop.call_soon_threadsafe(ended.set)

    threading.Thread(target=read, daemon=True).start()
    await ended.wait()
    listener.close()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
