"""The API: S4, S24, S32, S33, S36, and its limits."""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.db import connection
from django.middleware.csrf import get_token
from django.test import AsyncClient, Client, RequestFactory
from django.test.utils import CaptureQueriesContext
from django.urls import URLPattern, get_resolver

from accounts import people, tokens
from accounts.models import ApiToken, AuditEvent, User
from accounts.roles import set_role
from channels_app.api import auth, limits
from personas.models import Message
from tests.support.api import Api, api_of
from tests.support.chat import session_for
from tests.support.chat_fixtures import *  # noqa: F403
from tests.support.processes import ServerProcess

ROOT = Path(settings.BASE_DIR)
CALLS: list[tuple[str, str, dict[str, Any] | None]] = [
    ("post", "/chat", {"persona": "inara", "text": "x", "model": "scripted"}),
    ("get", "/chat/00000000-0000-4000-8000-000000000000", None),
    ("post", "/task", {"task": "x", "force_tier": 1}),
    ("post", "/queue", {"task": "x"}),
    ("get", "/queue", None),
    ("get", "/queue/00000000-0000-4000-8000-000000000000", None),
    ("post", "/queue/00000000-0000-4000-8000-000000000000/cancel", None),
    ("post", "/queue/00000000-0000-4000-8000-000000000000/retry", None),
    ("get", "/ledger", None),
    ("get", "/ledger/stats", None),
    ("get", "/status", None),
    ("get", "/v1/models", None),
    (
        "post",
        "/v1/chat/completions",
        {"model": "inara", "messages": [{"role": "user", "content": "x"}]},
    ),
]
"""Every call, with a body that it takes."""
EVERY_CALL = pytest.mark.parametrize(
    ("method", "path", "body"), CALLS, ids=[f"{call[0]} {call[1]}" for call in CALLS]
)
SCOPE_OF = {"task": "task", "queue": "task", "ledger": "ledger", "status": "ledger"}
"""By the first part of an address; elsewhere it is ``chat``."""


async def call(api: Api, method: str, path: str, body: Any, **headers: str) -> Any:
    """Make one of the calls."""
    if method == "get":
        return await api.get(path, **headers)
    return await api.post(path, body, **headers)


def error_of(response: Any) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["code"]


def patterns_of(resolver: Any, prefix: str = "") -> Iterator[tuple[str, URLPattern]]:
    for pattern in resolver.url_patterns:
        route = prefix + str(pattern.pattern)
        if isinstance(pattern, URLPattern):
            yield route, pattern
        else:
            yield from patterns_of(pattern, route)


# --- S4: one way in, scopes, their end ----------------------------------------


@EVERY_CALL
@pytest.mark.usefixtures("turns_running", "persona", "scripted")
async def test_s04_nobody_gets_in_without_a_token(
    method: str, path: str, body: Any, seen: Any
) -> None:
    for headers in ({}, {"authorization": "Basic YTpi"}, {"x-api-key": "ctx_a_b"}):
        response = await call(Api(), method, path, body, **headers)
        assert response.status_code == 401
        assert response.headers["WWW-Authenticate"] == "Bearer"
        assert set(response.json()) == {"error"}
    assert await seen(Message.objects.count) == 0


@EVERY_CALL
@pytest.mark.usefixtures("turns_running", "persona", "scripted")
async def test_s04_each_call_needs_its_scope(
    alice: User, method: str, path: str, body: Any
) -> None:
    needed = SCOPE_OF.get(path.split("/")[1], "chat")
    others = [scope for scope in tokens.SCOPES if scope != needed]

    refused = await call(await api_of(alice, scopes=others), method, path, body)
    taken = await call(await api_of(alice, scopes=[needed]), method, path, body)

    assert refused.status_code == 403
    assert needed in refused.json()["error"]["message"]
    assert taken.status_code in {200, 404}
    if taken.streaming:
        async for _ in taken.streaming_content:
            pass


@pytest.mark.parametrize("header", ["authorization", "x-api-key"])
async def test_s04_both_headers_lead_to_the_same_person(
    transactional_db: None, alice: User, header: str, seen: Any
) -> None:
    raw = await seen(lambda: tokens.create_token(alice))
    value = f"Bearer {raw}" if header == "authorization" else raw

    response = await Api().get("/ledger", **{header: value})

    assert response.status_code == 200


async def test_s04_a_wrong_token_is_not_mended_by_a_session(
    transactional_db: None, alice: User, seen: Any
) -> None:
    api = Api("ctx_wrong")
    api.client.cookies[settings.SESSION_COOKIE_NAME] = await seen(session_for, alice)

    assert error_of(await api.get("/status")) == (401, "unauthenticated")


@pytest.mark.parametrize("end", ["revoke", "expire", "deactivate", "delete"])
async def test_s04_an_ended_token_opens_nothing(
    transactional_db: None, alice: User, seen: Any, end: str
) -> None:
    api = await api_of(alice, days=1)
    assert (await api.get("/ledger")).status_code == 200
    ends = {
        "revoke": lambda: tokens.revoke_token(ApiToken.objects.get(), actor=alice),
        "expire": lambda: ApiToken.objects.update(expires_at="2020-01-01T00:00Z"),
        "deactivate": lambda: people.deactivate(alice),
        "delete": lambda: alice.delete(),
    }

    await seen(ends[end])

    assert error_of(await api.get("/ledger")) == (401, "unauthenticated")


@pytest.mark.django_db
def test_s04_a_token_has_never_more_than_its_person(admin_user: User) -> None:
    raw = tokens.create_token(admin_user, scopes=tokens.ALL_SCOPES)
    assert tokens.grant_of(raw).scopes == set(tokens.ALL_SCOPES)

    set_role(admin_user, is_admin=False)
    assert tokens.grant_of(raw).scopes == set(tokens.SCOPES)

    set_role(admin_user, is_admin=True)
    assert tokens.grant_of(raw).scopes == set(tokens.ALL_SCOPES)


def test_s04_one_function_recognises_every_caller() -> None:
    """Routes name their scopes with ``Auth`` and nothing else reads credentials."""
    folder = ROOT / "channels_app" / "api"
    for path in folder.glob("*.py"):
        text = path.read_text(encoding="utf-8")
        if path.name != "auth.py":
            assert "presented_token" not in text and "grant_of" not in text, path.name
            assert "COOKIES" not in text, path.name
        for router in re.findall(r"Router\([^)]*\)+", text):
            assert "auth=Auth(" in router, f"{path.name}: {router}"


# --- S24: tokens in headers alone ---------------------------------------------


@pytest.mark.parametrize("name", ["token", "access_token", "api_key", "authorization"])
async def test_s24_a_token_in_the_address_counts_for_nothing(
    transactional_db: None, alice: User, name: str, seen: Any
) -> None:
    raw = await seen(lambda: tokens.create_token(alice))

    response = await Api().get(f"/ledger?{name}={raw}")

    assert error_of(response) == (401, "unauthenticated")


@EVERY_CALL
@pytest.mark.usefixtures("turns_running", "persona", "scripted")
async def test_s24_no_token_and_no_text_reaches_the_log(
    alice: User, caplog: pytest.LogCaptureFixture, method: str, path: str, body: Any
) -> None:
    caplog.set_level(logging.DEBUG)
    api = await api_of(alice)
    secret = api.headers["authorization"].rpartition("_")[2]
    if body is not None:
        field = next(name for name in ("text", "task", "messages") if name in body)
        canary = "canary-of-the-log"
        value: Any = canary
        if field == "messages":
            value = [{"role": "user", "content": canary}]
        body = body | {field: value}

    for extra in ({}, {"authorization": f"{api.headers['authorization']}x"}):
        response = await call(api, method, path, body, **extra)
        if response.streaming:
            async for _ in response.streaming_content:
                pass

    said = "\n".join(
        f"{record.getMessage()} {record.exc_text or ''}"
        for record in caplog.records
        if not record.name.startswith("django.db")
    )
    assert secret not in said
    assert "canary-of-the-log" not in said


# --- S32: the CSRF token for callers with a cookie ----------------------------


def test_s32_only_the_bots_and_the_api_are_exempt() -> None:
    exempt = {
        route
        for route, pattern in patterns_of(get_resolver())
        if getattr(pattern.callback, "csrf_exempt", False)
    }

    assert exempt == {
        "webhook/nextcloud/<str:username>",
        "channels/google-chat/<str:username>",
        "chat",
        "chat/<uuidstr:turn>",
        "task",
        "queue",
        "queue/<task_id>",
        "queue/<task_id>/cancel",
        "queue/<task_id>/retry",
        "ledger",
        "ledger/stats",
        "status",
        "metrics",
        "v1/models",
        "v1/models/<model>",
        "v1/chat/completions",
    }


async def browser_of(user: User, seen: Any) -> tuple[Api, str]:
    """Return a browser that checks CSRF as in earnest, and its token."""
    api = Api()
    api.client = AsyncClient(enforce_csrf_checks=True)
    api.client.cookies[settings.SESSION_COOKIE_NAME] = await seen(session_for, user)
    request = RequestFactory().get("/")
    token = get_token(request)
    api.client.cookies[settings.CSRF_COOKIE_NAME] = request.META["CSRF_COOKIE"]
    return api, token


@EVERY_CALL
@pytest.mark.usefixtures("turns_running", "persona", "scripted")
async def test_s32_a_session_needs_the_csrf_token_for_changes(
    alice: User, seen: Any, method: str, path: str, body: Any
) -> None:
    api, token = await browser_of(alice, seen)

    bare = await call(api, method, path, body)
    wrong = await call(api, method, path, body, **{"x-csrftoken": "x" * 64})
    right = await call(api, method, path, body, **{"x-csrftoken": token})

    if method == "get":
        assert bare.status_code in {200, 404}
    else:
        assert (bare.status_code, wrong.status_code) == (403, 403)
        assert "X-CSRFToken" in bare.json()["error"]["message"]
    assert right.status_code in {200, 404}
    if right.streaming:
        async for _ in right.streaming_content:
            pass
    if method == "post" and path == "/chat":
        assert await seen(Message.objects.filter(role="user").count) == 1


@pytest.mark.usefixtures("turns_running", "persona", "scripted")
async def test_s32_no_form_of_another_page_gets_through(alice: User, seen: Any) -> None:
    """Forms can send these types without asking; the token must still be there."""
    api, _ = await browser_of(alice, seen)
    for kind in (
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
    ):
        response = await api.client.post(
            "/task", data=b'{"task": "x"}', content_type=kind
        )
        assert error_of(response) == (403, "forbidden"), kind


@pytest.mark.usefixtures("turns_running", "persona", "scripted")
async def test_s32_a_token_needs_none(alice: User) -> None:
    api = await api_of(alice)
    api.client = AsyncClient(enforce_csrf_checks=True)

    response = await api.post("/task", {"task": "x", "force_tier": 1})

    assert response.status_code == 200


# --- S33: whatever the header holds -------------------------------------------

NASTY = [
    "'",
    '"',
    "' OR '1'='1' --",
    '"; DROP TABLE accounts_apitoken; --',
    "ctx_" + "a" * 65_536,
    "A" * 65_536,
    "ctx_\0_\0",
    "\0",
    "ctx_ünïcode_☃",
    "ctx_" + "0" * 32 + "_x",
    "ctx_" + "0" * 32 + "_" + "\N{FULLWIDTH DIGIT ONE}" * 43,
    "%s%n{0}${jndi:ldap://x}",
    " ",
]


def on_the_wire(text: str) -> str:
    """Return a header's value as servers read the bytes of UTF-8."""
    return text.encode().decode("latin-1")


@pytest.mark.django_db
@pytest.mark.parametrize("raw", NASTY)
@pytest.mark.parametrize(
    "header", ["HTTP_AUTHORIZATION", "HTTP_X_API_KEY", "scheme", "bare"]
)
def test_s33_nonsense_is_401_after_one_query(
    alice: User, raw: str, header: str
) -> None:
    """Asked of the function itself, which runs in this thread: queries are counted."""
    tokens.create_token(alice)
    given = {
        "HTTP_AUTHORIZATION": {"HTTP_AUTHORIZATION": f"Bearer {raw}"},
        "HTTP_X_API_KEY": {"HTTP_X_API_KEY": raw},
        "scheme": {"HTTP_AUTHORIZATION": f"{raw} x"},
        "bare": {"HTTP_AUTHORIZATION": raw},
    }[header]
    request = RequestFactory().get("/ledger", **given)
    presented = tokens.presented_token(request.headers)

    with CaptureQueriesContext(connection) as queries:
        assert auth._recognise(presented, {}) is None
    assert len(queries) == 1


@pytest.mark.parametrize("raw", NASTY)
async def test_s33_nonsense_is_refused_in_json(
    transactional_db: None, raw: str
) -> None:
    sent = on_the_wire(raw)
    for headers in ({"authorization": f"Bearer {sent}"}, {"x-api-key": sent}):
        assert error_of(await Api().get("/ledger", **headers)) == (
            401,
            "unauthenticated",
        )


@pytest.mark.slow
def test_s33_nonsense_is_refused_by_the_server_too(
    live_server_process: ServerProcess,
) -> None:
    address = live_server_process.url.removeprefix("http://")
    for raw in NASTY:
        sent = raw.encode().replace(b"\0", b"\x01")  # no client sends it in a header
        for headers in ({"Authorization": b"Bearer " + sent}, {"x-api-key": sent}):
            connection = HTTPConnection(address, timeout=10)
            connection.request("GET", "/ledger", headers=headers)
            response = connection.getresponse()
            assert response.status == 401, raw[:80]
            assert json.load(response)["error"]["code"] == "unauthenticated"
            connection.close()
    assert "Traceback" not in live_server_process.log


@pytest.mark.parametrize("cookie", NASTY)
async def test_s33_a_strange_cookie_is_nobodys(
    transactional_db: None, cookie: str
) -> None:
    api = Api(cookie=f"{settings.SESSION_COOKIE_NAME}={on_the_wire(cookie)}")

    assert error_of(await api.get("/ledger")) == (401, "unauthenticated")


# --- S36: what was done with tokens -------------------------------------------


@pytest.mark.django_db
def test_s36_tokens_leave_events_without_their_secret(
    admin_user: User, client_for: Callable[..., Client]
) -> None:
    client = client_for(admin_user)
    AuditEvent.objects.all().delete()
    fields = {"name": "n", "scopes": ["admin", "chat"], "days": ""}

    page = client.post("/settings/tokens/", fields).content.decode()
    raw = re.findall(r"ctx_[0-9a-f]{32}_[\w-]+", page)[0]
    token = ApiToken.objects.get()
    client.post(f"/settings/tokens/{token.pk}/revoke/")

    created, revoked = AuditEvent.objects.order_by("id")
    for event, name in ((created, "token.created"), (revoked, "token.revoked")):
        assert (event.event, event.actor_name, event.subject) == (name, "dora", "dora")
        assert event.detail == {"token": str(token.pk), "scopes": ["admin", "chat"]}
    assert raw.rpartition("_")[2] not in str(AuditEvent.objects.values_list())


# --- how often ------------------------------------------------------------------


@pytest.fixture
def two_a_minute(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let everybody ask twice, in the first second of a minute that does not end."""
    settings.CORTEX_API_PER_MINUTE = 2
    minute = int(time.time() // 60) * 60 + 1.0
    monkeypatch.setattr(limits.time, "time", lambda: minute)


@pytest.mark.usefixtures("transactional_db", "two_a_minute")
async def test_each_token_may_ask_so_often_in_a_minute(alice: User) -> None:
    one, other = await api_of(alice), await api_of(alice)

    answers = [await one.get("/ledger") for _ in range(4)]

    assert [answer.status_code for answer in answers] == [200, 200, 429, 429]
    assert error_of(answers[2]) == (429, "too_many")
    assert answers[2].headers["Retry-After"] == "59"
    assert (await other.get("/ledger")).status_code == 200


@pytest.mark.usefixtures("transactional_db", "two_a_minute")
async def test_many_tokens_of_a_person_are_counted_together(
    alice: User, bob: User
) -> None:
    codes = [
        (await (await api_of(alice)).get("/ledger")).status_code for _ in range(12)
    ]

    assert codes == [200] * 2 * auth.TOKENS_AT_ONCE + [429] * 2
    assert (await (await api_of(bob)).get("/ledger")).status_code == 200


@pytest.mark.usefixtures("transactional_db", "two_a_minute")
async def test_sessions_are_counted_by_person(
    alice: User, bob: User, seen: Any
) -> None:
    codes = []
    for user in (alice, alice, alice, bob):
        api = Api()
        api.client.cookies[settings.SESSION_COOKIE_NAME] = await seen(session_for, user)
        codes.append((await api.get("/status")).status_code)

    assert codes == [200, 200, 429, 200]


@pytest.mark.usefixtures("transactional_db", "two_a_minute")
async def test_the_next_minute_begins_anew(
    alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = await api_of(alice)
    for _ in range(3):
        refused = await api.get("/ledger")
    later = limits.time.time() + int(refused.headers["Retry-After"])
    monkeypatch.setattr(limits.time, "time", lambda: later)

    assert (await api.get("/ledger")).status_code == 200
