"""The examples of proxies before a real server, and what can be read in the others."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from tests.support.certificates import self_signed
from tests.support.processes import ServerProcess, free_port
from tests.support.proxies import DEPLOY, Place, command_of, proxy
from tests.support.seeding import Chat, Seed, seed
from tests.support.upstream import Upstream, token_text

MODEL = "stall-after-3"
"""Says three words and then nothing: what has arrived was not held back."""
SAID = "".join(map(token_text, range(3)))
ELSEWHERE = "127.0.0.9"
"""Whose address is not the proxies'."""
KINDS = ("nginx", "caddy")


@dataclass
class Stage:
    """A server that is reached by https through a proxy."""

    server: ServerProcess
    seeded: Seed
    token: str
    place: Place

    @property
    def url(self) -> str:
        """The public address."""
        return f"https://127.0.0.1:{self.place.port}"

    @asynccontextmanager
    async def client(self, **options: Any) -> AsyncIterator[aiohttp.ClientSession]:
        """A browser elsewhere that trusts the proxy's certificate."""
        context = ssl.create_default_context(cafile=self.place.certificate[0])
        connector = aiohttp.TCPConnector(ssl=context, local_addr=(ELSEWHERE, 0))
        jar = aiohttp.CookieJar(unsafe=True)
        async with aiohttp.ClientSession(
            self.url, connector=connector, cookie_jar=jar, **options
        ) as session:
            yield session
        # The end of TLS is waited for by nobody else.
        # Source: aiohttp, "Graceful Shutdown".
        await asyncio.sleep(0.25)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Run one server for the proxies, one after the other."""
    folder = tmp_path_factory.mktemp("proxies")
    self_signed(folder)
    port = free_port()
    variables = {"CORTEX_PUBLIC_URL": f"https://127.0.0.1:{port}"}
    server = ServerProcess("serve", data_dir=folder / "data", variables=variables)
    with Upstream() as upstream:
        try:
            server.start()
            seeded = seed(server, upstream.base_url, [MODEL], "alice")
            token = server.manage("users", "token", "alice").strip()
            yield Stage(server, seeded, token, Place(folder, port, server.port))
        finally:
            server.stop()


@pytest.fixture(params=KINDS)
def behind(request: pytest.FixtureRequest, stage: Stage) -> Iterator[Stage]:
    """The server behind each proxy in turn."""
    with proxy(request.param, stage.place):
        yield stage


@pytest.mark.slow
@pytest.mark.timeout(150)
async def test_a_page_a_large_body_and_the_address_of_the_client(behind: Stage) -> None:
    forged = {"X-Forwarded-For": "203.0.113.9", "Forwarded": "for=203.0.113.9"}
    async with behind.client(headers=forged) as browser:
        async with browser.get("/account/login/") as page:
            assert page.status == 200
            assert "Strict-Transport-Security" in page.headers
            text = await page.text()
        assert "__Host-csrftoken" in {cookie.key for cookie in browser.cookie_jar}
        token = text.split('name="csrfmiddlewaretoken" value="')[1].split('"')[0]
        form = {"login": "alice", "password": "wrong", "csrfmiddlewaretoken": token}
        origin = {"Referer": f"{behind.url}/account/login/"}
        async with browser.post("/account/login/", data=form, headers=origin) as page:
            assert page.status == 200, "the form is shown again"
        length = {"Content-Length": str(25 * 1024 * 1024 + 1)}
        async with browser.post(
            "/chat", headers=length | {"Expect": "100-continue"}
        ) as refused:
            assert refused.status == 413
    with sqlite3.connect(behind.server.data_dir / "cortex.sqlite3") as base:
        rows = base.execute(
            "SELECT detail FROM accounts_auditevent WHERE event = 'login.failed'"
        ).fetchall()
    base.close()
    assert rows and {json.loads(detail)["ip"] for (detail,) in rows} == {ELSEWHERE}


@pytest.mark.slow
@pytest.mark.timeout(150)
async def test_words_arrive_over_the_socket_while_the_model_goes_on(
    behind: Stage,
) -> None:
    cookie = f"{behind.seeded.cookie_name}={behind.seeded.sessions['alice']}"
    headers = {"Origin": behind.url, "Cookie": cookie}
    async with (
        behind.client() as browser,
        browser.ws_connect("/ws/chat/", headers=headers) as ws,
    ):
        chat = Chat(ws)
        turn = (await chat.say("Hello", model=MODEL))["turn"]
        while chat.text(turn) != SAID:
            await chat.receive()
        await ws.send_str(json.dumps({"type": "turn.stop", "turn": turn}))
        finished = await chat.until("turn.finished", turn)
    assert finished["outcome"] == "interrupted"


@pytest.mark.slow
@pytest.mark.timeout(150)
async def test_words_arrive_as_events_while_the_model_goes_on(behind: Stage) -> None:
    question = {"persona": "inara", "text": "Hello", "model": MODEL}
    headers = {"Authorization": f"Bearer {behind.token}"}
    said, events = "", []
    async with (
        behind.client(headers=headers) as program,
        asyncio.timeout(30),
        program.post("/chat", json=question) as answer,
    ):
        assert answer.status == 200
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        async for line in answer.content:
            if not line.startswith(b"data: "):
                continue
            events.append(json.loads(line.removeprefix(b"data: ")))
            said += events[-1].get("text", "")
            if said == SAID and events[-1]["type"] == "turn.delta":
                await stop(program, events[0]["conversation"])
    assert said == SAID
    assert events[-1]["type"] == "turn.finished"
    assert events[-1]["outcome"] == "interrupted"


async def stop(program: aiohttp.ClientSession, conversation: str) -> None:
    command = {"persona": "inara", "conversation": conversation, "text": "/stop"}
    async with program.post("/chat", json=command) as stopped:
        assert stopped.status == 200, await stopped.text()


# --- what the files say ----------------------------------------------------------


def checked(kind: str, tmp_path: Path, *words: str) -> str:
    """Let the proxy itself check its file; return what it said."""
    self_signed(tmp_path)
    command, environment = command_of(kind, Place(tmp_path, free_port(), 8000))
    if kind == "caddy":
        command[1] = words[0]
    else:
        command += words
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_nginx_finds_nothing_wrong(tmp_path: Path) -> None:
    said = checked("nginx", tmp_path, "-t")
    assert "test is successful" in said
    assert "[warn]" not in said


def test_caddy_finds_nothing_wrong(tmp_path: Path) -> None:
    assert "Valid configuration" in checked("caddy", tmp_path, "validate")
    adapted = checked("caddy", tmp_path, "adapt")
    assert '"flush_interval":-1' in adapted
    assert '"max_size":26214400' in adapted


def test_traefik_passes_streams_on_and_believes_no_client() -> None:
    static = yaml.safe_load((DEPLOY / "traefik.yml").read_text(encoding="utf-8"))
    text = (DEPLOY / "traefik-dynamic.yml").read_text(encoding="utf-8")
    http = yaml.safe_load(text)["http"]
    (service,) = http["services"].values()
    balancer = service["loadBalancer"]
    assert balancer["responseForwarding"]["flushInterval"].startswith("-")
    assert balancer["passHostHeader"] is True
    assert balancer["servers"] == [{"url": "http://127.0.0.1:8000"}]
    assert balancer["serversTransport"] in http["serversTransports"]
    # Traefik's limit of bodies would hold back whole answers.
    assert "middlewares" not in http
    (router,) = http["routers"].values()
    assert set(router["entryPoints"]) <= set(static["entryPoints"])
    assert router["service"] in http["services"]
    assert router["tls"]["certResolver"] in static["certificatesResolvers"]
    secure = static["entryPoints"]["websecure"]
    assert secure["forwardedHeaders"] == {"insecure": False}
    assert secure["transport"]["respondingTimeouts"]["writeTimeout"] == "0s"
    to = static["entryPoints"]["web"]["http"]["redirections"]["entryPoint"]
    assert to == {"to": "websecure", "scheme": "https"}
    assert static["providers"]["file"]["filename"].endswith("/traefik-dynamic.yml")
