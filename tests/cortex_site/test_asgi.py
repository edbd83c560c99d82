"""The ASGI application passes each kind of connection to its place."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import aiohttp
import psutil
import pytest
from asgiref.testing import ApplicationCommunicator

from cortex_site.asgi import application
from tests.support.processes import ServerProcess


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


def open_databases(server: ServerProcess) -> int:
    """Return how often the server's processes have the database's file open."""
    serve = psutil.Process(server.pid)
    return sum(
        file.path.endswith("cortex.sqlite3")
        for process in (serve, *serve.children(recursive=True))
        for file in process.open_files()
    )


async def test_requests_leave_no_connection_to_the_database_open(
    start_server: Callable[..., ServerProcess],
) -> None:
    server = await asyncio.to_thread(start_server)
    cookies = {"sessionid": "made-up-but-looked-for-in-the-database"}
    async with aiohttp.ClientSession(cookies=cookies) as session:

        async def load() -> None:
            async with session.get(f"{server.url}/account/login/") as answer:
                assert answer.status == 200
                await answer.read()

        await load()
        before = await asyncio.to_thread(open_databases, server)
        # Side by side they would tell little: SQLite keeps files for later connections.
        for _ in range(200):
            await load()
    after = await asyncio.to_thread(open_databases, server)
    # The worker and the sweep of the sockets may have opened their own meanwhile.
    assert after <= before + 7, (before, after)


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
