"""A small ASGI application behind the real server, for tests of the server itself.

Run as ``python -m tests.channels_app.server.sample PORT``. No Django, no database.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Any

from channels_app.server import flow
from channels_app.server.daphne import CortexServer

Message = dict[str, Any]
WORK: set[asyncio.Task[None]] = set()
DONE: list[str] = []
SENT: dict[str, int] = {}
"""Bytes handed to the server, by path."""


async def app(scope: Message, receive: Any, send: Any) -> None:
    """Answer by path."""
    if scope["type"] == "websocket":
        await websocket(scope, receive, send)
    else:
        await http(scope, receive, send)


async def http(scope: Message, receive: Any, send: Any) -> None:
    path = scope["path"]
    if path == "/upload":
        await answer(send, {"bytes": await body_length(receive)})
    elif path == "/sent":
        await answer(send, SENT)
    elif path == "/scope":
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        await answer(send, {"headers": headers, **scope["state"]})
    elif path == "/fails":
        raise RuntimeError("on purpose")
    elif path == "/stream":
        await start(send, b"text/event-stream")
        while True:
            await send(
                {"type": "http.response.body", "body": b":\n\n", "more_body": True}
            )
            await asyncio.sleep(0.1)
    elif path == "/flood":
        await start(send, b"application/octet-stream")
        for _ in range(1000):
            body = b"x" * 10_000
            await send({"type": "http.response.body", "body": body, "more_body": True})
            SENT[path] = SENT.get(path, 0) + len(body)
        await send({"type": "http.response.body", "body": b""})
    else:
        await answer(send, {"path": path})


async def body_length(receive: Any) -> int:
    length = 0
    while True:
        message = await receive()
        length += len(message.get("body", b""))
        if not message.get("more_body"):
            return length


async def start(send: Any, kind: bytes) -> None:
    headers = [(b"content-type", kind)]
    await send({"type": "http.response.start", "status": 200, "headers": headers})


async def answer(send: Any, value: object) -> None:
    await start(send, b"application/json")
    await send({"type": "http.response.body", "body": json.dumps(value).encode()})


async def websocket(scope: Message, receive: Any, send: Any) -> None:
    await receive()
    if scope["path"] == "/ws/refused":
        await send({"type": "websocket.close"})
        return
    await send({"type": "websocket.accept"})
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            SENT["closed with"] = message["code"]
            return
        await obey(message["text"], send)


async def obey(text: str, send: Any) -> None:
    word, _, number = text.partition(" ")
    if word == "flood":
        for _ in range(int(number)):
            await send({"type": "websocket.send", "text": "y" * 50_000})
            SENT["flood"] = SENT.get("flood", 0) + 50_000
    elif word == "work":
        task = asyncio.create_task(work(float(number), send))
        WORK.add(task)
        task.add_done_callback(WORK.discard)
    elif word == "close":
        await send({"type": "websocket.close", "code": int(number)})
    elif word == "fail":
        raise RuntimeError("on purpose")
    else:
        await send({"type": "websocket.send", "text": text})


async def work(seconds: float, send: Any) -> None:
    await asyncio.sleep(seconds)
    await send({"type": "websocket.send", "text": f"worked {seconds}"})


async def drain() -> None:
    """Wait for running work, as the real drain waits for turns."""
    if WORK:
        await asyncio.wait(WORK, timeout=5)


def main() -> int:
    """Serve on the port given; STALLED_AFTER_S shortens the wait for slow clients."""
    if seconds := os.environ.get("STALLED_AFTER_S"):
        flow.STALLED_AFTER_S = float(seconds)
    server = CortexServer(
        app,
        host="127.0.0.1",
        port=int(sys.argv[1]),
        drain=drain,
        ready=lambda: print("ready", flush=True),  # noqa: T201 - the test waits for it
    )
    return server.run()


if __name__ == "__main__":
    sys.exit(main())
