"""R3, R4, R5, S31, S34, S39: what must hold when processes die, stop or are overrun."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.environment import clean_environment
from tests.support.processes import ROOT, ServerProcess, wait_until
from tests.support.seeding import chatting, seed
from tests.support.upstream import Upstream, token_text

StartServer = Callable[..., ServerProcess]
MEGABYTE = 1024 * 1024


def child_of(server: ServerProcess, name: str) -> psutil.Process | None:
    """Return the supervisor's child that runs ``manage.py NAME``."""
    for child in psutil.Process(server.pid).children():
        with contextlib.suppress(psutil.Error):
            if child.cmdline()[-1:] == [name]:
                return child
    return None


def query(server: ServerProcess, sql: str, *values: Any) -> list[tuple[Any, ...]]:
    """Ask the server's database from outside."""
    base = sqlite3.connect(server.data_dir / "cortex.sqlite3", timeout=5)
    try:
        with base:
            return base.execute(sql, values).fetchall()
    finally:
        base.close()


def key(turn: str) -> str:
    """Return a turn's id as SQLite keeps it."""
    return turn.replace("-", "")


# --- R3 ------------------------------------------------------------------------------


async def test_r03_sigkill_in_mid_answer_keeps_the_text_and_the_attempt(
    start_server: StartServer, upstream: Upstream
) -> None:
    server = await asyncio.to_thread(start_server)
    model = "tokens-3000-10ms"
    seeded = await asyncio.to_thread(seed, server, upstream.base_url, [model], "alice")
    async with chatting(server, seeded, "alice") as chat:
        turn = (await chat.say("Tell me", model=model))["turn"]
        saved = "SELECT text FROM personas_message WHERE id = ?"
        while not query(server, saved, key(turn))[0][0]:
            await chat.receive()
        victim = child_of(server, "web")
        assert victim is not None
        victim.kill()
        with contextlib.suppress(EOFError):
            while True:
                await chat.receive()
    seen = chat.text(turn)
    await asyncio.to_thread(server.wait_for_health)
    # The clock of "abandoned" is turned, so that the test need not wait for it.
    query(
        server,
        "UPDATE personas_message SET alive_at = datetime('now', '-60 seconds')"
        " WHERE id = ?",
        key(turn),
    )
    state = "SELECT state, text FROM personas_message WHERE id = ?"
    await asyncio.to_thread(
        wait_until,
        lambda: query(server, state, key(turn))[0][0] != "generating",
        within_s=15,
        what="the worker's tick",
    )
    ended, text = query(server, state, key(turn))[0]
    assert ended == "interrupted"
    assert text and seen.startswith(text)
    booked = (
        "SELECT estimated, input_tokens, output_tokens FROM ledger_ledgerentry"
        " WHERE kind = 'settle' AND turn_id = ?"
    )
    await asyncio.to_thread(
        wait_until, lambda: query(server, booked, key(turn)), what="the closing row"
    )
    ((estimated, input_tokens, output_tokens),) = query(server, booked, key(turn))
    assert (estimated, input_tokens > 0, output_tokens > 0) == (1, True, True)
    stuck = "SELECT COUNT(*) FROM personas_message WHERE state = 'generating'"
    assert query(server, stuck) == [(0,)]


# --- R4 ------------------------------------------------------------------------------


async def test_r04_sigterm_lets_answers_end_and_loses_no_row(
    start_server: StartServer, upstream: Upstream
) -> None:
    server = await asyncio.to_thread(start_server)
    model = "tokens-150-10ms"
    seeded = await asyncio.to_thread(seed, server, upstream.base_url, [model], "alice")
    async with (
        chatting(server, seeded, "alice") as chat,
        chatting(server, seeded, "alice") as second_tab,
    ):
        turn = (await chat.say("Tell me", model=model))["turn"]
        await chat.until("turn.delta", turn)
        server.terminate(signal.SIGTERM)
        await asyncio.to_thread(wait_until, lambda: refuses(server.port), within_s=5)
        refused = await second_tab.say("And me", model=model)
        assert (refused["type"], refused["code"]) == ("error", "busy")
        finished = await chat.until("turn.finished", turn)
        assert finished["outcome"] == "complete"
        with pytest.raises(EOFError):
            while True:
                await chat.receive()
        assert chat.close_code == 1012
    assert chat.text(turn) == "".join(token_text(number) for number in range(150))
    assert await asyncio.to_thread(server.wait) == 0
    assert server.log.count("stopping: waiting for 1 answer,") == 1
    kinds = query(
        server,
        "SELECT kind, COUNT(*) FROM ledger_ledgerentry GROUP BY kind ORDER BY kind",
    )
    assert kinds == [("reserve", 1), ("settle", 1)]
    lines = (server.data_dir / "ledger.jsonl").read_text().splitlines()
    assert len(lines) == 2


def refuses(port: int) -> bool:
    """Tell whether nobody listens on the port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


# --- R5 ------------------------------------------------------------------------------


IMPATIENT_WEB = """
from channels_app.server import daphne, flow
flow.STALLED_AFTER_S = 6.0
import sys
from cortex_site.commands import run
sys.exit(run(["manage.py", "web"]))
"""
"""The real web process, with a fifth of the patience."""


STALLED_READERS = 10


@pytest.fixture
def impatient_web(tmp_path: Path) -> Iterator[ServerProcess]:
    """A web process that calls a reader stalled after 6 s instead of 30."""
    server = ServerProcess("web", data_dir=tmp_path / "data")
    server.manage("prepare")
    server.environment["MALLOC_ARENA_MAX"] = "2"  # as the supervisor does
    server.environment["DJANGO_SETTINGS_MODULE"] = "cortex_site.settings"
    server.command = [sys.executable, "-c", IMPATIENT_WEB]
    server.start()
    yield server
    server.stop()


async def test_r05_stalled_readers_cost_little_slow_nobody_and_are_closed(
    impatient_web: ServerProcess, upstream: Upstream
) -> None:
    server = impatient_web
    models = ["big-100", "tokens-200-10ms"]
    seeded = await asyncio.to_thread(
        seed, server, upstream.base_url, models, "alice", "bob"
    )
    web = psutil.Process(server.pid)
    async with AsyncExitStack() as stack:
        bob = await stack.enter_async_context(chatting(server, seeded, "bob"))
        alice = await stack.enter_async_context(chatting(server, seeded, "alice"))
        stalled = [
            await stack.enter_async_context(chatting(server, seeded, "alice"))
            for _ in range(STALLED_READERS)
        ]
        # The first answers of 5 MB also pay for what the process keeps warm.
        for _ in range(3):
            turn = (await alice.say("Long", model="big-100"))["turn"]
            await alice.until("turn.finished", turn)
            assert len(alice.text(turn)) == 5_000_000
        before = web.memory_info().rss

        watched = (await bob.say("Meanwhile", model="tokens-200-10ms"))["turn"]
        turn = (await alice.say("Long", model="big-100"))["turn"]
        for tab in stalled:
            tab.stop_reading()
            await tab.ws.send_json({"type": "turn.resume", "turn": turn, "after": 0})
        await alice.until("turn.finished", turn)
        assert len(alice.text(turn)) == 5_000_000
        finished = await bob.until("turn.finished", watched)
        assert finished["outcome"] == "complete"
        assert bob.text(watched) == "".join(map(token_text, range(200)))
        # The answer itself is kept for replays. Ten readers instead of one, because
        # the allocator's own steps are larger than what one of them costs.
        grown = web.memory_info().rss - before
        assert grown <= 5 * MEGABYTE + STALLED_READERS * 2 * MEGABYTE

        slow = "a socket was too slow and is closed with 1013"
        await asyncio.to_thread(
            wait_until, lambda: server.log.count(slow) == STALLED_READERS, what=slow
        )
        for tab in stalled:
            tab.start_reading()
            with pytest.raises(EOFError):
                while True:
                    await tab.receive()
            assert tab.close_code == 1013
        await bob.ws.send_json({"type": "ping"})
        assert (await bob.receive())["type"] == "pong"


# --- S31 -----------------------------------------------------------------------------


def test_s31_deployment_check_is_clean_for_https(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "WARNING"],
        cwd=ROOT,
        env=clean_environment(
            tmp_path / "data", CORTEX_PUBLIC_URL="https://chat.example.org"
        ),
        capture_output=True,
        text=True,
        timeout=40,
    )
    assert (done.returncode, done.stderr) == (0, "")


# --- S34, S39 ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One Cortex for the tests that only send it requests."""
    server = ServerProcess(data_dir=tmp_path_factory.mktemp("requests") / "data")
    server.start()
    yield server
    server.stop()


def status_of(port: int, request: bytes) -> int:
    """Send raw bytes and return the status of the answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as raw:
        raw.sendall(request)
        return int(raw.recv(4096).split()[1])


def test_s34_foreign_hosts_are_refused(web: ServerProcess) -> None:
    for path in (b"/", b"/health", b"/account/login/", b"/static/x.css"):
        for host in (
            b"evil.example",
            b"127.0.0.1#.evil.example",
            b"127.0.0.1?.evil.example",
            b"evil.example/127.0.0.1",
            b"user@127.0.0.1",
            b"",
        ):
            request = b"GET %b HTTP/1.1\r\nHost: %b\r\nConnection: close\r\n\r\n"
            assert status_of(web.port, request % (path, host)) == 400, (path, host)
    right = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    assert status_of(web.port, right) == 200


def test_s34_forwarded_host_changes_nothing(web: ServerProcess) -> None:
    request = (
        b"GET /account/login/ HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n"
        b"X-Forwarded-Host: evil.example\r\nConnection: close\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", web.port), timeout=10) as raw:
        raw.sendall(request % web.port)
        answer = b""
        while part := raw.recv(65536):
            answer += part
    assert b" 200 " in answer[:20]
    assert b"evil.example" not in answer


def test_s39_bodies_above_25_mb_are_refused_before_they_are_read(
    web: ServerProcess,
) -> None:
    process = child_of(web, "web")
    assert process is not None
    before = process.memory_info().rss
    head = b"POST /account/login/ HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    announced = head + b"Content-Length: 26214401\r\n\r\n"
    assert status_of(web.port, announced) == 413
    with socket.create_connection(("127.0.0.1", web.port), timeout=10) as raw:
        raw.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            for _ in range(40):
                raw.sendall(b"100000\r\n" + b"z" * MEGABYTE + b"\r\n")
        assert raw.recv(4096).split()[1] == b"413"
    assert process.memory_info().rss - before < 35 * MEGABYTE
    assert web.health() is not None
