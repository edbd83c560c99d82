"""A stand-in for Google on loopback: public keys, access tokens, the Chat API.

It signs events with keys of its own and publishes them where Google does, gives access
tokens to service accounts that it made, and keeps messages as the Chat API does:
``requestId`` makes a repeated post harmless, more than 32,000 bytes are refused, and
a space takes one write a second (``enforce_pace``). ``fail`` makes the next requests
of one kind go wrong. Tests run it in a thread; by hand it is::

    python -m tests.support.google        # prints "ready http://127.0.0.1:PORT"

which shows its messages at ``GET /messages``, gives a service account's key file at
``GET /service-account``, and sends an event to Cortex at ``POST /send``
``{"url", "signed_for": "project"|"url"|"addon", "audience", "event": {…}}``.

Source: developers.google.com/workspace/chat/verify-requests-from-chat,
/workspace/chat/limits, /workspace/chat/api/reference/rest/v1/spaces.messages and
developers.google.com/identity/protocols/oauth2/service-account.
"""

from __future__ import annotations

import json
import sys
import threading
import time
import uuid
from collections import defaultdict, deque
from collections.abc import Callable
from typing import Any

import jwt

from tests.support.google_events import Event, addon, classic
from tests.support.google_http import GoogleServer, Request
from tests.support.google_keys import (
    ADDON_ACCOUNT,
    CHAT,
    CHAT_KEYS,
    OIDC_KEYS,
    OIDC_PATH,
    X509_PATH,
    SigningKey,
    claims_for,
    post_json,
    signing_key,
)

CHAT_BOT_SCOPE = "https://www.googleapis.com/auth/chat.bot"
JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
MAX_BYTES = 32_000
STATUSES = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED"}
STATUSES |= {404: "NOT_FOUND", 429: "RESOURCE_EXHAUSTED", 500: "INTERNAL"}


class GoogleStandIn:
    """The server in a thread of its own; a context manager."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.messages: dict[str, dict[str, Any]] = {}
        """The messages that exist, by name, in the order of their creation."""
        self.enforce_pace = False
        self.max_age_s = 3600
        self.chat_key = signing_key(CHAT_KEYS[0])
        self.oidc_key = signing_key(OIDC_KEYS[0])
        self.oidc_as_jwk = False
        self.before_answer: Callable[[Request], None] | None = None
        self._failures: dict[str, deque[tuple[int, dict[str, str]]]]
        self._failures = defaultdict(deque)
        self._tokens: set[str] = set()
        self._by_request_id: dict[tuple[str, str], str] = {}
        self._last_write: dict[str, float] = {}
        self._lock = threading.Lock()
        self._server = GoogleServer(self)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=[0.02], daemon=True
        )
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> GoogleStandIn:
        """Start it."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End it; its address refuses connections from then on."""
        self._server.shutdown()
        self._server.server_close()

    # --- what tests set and read --------------------------------------------------

    @property
    def settings(self) -> dict[str, str]:
        """The settings that lead Cortex here."""
        return {
            "CORTEX_GOOGLE_CHAT_URL": self.url,
            "CORTEX_GOOGLE_TOKEN_URL": f"{self.url}/token",
            "CORTEX_GOOGLE_CERTS_URL": self.url,
        }

    def service_account(self, key: str = "robot-1") -> str:
        """Return a service account's key file, as the console offers it."""
        return json.dumps(
            {
                "type": "service_account",
                "project_id": "cortex-test",
                "private_key_id": key,
                "private_key": signing_key(key).private_pem,
                "client_email": "robot@cortex-test.iam.gserviceaccount.com",
                "token_uri": "http://127.0.0.1:9/never-used",
            }
        )

    def fail(self, kind: str, *statuses: int, **headers: str) -> None:
        """Let the next requests of a kind fail; 0 cuts the connection."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self._failures[kind].extend((status, named) for status in statuses)

    def forget_tokens(self) -> None:
        """Let every access token given so far be worthless."""
        self._tokens.clear()

    def of(self, *kinds: str) -> list[Request]:
        """Return the requests of these kinds so far, oldest first."""
        return [each for each in list(self.requests) if each.kind in kinds]

    @property
    def texts(self) -> list[str]:
        """The texts that people see, oldest message first."""
        return [str(message["text"]) for message in self.messages.values()]

    def token(self, signed_for: str, audience: str, **changes: Any) -> str:
        """Return the token of an event; ``changes`` replace or (None) drop claims."""
        claims = claims_for(signed_for, audience)
        claims = {k: v for k, v in (claims | changes).items() if v is not None}
        key = self.chat_key if signed_for == "project" else self.oidc_key
        return key.sign(claims)

    def send(
        self,
        url: str,
        event: Event,
        *,
        signed_for: str = "project",
        audience: str,
        dialect: str = "",
        token: str | None = None,
    ) -> tuple[int, Any]:
        """Send an event to Cortex as Google does; return status and JSON."""
        dialect = dialect or ("addon" if signed_for == "addon" else "classic")
        payload = addon(event) if dialect == "addon" else classic(event)
        token = self.token(signed_for, audience) if token is None else token
        return post_json(url, payload, token)

    def by_hand(self, path: str, wish: dict[str, Any]) -> Any:
        """Do what somebody asks who tries things out."""
        if path == "/messages":
            return list(self.messages.values())
        if path == "/service-account":
            return json.loads(self.service_account())
        event = Event(**wish.pop("event", {}))
        status, answer = self.send(wish.pop("url"), event, **wish)
        return {"status": status, "answer": answer}

    # --- what Google does ---------------------------------------------------------

    def answer(self, request: Request) -> tuple[int, Any, dict[str, str]]:
        """Return status, JSON and headers for one request."""
        if self.before_answer is not None:
            self.before_answer(request)
        with self._lock:
            self.requests.append(request)
            if self._failures[request.kind]:
                status, headers = self._failures[request.kind].popleft()
                return status, _error(status), headers
            if request.kind == "keys":
                return self._keys(request.path)
            if request.kind == "token":
                return self._token(request)
            if request.kind == "create":
                return self._checked(request, self._create)
            if request.kind in {"patch", "delete"}:
                return self._checked(request, self._change)
            return 404, _error(404), {}

    def _keys(self, path: str) -> tuple[int, Any, dict[str, str]]:
        headers = {"Cache-Control": f"public, max-age={self.max_age_s}"}
        if path == X509_PATH:
            return 200, {self.chat_key.kid: self.chat_key.certificate_pem}, headers
        if path == OIDC_PATH:
            key = self.oidc_key
            if self.oidc_as_jwk:
                return 200, {"keys": [key.jwk]}, headers
            return 200, {key.kid: key.certificate_pem}, headers
        return 404, _error(404), {}

    def _token(self, request: Request) -> tuple[int, Any, dict[str, str]]:
        """Check the assertion as Google does; a form is the only thing it takes."""
        try:
            assert request.body["grant_type"] == JWT_BEARER
            assertion = request.body["assertion"]
            kid = jwt.get_unverified_header(assertion)["kid"]
            claims = jwt.decode(
                assertion,
                signing_key(kid).public,
                algorithms=["RS256"],
                audience=f"{self.url}/token",
                options={"require": ["iss", "aud", "iat", "exp", "scope"]},
            )
            assert claims["scope"] == CHAT_BOT_SCOPE
            assert claims["iss"].endswith(".iam.gserviceaccount.com")
            assert claims["exp"] - claims["iat"] <= 3600
        except (AssertionError, KeyError, TypeError, jwt.InvalidTokenError):
            return 400, {"error": "invalid_grant", "error_description": "No."}, {}
        token = f"ya29.{uuid.uuid4().hex}"
        self._tokens.add(token)
        answer = {"access_token": token, "expires_in": 3599, "token_type": "Bearer"}
        return 200, answer, {}

    def _checked(
        self,
        request: Request,
        act: Callable[[Request], tuple[int, Any, dict[str, str]]],
    ) -> tuple[int, Any, dict[str, str]]:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme != "Bearer" or token not in self._tokens:
            return 401, _error(401), {}
        now, last = time.monotonic(), self._last_write.get(request.space, -60.0)
        # A busy machine may hold one write up longer than the next one.
        if self.enforce_pace and now - last < 0.6:
            return 429, _error(429), {}
        self._last_write[request.space] = now
        if len(json.dumps(request.body, ensure_ascii=False).encode()) > MAX_BYTES + 400:
            return 400, _error(400), {}
        if len(request.text.encode()) > MAX_BYTES:
            return 400, _error(400), {}
        return act(request)

    def _create(self, request: Request) -> tuple[int, Any, dict[str, str]]:
        space, request_id = request.space, request.query.get("requestId", "")
        if not request.text.strip():
            return 400, _error(400), {}
        if request_id and (space, request_id) in self._by_request_id:
            name = self._by_request_id[space, request_id]
            known = self.messages.get(name)
            return (200, known, {}) if known else (404, _error(404), {})
        name = f"{space}/messages/{uuid.uuid4().hex[:11]}.own"
        thread = request.body.get("thread", {}).get("name", "")
        option = request.query.get("messageReplyOption", "")
        if not thread or option != "REPLY_MESSAGE_FALLBACK_TO_NEW_THREAD":
            thread = f"{space}/threads/{uuid.uuid4().hex[:11]}"
        message = {"name": name, "text": request.text, "thread": {"name": thread}}
        self.messages[name] = message
        if request_id:
            self._by_request_id[space, request_id] = name
        return 200, message, {}

    def _change(self, request: Request) -> tuple[int, Any, dict[str, str]]:
        message = self.messages.get(request.path.removeprefix("/v1/"))
        if message is None:
            return 404, _error(404), {}
        if request.kind == "delete":
            del self.messages[message["name"]]
            return 200, {}, {}
        if request.query.get("updateMask") != "text" or not request.text.strip():
            return 400, _error(400), {}
        message["text"] = request.text
        return 200, message, {}


def _error(status: int) -> dict[str, Any]:
    name = STATUSES.get(status, "UNAVAILABLE")
    return {"error": {"code": status, "message": "It is so.", "status": name}}


def serve_until_input_ends() -> None:
    """Serve, print the address, and return when standard input is closed."""
    with GoogleStandIn() as google:
        sys.stdout.write(f"ready {google.url}\n")
        sys.stdout.flush()
        sys.stdin.read()


__all__ = ["ADDON_ACCOUNT", "CHAT", "Event", "GoogleStandIn", "Request", "SigningKey"]

if __name__ == "__main__":
    serve_until_input_ends()
