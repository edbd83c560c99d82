"""A browser's end of the chat socket, against the real ASGI application.

``ChatSocket`` signs in by a session row, as a browser does by its cookie, and keeps
what it received, so that a test can wait for the frame it is about.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import import_module
from typing import Any

from channels.testing import WebsocketCommunicator
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY

from accounts.models import User
from routing.models import Host, Model

PATH = "/ws/chat/"
WAIT_S = 5.0
Frame = dict[str, Any]


def session_for(user: User) -> str:
    """Sign a person in and return the session key; synchronous."""
    store = import_module(settings.SESSION_ENGINE).SessionStore()
    store[SESSION_KEY] = str(user.pk)
    store[BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[0]
    store[HASH_SESSION_KEY] = user.get_session_auth_hash()
    store.save()
    return str(store.session_key)


def headers_for(session_key: str | None, origin: str | None) -> list[Any]:
    """Return a handshake's headers."""
    headers = [(b"host", b"127.0.0.1:8000")]
    if origin is not None:
        headers.append((b"origin", origin.encode()))
    if session_key is not None:
        cookie = f"{settings.SESSION_COOKIE_NAME}={session_key}"
        headers.append((b"cookie", cookie.encode()))
    return headers


class Closed(Exception):
    """The server closed the socket; ``code`` says why."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class ChatSocket:
    """One open socket."""

    def __init__(self, communicator: WebsocketCommunicator) -> None:
        self.communicator = communicator
        self.received: list[Frame] = []
        self.raw: list[str] = []

    async def send(self, type: str, **fields: Any) -> None:
        """Send one frame."""
        await self.communicator.send_json_to({"type": type, **fields})

    async def send_text(self, text: str) -> None:
        """Send one frame as it is."""
        await self.communicator.send_to(text_data=text)

    async def receive(self, within_s: float = WAIT_S) -> Frame:
        """Return the next frame; raises ``Closed`` or ``TimeoutError``."""
        output = await self.communicator.receive_output(within_s)
        if output["type"] == "websocket.close":
            raise Closed(output.get("code", 1000))
        text = output["text"]
        frame: Frame = json.loads(text)
        self.raw.append(text)
        self.received.append(frame)
        return frame

    async def until(self, type: str, within_s: float = WAIT_S, **fields: Any) -> Frame:
        """Return the next frame of a type with these fields, keeping those before."""
        async with asyncio.timeout(within_s):
            while True:
                frame = await self.receive(within_s)
                if frame["type"] == type and frame | fields == frame:
                    return frame

    async def closed(self, within_s: float = WAIT_S) -> int:
        """Return the code with which the server closes the socket."""
        async with asyncio.timeout(within_s):
            while True:
                try:
                    await self.receive(within_s)
                except Closed as closed:
                    return closed.code

    async def say(self, text: str, **fields: Any) -> Frame:
        """Send a message to ``inara`` and return ``turn.started``."""
        fields = {"client_id": str(uuid.uuid4()), "persona": "inara"} | fields
        await self.send("message.send", text=text, **fields)
        return await self.until("turn.started", client_id=fields["client_id"])

    async def ask(self, text: str, **fields: Any) -> Frame:
        """Send a message and return ``turn.finished``."""
        started = await self.say(text, **fields)
        return await self.until("turn.finished", turn=started["turn"])

    def text_of(self, turn: str) -> str:
        """Return the text of a turn as far as it was received."""
        return "".join(
            frame["text"]
            for frame in self.received
            if frame["type"] == "turn.delta" and frame["turn"] == turn
        )

    async def leave(self) -> None:
        """Close the socket as a closed tab does."""
        await self.communicator.disconnect(timeout=WAIT_S)


async def shake_hands(
    session_key: str | None, origin: str | None, path: str = PATH
) -> tuple[WebsocketCommunicator, bool]:
    """Try to open a socket; return it and whether it was accepted."""
    from cortex_site.asgi import application  # builds the whole of Django's handlers

    communicator = WebsocketCommunicator(
        application, path, headers_for(session_key, origin)
    )
    accepted, _ = await communicator.connect(timeout=WAIT_S)
    return communicator, accepted


@asynccontextmanager
async def connected(session_key: str) -> AsyncIterator[ChatSocket]:
    """Open a socket of a signed-in person's browser."""
    communicator, accepted = await shake_hands(session_key, settings.CORTEX_ORIGINS[0])
    assert accepted, "The upgrade was refused."
    socket = ChatSocket(communicator)
    try:
        yield socket
    finally:
        await socket.leave()


def scripted_model(label: str = "scripted", **fields: Any) -> Model:
    """Register a shared model that plays scripts or repeats what it is asked."""
    host, _ = Host.objects.get_or_create(
        name="scripted", owner=None, type=Host.Type.SCRIPTED, is_local=True
    )
    return Model.objects.create(host=host, label=label, name=label, **fields)


def mock_model(base_url: str, name: str, **fields: Any) -> Model:
    """Register a shared model of the mock upstream."""
    host, _ = Host.objects.get_or_create(
        name="mock",
        owner=None,
        type=Host.Type.LOCAL_OPENAI,
        defaults={"base_url": base_url},
    )
    return Model.objects.create(host=host, label=name, name=name, **fields)
