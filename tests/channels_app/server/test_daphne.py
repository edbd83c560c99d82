"""The web server itself, as a real process with a small application behind it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest

from channels_app.web.csp import OTHER_HEADERS
from tests.support.processes import ROOT, free_port, wait_until

MEGABYTE = 1024 * 1024


class Sample:
    """The sample application, served by a process of its own."""

    def __init__(self, log: Path, **variables: str) -> None:
        self.port = free_port()
        self.log = log
        self.sockets: list[socket.socket] = []
        with open(log, "wb") as file:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "tests.channels_app.server.sample",
                    str(self.port),
                ],
                cwd=ROOT,
                env={**os.environ, **variables},
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        wait_until(lambda: "ready" in log.read_text(), what="the sample server")

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}") as answer:
            return json.load(answer)

    def connect(self, *, receive_buffer: int | None = None) -> socket.socket:
        raw = socket.socket()
        self.sockets.append(raw)
        if receive_buffer:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        raw.settimeout(15)
        raw.connect(("127.0.0.1", self.port))
        return raw

    def upgrade(self, *, receive_buffer: int | None = None) -> socket.socket:
        """Return a socket that speaks WebSocket; the caller reads raw frames."""
        raw = self.connect(receive_buffer=receive_buffer)
        raw.sendall(
            b"GET /ws/x HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\n"
            b"Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            b"Sec-WebSocket-Version: 13\r\nOrigin: http://127.0.0.1\r\n\r\n"
        )
        head = b""
        while b"\r\n\r\n" not in head:
            head += raw.recv(1)
        assert head.startswith(b"HTTP/1.1 101")
        return raw

    def stop(self) -> None:
        for raw in self.sockets:
            raw.close()
        self.process.kill()
        self.process.wait(10)


def masked(text: str) -> bytes:
    """Return a client's text frame with a mask of zeros."""
    payload = text.encode()
    assert len(payload) < 126
    return bytes([0x81, 0x80 | len(payload)]) + b"\0\0\0\0" + payload


def read_all(raw: socket.socket) -> bytes:
    """Read until the server closes."""
    parts = []
    with contextlib.suppress(ConnectionError):
        while part := raw.recv(65536):
            parts.append(part)
    return b"".join(parts)


def read_until(raw: socket.socket, end: bytes) -> bool:
    """Read until the bytes received so far end with ``end``."""
    last = b""
    while not last.endswith(end):
        part = raw.recv(65536)
        if not part:
            return False
        last = (last + part)[-len(end) :]
    return True


@pytest.fixture
def start_sample(tmp_path: Path) -> Iterator[Callable[..., Sample]]:
    started: list[Sample] = []

    def start(**variables: str) -> Sample:
        sample = Sample(tmp_path / f"sample-{len(started)}.log", **variables)
        started.append(sample)
        return sample

    yield start
    for sample in started:
        sample.stop()


@pytest.fixture
def sample(start_sample: Callable[..., Sample]) -> Sample:
    return start_sample()


# --- limits -----------------------------------------------------------------------


def test_body_above_limit_by_content_length_is_refused_unread(sample: Sample) -> None:
    with sample.connect() as raw:
        raw.sendall(
            b"POST /upload HTTP/1.1\r\nHost: x\r\n"
            b"Expect: 100-continue\r\nContent-Length: 26214401\r\n\r\n"
        )
        answer = read_all(raw).decode()
    head, _, body = answer.partition("\r\n\r\n")
    assert head.startswith("HTTP/1.1 413 ")
    assert "Content-Security-Policy: default-src 'none'" in head
    for name, value in OTHER_HEADERS.items():
        assert f"{name}: {value}" in head
    assert json.loads(body)["error"]["code"] == "too_long"


def test_client_that_sends_on_after_413_still_reads_it(sample: Sample) -> None:
    with sample.connect() as raw:
        raw.sendall(
            b"POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: 30000000\r\n\r\n"
        )
        with contextlib.suppress(ConnectionError):
            for _ in range(30):
                raw.sendall(b"z" * MEGABYTE)
        assert read_all(raw).startswith(b"HTTP/1.1 413 ")


def test_chunked_body_above_limit_is_refused_while_it_arrives(sample: Sample) -> None:
    with sample.connect() as raw:
        raw.sendall(
            b"POST /upload HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        for _ in range(26):
            raw.sendall(b"100000\r\n" + b"z" * MEGABYTE + b"\r\n")
        assert read_all(raw).startswith(b"HTTP/1.1 413 ")
    assert sample.get("/still-there") == {"path": "/still-there"}


def test_body_at_the_limit_arrives_whole(sample: Sample) -> None:
    request = urllib.request.Request(
        f"http://127.0.0.1:{sample.port}/upload", data=b"z" * (25 * MEGABYTE)
    )
    with urllib.request.urlopen(request) as answer:
        assert json.load(answer) == {"bytes": 25 * MEGABYTE}


async def test_frame_above_64_kb_closes_with_1009(sample: Sample) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"ws://127.0.0.1:{sample.port}/ws/x") as ws,
    ):
        await ws.send_str("e" * 65_536)
        assert (await ws.receive()).data == "e" * 65_536
        await ws.send_str("e" * 65_537)
        message = await ws.receive()
        assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 1009)


async def test_frames_to_the_client_have_no_limit(sample: Sample) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"ws://127.0.0.1:{sample.port}/ws/x", compress=15) as ws,
    ):
        assert ws.compress == 0
        await ws.send_str("flood 3")
        texts = [(await ws.receive()).data for _ in range(3)]
        assert texts == ["y" * 50_000] * 3


# --- answers of the server itself -------------------------------------------------


def test_server_names_no_software(sample: Sample) -> None:
    with urllib.request.urlopen(f"http://127.0.0.1:{sample.port}/x") as answer:
        assert answer.headers.get("Server") is None


def test_failing_application_gives_plain_500(sample: Sample) -> None:
    with pytest.raises(urllib.error.HTTPError) as caught:
        sample.get("/fails")
    assert caught.value.code == 500
    assert json.load(caught.value)["error"]["code"] == "internal"
    assert "default-src 'none'" in caught.value.headers["Content-Security-Policy"]
    caught.value.close()


async def test_refused_socket_is_403(sample: Sample) -> None:
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            await session.ws_connect(f"ws://127.0.0.1:{sample.port}/ws/refused")
    assert caught.value.status == 403


async def test_failing_socket_closes_with_1011(sample: Sample) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"ws://127.0.0.1:{sample.port}/ws/x") as ws,
    ):
        await ws.send_str("fail now")
        message = await ws.receive()
        assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 1011)


@pytest.mark.parametrize("code", [1000, 1012, 1013, 4401])
async def test_application_may_close_with(sample: Sample, code: int) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"ws://127.0.0.1:{sample.port}/ws/x") as ws,
    ):
        await ws.send_str(f"close {code}")
        assert (await ws.receive()).data == code


def test_each_request_has_an_id_of_its_own(sample: Sample) -> None:
    first, second = sample.get("/scope"), sample.get("/scope")
    assert len(first["request_id"]) == 16
    assert first["request_id"] != second["request_id"]


# --- back-pressure ----------------------------------------------------------------


async def test_stalled_socket_costs_little_and_slows_nobody(
    start_sample: Callable[..., Sample],
) -> None:
    sample = start_sample(STALLED_AFTER_S="600")
    before = psutil.Process(sample.process.pid).memory_info().rss
    raw = sample.upgrade(receive_buffer=8192)
    raw.sendall(masked("flood 100"))
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"ws://127.0.0.1:{sample.port}/ws/x") as ws,
    ):
        await ws.send_str("flood 100")
        for _ in range(100):
            assert len((await ws.receive()).data) == 50_000
    grown = psutil.Process(sample.process.pid).memory_info().rss - before
    sent = (await asyncio.to_thread(sample.get, "/sent"))["flood"]
    assert sent < 100 * 50_000 + 4_500_000  # the stalled one did not take 5 MB
    assert grown <= 2 * MEGABYTE + MEGABYTE


def test_stalled_socket_is_closed_with_1013(
    start_sample: Callable[..., Sample],
) -> None:
    sample = start_sample(STALLED_AFTER_S="1")
    raw = sample.upgrade(receive_buffer=8192)
    raw.sendall(masked("flood 200"))
    wait_until(lambda: sample.get("/sent").get("closed with") == 1013, what="the close")
    # The close frame stands behind what the client had not read: 0x88, length, code.
    assert read_until(raw, b"\x88\x02\x03\xf5")


def push(raw: socket.socket, data: bytes, times: int) -> None:
    """Send ``data`` so many times, or until nobody takes it any more."""
    raw.settimeout(2)
    with contextlib.suppress(TimeoutError):
        for _ in range(times):
            raw.sendall(data)


@pytest.mark.parametrize("opcode", [0x82, 0x89], ids=["messages", "pings"])
def test_flood_from_a_client_that_does_not_read_costs_little(
    start_sample: Callable[..., Sample], opcode: int
) -> None:
    sample = start_sample(STALLED_AFTER_S="600")
    raw = sample.upgrade(receive_buffer=8192)
    raw.sendall(masked("flood 200"))
    wait_until(lambda: sample.get("/sent").get("flood"), what="the flood")
    size = 60_000 if opcode == 0x82 else 125
    head = b"\xfe" + size.to_bytes(2, "big") if size > 125 else b"\xfd"
    frame = bytes([opcode]) + head + b"\0\0\0\0" + b"z" * size
    before = psutil.Process(sample.process.pid).memory_info().rss
    push(raw, frame * (2_000_000 // size), 10)
    grown = psutil.Process(sample.process.pid).memory_info().rss - before
    assert grown <= 8 * MEGABYTE, f"{grown / MEGABYTE:.1f} MB"


def test_everything_a_fast_client_sends_arrives_in_order(sample: Sample) -> None:
    raw = sample.upgrade()
    texts = [f"number {number}" for number in range(5000)]
    frames = b"".join(map(masked, texts))
    thread = threading.Thread(target=raw.sendall, args=(frames,))
    thread.start()
    expected = b"".join(bytes([0x81, len(text)]) + text.encode() for text in texts)
    received = b""
    while len(received) < len(expected):
        received += raw.recv(65536)
    thread.join(5)
    assert received == expected


def test_stalled_download_is_cut_off(start_sample: Callable[..., Sample]) -> None:
    sample = start_sample(STALLED_AFTER_S="1")
    raw = sample.connect(receive_buffer=8192)
    raw.sendall(b"GET /flood HTTP/1.1\r\nHost: x\r\n\r\n")
    # The application's sends return at once when nobody is there any more.
    wait_until(lambda: sample.get("/sent").get("/flood") == 10_000_000, what="the cut")
    assert len(read_all(raw)) < 10_000_000


# --- stopping ---------------------------------------------------------------------


async def test_sigterm_lets_work_end_and_closes_sockets_with_1012(
    sample: Sample,
) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"ws://127.0.0.1:{sample.port}/ws/x") as ws,
    ):
        await ws.send_str("work 0.6")
        await ws.send_str("echo")
        assert (await ws.receive()).data == "echo"
        sample.process.send_signal(signal.SIGTERM)
        assert (await ws.receive()).data == "worked 0.6"
        message = await ws.receive()
        assert (message.type, message.data) == (aiohttp.WSMsgType.CLOSE, 1012)
    assert await asyncio.to_thread(sample.process.wait, 10) == 0


def test_new_connections_are_refused_while_it_drains(sample: Sample) -> None:
    raw = sample.upgrade()
    raw.sendall(masked("work 2"))
    raw.sendall(masked("echo"))
    assert raw.recv(6)[2:] == b"echo"
    sample.process.send_signal(signal.SIGTERM)

    def refused() -> bool:
        try:
            sample.connect().close()
        except ConnectionRefusedError:
            return True
        return False

    wait_until(refused, within_s=2, what="the refusal")
    assert sample.process.poll() is None


def test_second_signal_stops_at_once(sample: Sample) -> None:
    raw = sample.upgrade()
    raw.sendall(masked("work 60"))
    raw.sendall(masked("echo"))
    assert raw.recv(6)[2:] == b"echo"
    sample.process.send_signal(signal.SIGTERM)
    with contextlib.suppress(ConnectionError):
        while True:
            sample.connect().close()
    sample.process.send_signal(signal.SIGTERM)
    sample.process.wait(3)


def test_open_response_does_not_hold_up_the_end(sample: Sample) -> None:
    with sample.connect() as raw:
        raw.sendall(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
        assert raw.recv(100).startswith(b"HTTP/1.1 200")
        sample.process.send_signal(signal.SIGTERM)
        read_all(raw)
    assert sample.process.wait(10) == 0


def test_port_in_use_ends_with_one_sentence_and_status_1(sample: Sample) -> None:
    second = subprocess.run(
        [sys.executable, "-m", "tests.channels_app.server.sample", str(sample.port)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert second.returncode == 1
    assert second.stderr.count("\n") == 1
    assert "cannot listen on 127.0.0.1" in second.stderr
