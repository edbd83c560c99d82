"""The door out, with real sockets on loopback and a resolver that cannot be trusted."""

from __future__ import annotations

import asyncio
import gzip
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult

from routing import net
from routing.addresses import origin_of
from routing.errors import (
    BadAddress,
    BlockedAddress,
    CutOff,
    NetError,
    TookTooLong,
    TooLarge,
    Unreachable,
)

Handler = Callable[[web.Request], "web.StreamResponse"]


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[str]:
    """Serve a handler on loopback and give its address."""

    async def answer(request: web.Request) -> web.StreamResponse:
        return handler(request)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        port = runner.addresses[0][1]
        yield f"http://127.0.0.1:{port}"
    finally:
        await runner.cleanup()


class Resolver(AbstractResolver):
    """Gives a list of addresses in turn, one a question."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.questions = 0

    async def resolve(
        self, host: str, port: int = 0, family: int = 0
    ) -> list[ResolveResult]:
        self.questions += 1
        addresses = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=0,
            )
            for address in addresses
        ]

    async def close(self) -> None:
        pass


def trust(*urls: str) -> frozenset[str]:
    return frozenset(origin_of(url) for url in urls)


async def test_trusted_origin_is_reached() -> None:
    async with serving(lambda request: web.Response(text="hello")) as url:
        reply = await net.request("GET", url, trusted_origins=trust(url))
    assert (reply.status, reply.body) == (200, b"hello")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]", "[::ffff:7f00:1]"])
async def test_loopback_is_refused_without_trust(host: str) -> None:
    with pytest.raises(BlockedAddress):
        await net.request("GET", f"http://{host}:9/")


async def test_trust_counts_for_the_exact_origin() -> None:
    async with serving(lambda request: web.Response()) as url:
        others = trust("http://127.0.0.1:1", url.replace("http:", "https:"))
        with pytest.raises(BlockedAddress):
            await net.request("GET", url, trusted_origins=others)


async def test_trusting_connections_are_not_reused_by_others() -> None:
    async with serving(lambda request: web.Response()) as url:
        await net.request("GET", url, trusted_origins=trust(url))
        with pytest.raises(BlockedAddress):
            await net.request("GET", url)


@pytest.mark.parametrize(
    "addresses", [["127.0.0.1"], ["93.184.216.34", "10.0.0.1"], ["::ffff:8.8.8.8"]]
)
async def test_name_with_a_private_address_is_refused(
    addresses: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    resolver = Resolver(addresses)
    monkeypatch.setattr(net, "make_resolver", lambda: resolver)
    with pytest.raises(BlockedAddress):
        await net.request("GET", "http://rebind.example/")
    assert resolver.questions == 1


async def test_rebinding_name_is_connected_where_it_was_checked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    resolver = Resolver(["93.184.216.34"], ["127.0.0.1"])
    tried: list[str] = []

    def note(address: tuple[object, ...]) -> socket.socket:
        tried.append(str(address[4][0]))  # type: ignore[index]
        raise OSError("not in a test")

    monkeypatch.setattr(net, "make_resolver", lambda: resolver)
    monkeypatch.setattr(net, "_guarded_socket", note)
    with pytest.raises(Unreachable):
        await net.request("GET", "http://rebind.example/")
    assert (resolver.questions, tried) == (1, ["93.184.216.34"])
    with pytest.raises(BlockedAddress):
        await net.request("GET", "http://rebind.example/")
    assert tried == ["93.184.216.34"]


async def test_last_guard_refuses_the_socket() -> None:
    address = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 80))
    with pytest.raises(OSError, match="private network"):
        net._guarded_socket(address)


async def test_each_redirect_is_checked() -> None:
    async with serving(lambda request: web.Response(text="inside")) as inside:

        def redirect(request: web.Request) -> web.StreamResponse:
            raise web.HTTPFound(inside + "/secret")

        async with serving(redirect) as outside:
            with pytest.raises(BlockedAddress):
                await net.request("GET", outside, trusted_origins=trust(outside))
            both = trust(inside, outside)
            reply = await net.request("GET", outside, trusted_origins=both)
            assert reply.body == b"inside"


@pytest.mark.parametrize(
    "location", ["file:///etc/passwd", "http://user:x@127.0.0.1/", "gopher://x/"]
)
async def test_redirect_to_an_odd_address_is_refused(location: str) -> None:
    def redirect(request: web.Request) -> web.StreamResponse:
        return web.Response(status=302, headers={"Location": location})

    async with serving(redirect) as url:
        with pytest.raises(BadAddress):
            await net.request("GET", url, trusted_origins=trust(url))


async def test_endless_redirects_end() -> None:
    def redirect(request: web.Request) -> web.StreamResponse:
        raise web.HTTPFound("/again")

    async with serving(redirect) as url:
        with pytest.raises(BadAddress, match="too often"):
            await net.request("GET", url, trusted_origins=trust(url))


async def test_key_is_not_sent_on_to_another_origin() -> None:
    seen: list[dict[str, str]] = []

    def note(request: web.Request) -> web.StreamResponse:
        seen.append(dict(request.headers))
        return web.Response()

    async with serving(note) as second:

        def redirect(request: web.Request) -> web.StreamResponse:
            seen.append(dict(request.headers))
            raise web.HTTPTemporaryRedirect(second)

        async with serving(redirect) as first:
            await net.request(
                "POST",
                first,
                headers={
                    "Authorization": "Bearer k",
                    "x-api-key": "k",
                    "Accept": "a/b",
                },
                json_body={},
                trusted_origins=trust(first, second),
            )
    assert seen[0]["Authorization"] == "Bearer k"
    assert not {"Authorization", "x-api-key"} & set(seen[1])
    assert seen[1]["Accept"] == "a/b"


@pytest.mark.parametrize("name", ["Cookie", "X-Forwarded-For", "Referer", "Host"])
async def test_other_headers_do_not_leave(name: str) -> None:
    with pytest.raises(ValueError, match="must not be sent out"):
        await net.request("GET", "https://example.org/", headers={name: "x"})


@pytest.mark.parametrize("key", ["a\r\nX: y", "a\0", "ключ"])
async def test_odd_header_values_do_not_leave(key: str) -> None:
    with pytest.raises(NetError):
        await net.request("GET", "https://example.org/", headers={"Authorization": key})


async def test_cookies_of_hosts_are_forgotten() -> None:
    cookies: list[str] = []

    def note(request: web.Request) -> web.StreamResponse:
        cookies.append(request.headers.get("Cookie", ""))
        return web.Response(headers={"Set-Cookie": "a=b; Path=/"})

    async with serving(note) as url:
        for _ in range(2):
            await net.request("GET", url, trusted_origins=trust(url))
    assert cookies == ["", ""]


async def test_bytes_leave_as_they_are() -> None:
    def length(request: web.Request) -> web.StreamResponse:
        kind = request.headers["Content-Type"]
        return web.json_response([kind, request.content_length])

    form = {"Content-Type": "application/x-www-form-urlencoded"}
    async with serving(length) as url:
        reply = await net.request(
            "POST", url, headers=form, body=b"a=1&b=%20", trusted_origins=trust(url)
        )
    assert reply.json() == [form["Content-Type"], 9]


async def test_size_is_capped() -> None:
    async with serving(lambda request: web.Response(body=b"x" * 5000)) as url:
        with pytest.raises(TooLarge):
            await net.request("GET", url, trusted_origins=trust(url), max_bytes=4999)
        reply = await net.request(
            "GET", url, trusted_origins=trust(url), max_bytes=5000
        )
    assert len(reply.body) == 5000


async def test_packed_bodies_are_not_unpacked() -> None:
    packed = gzip.compress(b"x" * 100_000)

    def send(request: web.Request) -> web.Response:
        return web.Response(body=packed, headers={"Content-Encoding": "gzip"})

    async with serving(send) as url:
        reply = await net.request("GET", url, trusted_origins=trust(url))
    assert reply.body == packed
    assert reply.json() is None


def test_deeply_nested_json_is_none() -> None:
    assert net.Reply(200, {}, b"[" * 200_000).json() is None


async def test_time_is_capped(upstream: object) -> None:
    url = upstream.base_url + "/chat/completions"  # type: ignore[attr-defined]
    with pytest.raises(TookTooLong):
        await net.request(
            "POST",
            url,
            json_body={"model": "hang"},
            trusted_origins=trust(url),
            timeout_s=0.1,
        )


async def test_refused_connection_is_unreachable(unused_tcp_port: int) -> None:
    url = f"http://127.0.0.1:{unused_tcp_port}/"
    with pytest.raises(Unreachable):
        await net.request("GET", url, trusted_origins=trust(url))


async def test_unknown_name_is_unreachable() -> None:
    with pytest.raises(Unreachable, match="no host with this name"):
        await net.request("GET", "http://no-such-name.example/")


async def test_broken_connection_is_cut_off() -> None:
    async def slam(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.abort()

    server = await asyncio.start_server(slam, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    with pytest.raises(CutOff):
        await net.request("GET", url, trusted_origins=trust(url))
    server.close()
    await server.wait_closed()


def test_sessions_close_with_their_loop() -> None:
    async def use() -> aiohttp.ClientSession:
        return await net.session()

    session = asyncio.run(use())
    assert session.closed


async def test_close_ends_both_sessions_and_the_next_call_makes_new_ones() -> None:
    first, trusting = await net.session(), await net.session(guarded=False)
    assert first is await net.session()
    await net.close()
    assert first.closed
    assert trusting.closed
    assert not (await net.session()).closed


async def test_unix_socket_answers_a_line(tmp_path: Path) -> None:
    async def answer(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        line = await reader.readline()
        writer.write(b"you said " + line)
        writer.close()

    path = tmp_path / "s"
    server = await asyncio.start_unix_server(answer, path)
    assert await net.ask_unix_socket(path, "hi", timeout_s=2) == "you said hi"
    server.close()
    with pytest.raises(Unreachable):
        await net.ask_unix_socket(tmp_path / "none", "hi", timeout_s=2)
