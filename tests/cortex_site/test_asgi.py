"""The ASGI application passes each kind of connection to its place."""

from __future__ import annotations

from typing import Any

import pytest
from asgiref.testing import ApplicationCommunicator

from cortex_site.asgi import application


@pytest.mark.django_db(transaction=True)
async def test_pages_are_djangos() -> None:
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "GET",
        "path": "/no/such/page",
        "query_string": b"",
        "headers": [(b"host", b"127.0.0.1:8000")],
    }
    connection = ApplicationCommunicator(application, scope)
    await connection.send_input({"type": "http.request", "body": b""})
    answer = await connection.receive_output(5)
    assert (answer["type"], answer["status"]) == ("http.response.start", 404)
    await connection.wait(5)


async def test_other_sockets_are_refused_cleanly() -> None:
    scope = {"type": "websocket", "path": "/ws/elsewhere/", "headers": []}
    connection = ApplicationCommunicator(application, scope)
    await connection.send_input({"type": "websocket.connect"})
    assert await connection.receive_output(5) == {"type": "websocket.close"}
    await connection.wait(5)


async def test_servers_that_announce_their_life_are_answered() -> None:
    connection = ApplicationCommunicator(application, {"type": "lifespan"})
    for word in ("startup", "shutdown"):
        await connection.send_input({"type": f"lifespan.{word}"})
        answer: dict[str, Any] = await connection.receive_output(5)
        assert answer == {"type": f"lifespan.{word}.complete"}
    await connection.wait(5)


async def test_other_kinds_are_errors() -> None:
    with pytest.raises(ValueError, match="telnet"):
        await application({"type": "telnet"}, None, None)  # type: ignore[arg-type]
