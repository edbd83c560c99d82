"""The two load generators: bare HTTP for the upstream and the relay, WebSocket for
Cortex. Both return what was received when, so that one function can judge them."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Self

import aiohttp

from tests.support.upstream import CHUNK_CHARACTERS

MARK = b'"content": "0'
"""How each token's text begins in the mock's chunks, unlike the empty first one; holds
for the first 46,656 tokens of an answer."""


@dataclass
class Received:
    """One answer as the receiver saw it; times in ns, monotonic."""

    tag: str
    asked_ns: int
    frames: list[tuple[int, int]] = field(default_factory=list)
    """When text arrived, and how many characters there were by then."""
    payload_bytes: int = 0
    outcome: str = ""

    @property
    def first_token_ms(self) -> float:
        """From the question to the first text."""
        return (self.frames[0][0] - self.asked_ns) / 1e6

    @property
    def tokens(self) -> int:
        """Whole tokens received."""
        return self.frames[-1][1] // CHUNK_CHARACTERS if self.frames else 0


class KeptConnection:
    """A connection to a loopback port that several requests use."""

    def __init__(self, port: int) -> None:
        self.port = port

    async def __aenter__(self) -> Self:
        """Connect."""
        self.reader, self.writer = await asyncio.open_connection(
            "127.0.0.1", self.port, limit=2**20
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        """Disconnect."""
        self.writer.close()
        await self.writer.wait_closed()


class DirectClient(KeptConnection):
    """A keep-alive HTTP connection to the upstream or the relay."""

    async def ask(self, model: str, tag: str) -> Received:
        """Stream one answer."""
        body = json.dumps(
            {
                "model": model,
                "messages": [{"role": "user", "content": tag}],
                "stream": True,
                "stream_options": {"include_usage": True},
            }
        ).encode()
        head = f"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: {len(body)}\r\n"
        received = Received(tag, time.monotonic_ns())
        self.writer.write(head.encode() + b"\r\n" + body)
        characters, tail = 0, b""
        while True:
            data = await self.reader.read(2**18)
            now = time.monotonic_ns()
            received.payload_bytes += len(data)
            pieces = (tail + data).count(MARK) - tail.count(MARK)
            tail = (tail + data)[-len(MARK) + 1 :]
            if pieces:
                characters += pieces * CHUNK_CHARACTERS
                received.frames.append((now, characters))
            if data.endswith(b"[DONE]\n\n\r\n0\r\n\r\n"):
                received.outcome = "complete"
                return received
            if not data:
                return received


class CortexClient:
    """A signed-in person's chat socket."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket

    async def ask(self, model: str, tag: str, conversation: dict[str, str]) -> Received:
        """Send one message below the conversation's history and read the whole turn."""
        client_id = str(uuid.uuid4())
        frame = {
            "type": "message.send",
            "client_id": client_id,
            "persona": "inara",
            "conversation": conversation["id"],
            "parent": conversation["parent"],
            "text": tag,
            "model": model,
            "tier": None,
        }
        text = json.dumps(frame)
        received = Received(tag, time.monotonic_ns())
        await self.socket.send_str(text)
        characters, turn = 0, None
        async for message in self.socket:
            now = time.monotonic_ns()
            if message.type is not aiohttp.WSMsgType.TEXT:
                break
            event = json.loads(message.data)
            kind = event["type"]
            if kind == "turn.started" and event["client_id"] == client_id:
                turn = event["turn"]
            elif kind == "error" and event.get("client_id") == client_id:
                raise RuntimeError(f"Cortex refused: {event}")
            if turn is None or event.get("turn") != turn:
                continue
            received.payload_bytes += frame_bytes(len(message.data.encode()))
            if kind == "turn.delta":
                characters += len(event["text"])
                received.frames.append((now, characters))
            elif kind == "turn.finished":
                received.outcome = event["outcome"]
                if event["outcome"] != "complete":
                    raise RuntimeError(f"A turn failed: {event}")
                return received
        raise RuntimeError(f"The socket closed: {self.socket.close_code}")


def frame_bytes(payload: int) -> int:
    """Return the size on the wire of an unmasked WebSocket frame."""
    return payload + (2 if payload < 126 else 4 if payload < 2**16 else 10)


class People:
    """Opens chat sockets for the people that ``bench.prepare`` made."""

    def __init__(self, url: str, prepared: dict[str, Any]) -> None:
        self.url = url
        self.people = prepared["people"]
        self.cookie_name = prepared["cookie_name"]
        self.api_token = prepared["api_token"]

    @asynccontextmanager
    async def session(self) -> AsyncIterator[aiohttp.ClientSession]:
        """Open the HTTP session that the sockets share; it keeps no cookies."""
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(
            connector=connector, cookie_jar=aiohttp.DummyCookieJar()
        ) as session:
            yield session

    async def connect(
        self, session: aiohttp.ClientSession, number: int
    ) -> aiohttp.ClientWebSocketResponse:
        """Open a socket for a person, with their cookie and the page's origin."""
        person = self.people[number % len(self.people)]
        return await session.ws_connect(
            f"{self.url.replace('http', 'ws', 1)}/ws/chat/",
            origin=self.url,
            headers={"Cookie": f"{self.cookie_name}={person['session']}"},
            max_msg_size=2**24,
        )

    def conversation(self, number: int) -> dict[str, str]:
        """Return a conversation that no other number of a small range shares."""
        person = self.people[number % len(self.people)]
        index = number // len(self.people) % len(person["conversations"])
        conversation: dict[str, str] = person["conversations"][index]
        return conversation
