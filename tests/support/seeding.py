"""Fills the data folder of a server process: people, a persona each, models, sessions.

Run in a process of its own, with the environment of the server, because the tests'
process has settings and a database of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import django

from tests.support.processes import ROOT, ServerProcess

PROGRAM = "tests.support.seeding"


@dataclass
class Seed:
    """What a test needs to act as one of the people."""

    cookie_name: str
    sessions: dict[str, str]
    """Session key by user name."""


def seed(
    server: ServerProcess, upstream_url: str, models: Sequence[str], *people: str
) -> Seed:
    """Register ``models`` of the upstream and create ``people`` with persona inara."""
    done = subprocess.run(
        [sys.executable, "-m", PROGRAM, upstream_url, ",".join(models), *people],
        cwd=ROOT,
        env=server.environment,
        capture_output=True,
        text=True,
        timeout=40,
    )
    if done.returncode:
        raise AssertionError(f"Seeding failed:\n{done.stdout}{done.stderr}")
    return Seed(**json.loads(done.stdout))


class Chat:
    """One person's chat socket to a real server."""

    def __init__(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        self.ws = ws
        self.texts: dict[str, list[str]] = {}
        self.close_code: int | None = None

    async def send(self, text: str, *, model: str) -> str:
        """Send a message to inara and return its client id."""
        frame = {
            "type": "message.send",
            "client_id": str(uuid.uuid4()),
            "persona": "inara",
            "text": text,
            "model": model,
        }
        await self.ws.send_str(json.dumps(frame))
        return frame["client_id"]

    async def say(self, text: str, *, model: str) -> dict[str, Any]:
        """Send a message to inara and return the first frame that answers it."""
        await self.send(text, model=model)
        while True:
            frame = await self.receive()
            if frame["type"] in {"turn.started", "error"}:
                return frame

    def stop_reading(self) -> None:
        """Take no more bytes from the network, as a sleeping laptop would."""
        self._transport().pause_reading()

    def start_reading(self) -> None:
        """Take bytes again."""
        self._transport().resume_reading()

    def _transport(self) -> Any:
        connection = self.ws._response.connection
        assert connection is not None
        return connection.transport

    async def receive(self) -> dict[str, Any]:
        """Return the next frame; raises ``EOFError`` when the server has closed."""
        message = await self.ws.receive(timeout=30)
        if message.type is not aiohttp.WSMsgType.TEXT:
            self.close_code = message.data
            raise EOFError
        frame: dict[str, Any] = json.loads(message.data)
        if frame["type"] == "turn.delta":
            self.texts.setdefault(frame["turn"], []).append(frame["text"])
        return frame

    async def until(self, type: str, turn: str) -> dict[str, Any]:
        """Return the next frame of this type of the turn."""
        while True:
            frame = await self.receive()
            if frame["type"] == type and frame.get("turn") == turn:
                return frame

    def text(self, turn: str) -> str:
        """Return what has come of a turn's text."""
        return "".join(self.texts.get(turn, []))


@asynccontextmanager
async def chatting(
    server: ServerProcess, seeded: Seed, person: str
) -> AsyncIterator[Chat]:
    """Open a chat socket as ``person``."""
    headers = {
        "Origin": server.url,
        "Cookie": f"{seeded.cookie_name}={seeded.sessions[person]}",
    }
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(server.websocket_url, headers=headers, max_msg_size=0) as ws,
    ):
        yield Chat(ws)


def main(upstream_url: str, models: str, *people: str) -> None:
    """Fill the database that the environment names and print the seed as JSON."""
    os.environ["DJANGO_SETTINGS_MODULE"] = "cortex_site.settings"
    django.setup()
    from django.conf import settings
    from django.test import Client

    from accounts.models import User
    from accounts.roles import set_role
    from personas.personas import create_persona
    from routing.models import Host, Model

    host = Host.objects.create(
        name="mock", type=Host.Type.LOCAL_OPENAI, base_url=upstream_url
    )
    for name in models.split(","):
        Model.objects.create(
            host=host, label=name, name=name, context_tokens=32_768, tags=["tools"]
        )
    sessions = {}
    for name in people:
        user = User.objects.create_user(name, f"{name}@example.org")
        set_role(user, is_admin=False)
        create_persona(user, template="companion", name="inara", display_name="Inara")
        client = Client(HTTP_HOST=settings.ALLOWED_HOSTS[0])
        client.force_login(user)
        sessions[name] = client.cookies[settings.SESSION_COOKIE_NAME].value
    seeded = Seed(settings.SESSION_COOKIE_NAME, sessions)
    json.dump(vars(seeded), sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
