"""The ASGI application: HTTP by Django, the chat socket by Channels."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import Any

from asgiref.sync import ThreadSensitiveContext, sync_to_async
from django.core.asgi import get_asgi_application
from django.db import connections

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "cortex_site.settings")
http_application = get_asgi_application()

# Consumers need Django to be set up, which the line above does.
from channels_app.web.consumer import ChatConsumer  # noqa: E402
from channels_app.web.programs import is_for_programs  # noqa: E402

Send = Callable[[dict[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[dict[str, Any]]]

WEBSOCKETS = {"/ws/chat/": ChatConsumer.as_asgi()}
"""The application of each socket's address."""


async def application(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Pass a connection on by its kind; other sockets are refused with 403."""
    if scope["type"] == "http":
        await answer_request(scope, receive, send)
    elif scope["type"] == "websocket":
        socket = WEBSOCKETS.get(scope["path"], refuse)
        await socket(scope, receive, send)
    elif scope["type"] == "lifespan":
        await answer_lifespan(receive, send)
    else:
        raise ValueError(f"no application for {scope['type']!r}")


async def answer_request(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Let Django answer, then close the database connections of the request.

    Each request has a thread of its own, which nobody uses again; only the threads of
    the database pool keep their connections. What programs ask for needs no thread.
    """
    if is_for_programs(scope["path"]):
        await http_application(scope, receive, send)  # type: ignore[arg-type]
        return
    async with ThreadSensitiveContext():
        try:
            await http_application(scope, receive, send)  # type: ignore[arg-type]
        finally:
            await sync_to_async(connections.close_all)()


async def refuse(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """Refuse the upgrade; the server answers 403."""
    await receive()
    await send({"type": "websocket.close"})


async def answer_lifespan(receive: Receive, send: Send) -> None:
    """Tell servers that ask that there is nothing to start or end."""
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
