"""The only door out: every outgoing connection of Cortex is opened here.

Two aiohttp sessions per event loop share nothing: one for origins that the caller
trusts (hosts saved by an administrator), and a guarded one for all others, which
refuses every address that is not public. The guarded connector resolves a name
itself, checks each address and connects to exactly those, so that a name cannot
change its meaning between check and use. Redirects are followed only by ``request``,
each checked like a new address and without the caller's secrets on another origin.

Bodies are asked for as they are and never unpacked, so that a small answer cannot grow
beyond the limits. Only listed headers leave the house; there are no cookies and no
proxies from the environment. Sessions close with their event loop, or by ``close()``.

Source: aiohttp documentation, "Advanced Client Usage" (connectors, resolvers).
"""

from __future__ import annotations

import asyncio
import errno
import json
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from weakref import WeakKeyDictionary

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver
from yarl import URL

from routing.addresses import (
    is_public,
    origin_of_url,
    parse_url,
    refuse_private_literal,
)
from routing.errors import (
    BadAddress,
    BadCertificate,
    BlockedAddress,
    CutOff,
    NetError,
    NotAccepted,
    TookTooLong,
    TooLarge,
    Unreachable,
)

ALLOWED_HEADERS: Final = frozenset(
    {
        "accept",
        "anthropic-version",
        "authorization",
        "content-type",
        "ocs-apirequest",
        "user-agent",
        "webhook-id",
        "webhook-signature",
        "webhook-timestamp",
        "x-api-key",
        "x-goog-api-key",
        "x-nextcloud-talk-backend",
        "x-nextcloud-talk-bot-random",
        "x-nextcloud-talk-bot-signature",
        "x-nextcloud-talk-random",
        "x-nextcloud-talk-signature",
    }
)
SECRET_HEADERS: Final = frozenset(
    {
        "authorization",
        "x-api-key",
        "x-goog-api-key",
        "x-nextcloud-talk-bot-signature",
        "x-nextcloud-talk-signature",
    }
)
"""Never sent on to another origin by a redirect."""
REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
CONNECT_S: Final = 5.0
KEEPALIVE_S: Final = 4.0
"""Below the five seconds after which common servers drop idle connections."""
MAX_STREAM_BYTES: Final = 256 * 1024 * 1024


class _GuardedResolver(AbstractResolver):
    """Resolve a name and refuse it if any of its addresses is not public."""

    def __init__(self, inner: AbstractResolver) -> None:
        self._inner = inner

    async def resolve(
        self,
        host: str,
        port: int = 0,
        family: socket.AddressFamily = socket.AF_UNSPEC,
    ) -> list[ResolveResult]:
        """Return the checked addresses; the connector uses these and no others."""
        results = await self._inner.resolve(host, port, family)
        if not all(is_public(result["host"]) for result in results):
            raise BlockedAddress
        return results

    async def close(self) -> None:
        """Release the inner resolver."""
        await self._inner.close()


def _guarded_socket(address: tuple[Any, ...]) -> socket.socket:
    """Make the socket for one address, the last place where it can be refused."""
    family, kind, protocol, _, sockaddr = address
    if not is_public(sockaddr[0]):
        raise OSError(errno.EACCES, BlockedAddress.sentence)
    return socket.socket(family=family, type=kind, proto=protocol)


class _Sessions:
    """The trusting and the guarded session of one event loop."""

    def __init__(self) -> None:
        self.trusting = self._session(
            aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEPALIVE_S)
        )
        self.guarded = self._session(
            aiohttp.TCPConnector(
                limit=0,
                keepalive_timeout=KEEPALIVE_S,
                use_dns_cache=False,
                resolver=_GuardedResolver(make_resolver()),
                socket_factory=_guarded_socket,
            )
        )
        self._lifetime = self._until_closed()

    async def start(self) -> None:
        """Tie the sessions to the loop: it closes its generators when it ends."""
        await anext(self._lifetime)

    async def close(self) -> None:
        """Close both sessions; idle connections end at once."""
        await self._lifetime.aclose()

    async def _until_closed(self) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            await self.trusting.close()
            await self.guarded.close()

    @staticmethod
    def _session(connector: aiohttp.TCPConnector) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"Accept-Encoding": "identity", "User-Agent": "Cortex"},
            timeout=aiohttp.ClientTimeout(total=None),
            auto_decompress=False,
            trust_env=False,
        )


_SESSIONS: WeakKeyDictionary[asyncio.AbstractEventLoop, _Sessions] = WeakKeyDictionary()


def make_resolver() -> AbstractResolver:
    """Return the resolver behind the guard; tests replace it by a treacherous one."""
    return ThreadedResolver()


async def session(*, guarded: bool = True) -> aiohttp.ClientSession:
    """Return the running loop's shared session, made on first use."""
    loop = asyncio.get_running_loop()
    sessions = _SESSIONS.get(loop)
    if sessions is None:
        sessions = _SESSIONS[loop] = _Sessions()
        await sessions.start()
    return sessions.guarded if guarded else sessions.trusting


async def close() -> None:
    """Close the running loop's sessions; the next call makes new ones."""
    sessions = _SESSIONS.pop(asyncio.get_running_loop(), None)
    if sessions is not None:
        await sessions.close()


class Stream:
    """An answer that is being received; ``read`` gives whatever the network brought."""

    __slots__ = ("_bytes_left", "_content", "headers", "status")

    def __init__(self, response: aiohttp.ClientResponse, max_bytes: int) -> None:
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers
        self._content = response.content
        self._bytes_left = max_bytes

    async def read(self) -> bytes:
        """Return the next bytes as they arrived, ``b""`` at the end.

        Raises:
            CutOff: The connection broke.
            TooLarge: More bytes came than allowed.
        """
        try:
            data = await self._content.readany()
        except (aiohttp.ClientError, OSError):
            raise CutOff from None
        self._bytes_left -= len(data)
        if self._bytes_left < 0:
            raise TooLarge
        return data

    async def read_all(self, max_bytes: int) -> bytes:
        """Return the whole body, at most ``max_bytes`` of it.

        Raises:
            TooLarge: The body is larger.
        """
        body = bytearray()
        while data := await self.read():
            body += data
            if len(body) > max_bytes:
                raise TooLarge
        return bytes(body)


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """Return the body as JSON, ``None`` if it is none."""
        try:
            return parse_json(self.body)
        except ValueError:
            return None


def parse_json(text: str | bytes) -> Any:
    """Return what a host's JSON says.

    Raises:
        ValueError: It is none, or nested deeper than anything of use.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("The JSON is nested too deep.") from None


@asynccontextmanager
async def stream(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    json_body: Any = None,
    body: bytes | None = None,
    trusted_origins: frozenset[str] = frozenset(),
    connect_s: float = CONNECT_S,
    max_bytes: int = MAX_STREAM_BYTES,
) -> AsyncIterator[Stream]:
    """Send one request and hand over its answer while it arrives.

    Follows no redirects and limits only the time to connect; the caller limits how
    long it waits for the answer. Leaving the context ends the connection at once,
    unless the answer was read to its end. ``body`` is sent as it is, instead of
    ``json_body``; its ``Content-Type`` stands in ``headers``.

    Raises:
        NetError: See ``routing.errors``; ``Unreachable``, ``BadAddress`` and
            ``BlockedAddress`` mean that nothing was sent.
    """
    target = parse_url(url)
    trusted = origin_of_url(target) in trusted_origins
    if not trusted:
        refuse_private_literal(target)
    data = body if json_body is None else _encode(json_body)
    with _translated():
        response = await (await session(guarded=not trusted)).request(
            method,
            target,
            data=data,
            headers=_clean(headers or {}, has_body=data is not None),
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=None, connect=connect_s),
        )
    try:
        yield Stream(response, max_bytes)
    finally:
        if response.content.at_eof():
            response.release()
        else:
            response.close()


async def request(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    json_body: Any = None,
    body: bytes | None = None,
    trusted_origins: frozenset[str] = frozenset(),
    timeout_s: float = 20.0,
    max_bytes: int = 2 * 1024 * 1024,
    max_redirects: int = 5,
) -> Reply:
    """Send one request and return its whole answer, following checked redirects.

    Raises:
        NetError: See ``routing.errors``.
    """
    headers = dict(headers or {})
    try:
        async with asyncio.timeout(timeout_s):
            for _ in range(max_redirects + 1):
                async with stream(
                    method,
                    url,
                    headers=headers,
                    json_body=json_body,
                    body=body,
                    trusted_origins=trusted_origins,
                    max_bytes=max_bytes,
                ) as answer:
                    location = answer.headers.get("Location", "")
                    if answer.status not in REDIRECTS or not location:
                        whole = await answer.read_all(max_bytes)
                        return Reply(answer.status, answer.headers, whole)
                if answer.status == 303 or (
                    answer.status in {301, 302} and method == "POST"
                ):
                    method, json_body, body = "GET", None, None
                url, headers = _redirected(url, location, headers)
    except TimeoutError:
        raise TookTooLong from None
    raise BadAddress("The address redirects too often.")


async def ask_unix_socket(path: Path, line: str, *, timeout_s: float) -> str:
    """Send one line to a Unix socket on this machine and return the line it answers.

    Raises:
        Unreachable: Nobody listens there, or it closed without an answer.
        TookTooLong: No answer came in time.
    """
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_unix_connection(path)
            try:
                writer.write(line.encode() + b"\n")
                await writer.drain()
                answer = await reader.readline()
            finally:
                writer.close()
    except TimeoutError:
        raise TookTooLong from None
    except OSError:
        raise Unreachable from None
    if not answer:
        raise Unreachable
    return answer.decode(errors="replace").strip()


def _redirected(
    url: str, location: str, headers: dict[str, str]
) -> tuple[str, dict[str, str]]:
    """Return the next address and the headers that may go there."""
    here = URL(url)
    try:
        there = here.join(URL(location))
    except ValueError:
        raise BadAddress from None
    if here.scheme == "https" and there.scheme != "https":
        raise BadAddress("The address redirects from https to another scheme.")
    if origin_of_url(parse_url(str(there))) != origin_of_url(here):
        headers = {
            name: value
            for name, value in headers.items()
            if name.lower() not in SECRET_HEADERS
        }
    return str(there), headers


def _clean(headers: Mapping[str, str], *, has_body: bool) -> dict[str, str]:
    """Return the headers that may leave; anything else is a mistake in Cortex."""
    unknown = [name for name in headers if name.lower() not in ALLOWED_HEADERS]
    if unknown:
        raise ValueError(f"Header {unknown[0]!r} must not be sent out.")
    if any(
        not value.isprintable() or not value.isascii() for value in headers.values()
    ):
        raise BadAddress("The key holds characters that no key can have.")
    return (
        {"Content-Type": "application/json", **headers} if has_body else dict(headers)
    )


def _encode(body: Any) -> bytes:
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode(
        errors="replace"
    )


@contextmanager
def _translated() -> Any:
    """Turn aiohttp's errors on opening into those of ``routing.errors``."""
    try:
        yield
    except (aiohttp.ConnectionTimeoutError, aiohttp.SocketTimeoutError):
        raise NotAccepted from None
    except aiohttp.ClientConnectorCertificateError as error:
        why = getattr(error.certificate_error, "verify_message", "")
        raise BadCertificate(why=str(why)) from None
    except aiohttp.ClientSSLError:
        raise Unreachable("The host's certificate is not valid.") from None
    except aiohttp.ClientConnectorDNSError:
        raise Unreachable("There is no host with this name.") from None
    except aiohttp.ClientConnectorError as error:
        if error.os_error.errno == errno.EACCES:
            raise BlockedAddress from None
        raise Unreachable from None
    except aiohttp.InvalidURL:
        raise BadAddress from None
    except NetError:
        raise
    except (aiohttp.ClientError, OSError):
        raise CutOff from None
