"""A Nextcloud Talk on loopback that knows one bot, as strict as the real one.

It checks what a bot sends (headers, signature over the text alone, feature
``response``, the message replied to, the length), answers with the codes of the real
server, keeps what it got, and sends signed events to a bot's address, written as PHP
writes JSON. It runs in a thread of the test (``Nextcloud``), or in a process of its
own, which ends with its standard input, shows its journal at ``GET /journal`` and
sends a message to a bot at ``POST /send`` (see ``nextcloud_by_hand``)::

    python -m tests.support.nextcloud [SECRET]      # prints "ready http://127.0.0.1:…"
    curl -d '{"address": "http://…/webhook/nextcloud/alice", "text": "Hi"}' URL/send

``behave`` makes the next requests go wrong, one word each:

====================  ===============================================================
``ok``                nothing goes wrong
``slow-S``            the answer comes after S seconds
``hang``              the request is taken and never answered
``status-NNN``        HTTP NNN, nothing happens; ``status-429-S`` says to wait S s
``cut``               the connection breaks, nothing happened
``cut-after``         the connection breaks after the message was posted
``redirect``          HTTP 301 to another address
====================  ===============================================================

Ten wrong signatures make it answer 429 to everything, as the brute-force protection of
the real one does, until ``forgive`` is called.

Source: https://nextcloud-talk.readthedocs.io/en/latest/bots/
"""

from __future__ import annotations

import asyncio
import hmac
import json
import ssl
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from aiohttp import web

from tests.support import nextcloud_by_hand
from tests.support.nextcloud_events import (
    ROOM,
    Answer,
    Events,
    deliver,
    new_random,
    php_json,
    sign,
)

__all__ = ["ROOM", "Answer", "Nextcloud", "deliver", "new_random", "php_json", "sign"]

SECRET: Final = "tests-only-shared-secret-of-a-talk-bot-0123456789"
MAX_LENGTH: Final = 32_000
MAX_WRONG: Final = 10
WEBHOOK, RESPONSE, REACTION = 1, 2, 8
API: Final = "/ocs/v2.php/apps/spreed/api/v1"
WHITESPACE: Final = " \t\n\r\0\x0b"
"""What PHP's ``trim`` removes."""


@dataclass(frozen=True)
class Post:
    """A message that the bot posted."""

    id: int
    room: str
    text: str
    reply_to: int
    reference_id: str
    silent: bool


@dataclass
class Call:
    """A request that came in, with the status it got (None: none)."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    status: int | None = None

    @property
    def json(self) -> Any:
        """The body decoded."""
        return json.loads(self.body or b"null")


@dataclass
class Bot:
    """The bot as the server has it."""

    secret: str
    features: int = WEBHOOK | RESPONSE | REACTION
    rooms: set[str] = field(default_factory=lambda: {ROOM})


class Nextcloud(Events):
    """The server in a thread of its own; a context manager.

    Attributes:
        bot: What is checked and may be changed: secret, features, rooms.
        calls: Every request, oldest first.
        posts: The messages that the bot posted, oldest first.
        reactions: The bot's reactions that stand now, as (room, message id, emoji).
        reaction_log: All changes of them, ``("+", room, id, emoji)`` or ``("-", …)``.
        backend: What the header ``X-Nextcloud-Talk-Backend`` says.
    """

    def __init__(
        self, secret: str = SECRET, *, certificate: ssl.SSLContext | None = None
    ) -> None:
        super().__init__()
        self.bot = Bot(secret)
        self.calls: list[Call] = []
        self.posts: list[Post] = []
        self.reactions: list[tuple[str, int, str]] = []
        self.reaction_log: list[tuple[str, str, int, str]] = []
        self.gone_rooms: set[str] = set()
        self.features_api = True
        self.backend: str | None = None
        self.port = 0
        self._certificate = certificate
        self._script: deque[str] = deque()
        self._wrong = 0
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="nextcloud", daemon=True)
        self._loop: asyncio.AbstractEventLoop
        self._stop: asyncio.Event

    # --- life ------------------------------------------------------------------------

    def __enter__(self) -> Nextcloud:
        """Start it and wait until it listens."""
        self._thread.start()
        assert self._ready.wait(5), "The stand-in did not start."
        return self

    def __exit__(self, *_: object) -> None:
        """End all connections and the thread."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(5)

    @property
    def url(self) -> str:
        """What the person types into the settings."""
        scheme = "https" if self._certificate else "http"
        return f"{scheme}://127.0.0.1:{self.port}"

    def behave(self, *words: str) -> None:
        """Let the next requests behave so, one word each, and the rest well."""
        self._script = deque(words)

    def forgive(self) -> None:
        """Forget the wrong signatures."""
        self._wrong = 0

    def wait_for(
        self, condition: Callable[[], Any], *, within_s: float = 10, what: str = "it"
    ) -> Any:
        """Return the first true value of ``condition``."""
        deadline = time.monotonic() + within_s
        while not (value := condition()):
            if time.monotonic() > deadline:
                seen = [(call.method, call.path, call.status) for call in self.calls]
                raise AssertionError(f"Waited in vain for {what}; requests: {seen}")
            time.sleep(0.01)
        return value

    def wait_for_posts(self, count: int, *, within_s: float = 10) -> list[Post]:
        """Return the bot's messages as soon as there are so many."""
        return list(
            self.wait_for(
                lambda: len(self.posts) >= count and self.posts,
                within_s=within_s,
                what=f"{count} messages",
            )
        )

    # --- sending events --------------------------------------------------------------

    def signed(
        self,
        event: dict[str, Any] | bytes,
        *,
        random: str | None = None,
        secret: str | None = None,
    ) -> tuple[bytes, dict[str, str]]:
        """Return body and headers of the request that carries an event."""
        body = event if isinstance(event, bytes) else php_json(event)
        random = random or new_random()
        backend = f"{self.url}/" if self.backend is None else self.backend
        return body, {
            "Content-Type": "application/json",
            "OCS-APIRequest": "true",
            "X-Nextcloud-Talk-Random": random,
            "X-Nextcloud-Talk-Signature": sign(secret or self.bot.secret, random, body),
            "X-Nextcloud-Talk-Backend": backend,
        }

    def send(
        self,
        address: str,
        event: dict[str, Any] | bytes,
        *,
        random: str | None = None,
        secret: str | None = None,
    ) -> Answer:
        """Send a signed event to the bot, once, with Nextcloud's five seconds."""
        return deliver(address, *self.signed(event, random=random, secret=secret))

    def say(self, address: str, text: str, **fields: Any) -> Answer:
        """Write a message as a person (see ``message``) and tell the bot."""
        return self.send(address, self.message(text, bot_url=address, **fields))

    # --- the server ------------------------------------------------------------------

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        app = web.Application(client_max_size=8 * 1024 * 1024)
        app.router.add_route("*", "/{path:.*}", self._answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(
            runner, "127.0.0.1", 0, ssl_context=self._certificate, backlog=1024
        )
        await site.start()
        self.port = runner.addresses[0][1]
        self._ready.set()
        await self._stop.wait()
        await runner.cleanup()
        await asyncio.sleep(0.02)  # aborted connections are closed a moment later

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if request.path in nextcloud_by_hand.PATHS:
            return await nextcloud_by_hand.answer(self, request)
        call = Call(
            request.method, request.path, dict(request.headers), await request.read()
        )
        self.calls.append(call)
        word = self._script.popleft() if self._script else "ok"
        if word == "cut" and request.transport:
            request.transport.abort()
            return web.Response()
        if word == "hang":
            await asyncio.sleep(3600)
        if word.startswith("slow-"):
            await asyncio.sleep(float(word.removeprefix("slow-")))
        response = self._out_of_order(word) or self._act(request, call)
        if word == "cut-after" and request.transport:
            request.transport.abort()
            return web.Response()
        call.status = response.status
        return response

    def _out_of_order(self, word: str) -> web.Response | None:
        if word == "redirect":
            return web.Response(status=301, headers={"Location": f"{self.url}/other/"})
        if not word.startswith("status-"):
            return None
        status, _, wait_s = word.removeprefix("status-").partition("-")
        headers = {"Retry-After": wait_s} if wait_s else {}
        return web.Response(status=int(status), headers=headers, text="out of order")

    def _act(self, request: web.Request, call: Call) -> web.Response:
        if request.headers.get("OCS-APIRequest") != "true":
            return _ocs(request, 412, None)
        if request.path == "/ocs/v2.php/cloud/capabilities":
            return _ocs(request, 200, _CAPABILITIES)
        if self._wrong >= MAX_WRONG:
            return _ocs(request, 429, None)
        parts = request.path.removeprefix(f"{API}/bot/").split("/")
        try:
            data = json.loads(call.body or b"{}")
        except ValueError:
            return _ocs(request, 400, None)
        status, value = self._route(request, parts, data)
        if status == 401:
            self._wrong += 1
        return _ocs(request, status, value)

    def _route(
        self, request: web.Request, parts: Sequence[str], data: dict[str, Any]
    ) -> tuple[int, Any]:
        match (request.method, *parts):
            case ("POST", "ask-features") if self.features_api:
                return self._features(request, str(data.get("token", "")))
            case ("POST", room, "message"):
                return self._post(request, room, data), None
            case ("POST", room, "reaction", number):
                return self._react(request, room, int(number), data), None
            case ("DELETE", room, "reaction", number):
                return self._unreact(request, room, int(number), data), None
        return 404, None

    def _features(self, request: web.Request, room: str) -> tuple[int, Any]:
        status = self._refusal(request, room, room, needed=0)
        return (status, None) if status else (200, {"features": self.bot.features})

    def _refusal(
        self, request: web.Request, room: str, signed: str, *, needed: int = RESPONSE
    ) -> int:
        """Return the status of a refusal, 0 where the bot may do it."""
        random = request.headers.get("X-Nextcloud-Talk-Bot-Random", "")
        given = request.headers.get("X-Nextcloud-Talk-Bot-Signature", "")
        if len(random) < 32 or not given:
            return 400
        expected = sign(self.bot.secret, random, signed.encode())
        known = room in self.bot.rooms and self.bot.features & needed == needed
        if not known or not hmac.compare_digest(expected, given.lower()):
            return 401
        return 404 if room in self.gone_rooms else 0

    def _post(self, request: web.Request, room: str, data: dict[str, Any]) -> int:
        text, reply_to = str(data.get("message", "")), int(data.get("replyTo") or 0)
        if not text.strip(WHITESPACE):
            return 400
        if status := self._refusal(request, room, text):
            return status
        if reply_to and self._messages.get(reply_to) != room:
            return 400
        if len(text) > MAX_LENGTH:
            return 413
        number = self.new_message_id(room)
        reference, silent = data.get("referenceId", ""), data.get("silent", False)
        self.posts.append(Post(number, room, text, reply_to, reference, silent))
        return 201

    def _react(
        self, request: web.Request, room: str, number: int, data: dict[str, Any]
    ) -> int:
        emoji = str(data.get("reaction", ""))
        if status := self._refusal(request, room, emoji):
            return status
        if self._messages.get(number) != room:
            return 404
        if (room, number, emoji) in self.reactions:
            return 200
        self.reactions.append((room, number, emoji))
        self.reaction_log.append(("+", room, number, emoji))
        return 201

    def _unreact(
        self, request: web.Request, room: str, number: int, data: dict[str, Any]
    ) -> int:
        emoji = str(data.get("reaction", ""))
        if status := self._refusal(request, room, emoji):
            return status
        if (room, number, emoji) not in self.reactions:
            return 404
        self.reactions.remove((room, number, emoji))
        self.reaction_log.append(("-", room, number, emoji))
        return 200


_CAPABILITIES: Final = {
    "version": {"major": 32, "string": "32.0.1"},
    "capabilities": {
        "spreed": {
            "features": ["bots-v1"],
            "config": {"chat": {"max-length": MAX_LENGTH}},
        }
    },
}


def _ocs(request: web.Request, status: int, data: Any) -> web.Response:
    """Return an answer of the OCS API: JSON if it was asked for, else XML."""
    if "application/json" not in request.headers.get("Accept", ""):
        text = f"<ocs><meta><statuscode>{status}</statuscode></meta></ocs>"
        return web.Response(status=status, text=text, content_type="text/xml")
    meta = {"status": "ok" if status < 400 else "failure", "statuscode": status}
    return web.json_response({"ocs": {"meta": meta, "data": data}}, status=status)


def main(secret: str = SECRET) -> None:
    """Serve until standard input ends."""
    with Nextcloud(secret) as server:
        sys.stdout.write(f"ready {server.url}\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
