"""What holds for every answer of the API, and for requests of unusual size or form."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest
from django.conf import settings
from django.middleware.csrf import get_token
from django.test import AsyncClient, RequestFactory
from pydantic import ValidationError

from accounts.models import User
from channels_app import turns
from channels_app.api import app, openai_completions, openai_messages
from channels_app.api.openai_requests import (
    MAX_CALLS,
    MAX_MESSAGES,
    CompletionRequest,
)
from channels_app.errors import CODES, TurnError
from routing.models import Model
from tests.support.api import Api, api_of, events_of, whole
from tests.support.chat import scripted_model, session_for

pytestmark = pytest.mark.usefixtures("turns_running", "persona", "scripted")
COMPLETIONS = "/v1/chat/completions"
ASKED: dict[str, Any] = {
    "model": "inara",
    "messages": [{"role": "user", "content": "hello"}],
}
BODIES: dict[str, dict[str, Any]] = {
    "/chat": {"persona": "inara", "text": "hello", "model": "scripted"},
    "/task": {"task": "hello", "force_tier": 1},
    COMPLETIONS: ASKED,
}


@pytest.fixture
def scripted(transactional_db: None) -> Model:
    """The only model."""
    return scripted_model()


# --- what the log says --------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "is_fault"),
    [
        ("no_model", False),
        ("upstream_unavailable", False),
        ("upstream_timeout", False),
        ("internal", True),
    ],
)
@pytest.mark.parametrize("path", BODIES)
async def test_only_a_fault_of_our_own_is_an_error_in_the_log(
    alice: User,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    code: str,
    is_fault: bool,
) -> None:
    async def refuse(*_: object, **__: object) -> None:
        raise TurnError(code, "It is so.")

    monkeypatch.setattr(turns, "start_turn", refuse)
    monkeypatch.setattr(turns, "start_unstored", refuse)
    response = await (await api_of(alice)).post(path, json.dumps(BODIES[path]))
    assert response.status_code == CODES[code]
    errors = [record for record in caplog.records if record.name == "django.request"]
    assert [record.levelname for record in errors] == ["ERROR"] * is_fault


# --- how much -----------------------------------------------------------------


@pytest.mark.parametrize("path", BODIES)
async def test_a_body_may_be_so_large_and_no_larger(alice: User, path: str) -> None:
    api = await api_of(alice)
    is_openai = path == COMPLETIONS
    limit = app.MAX_CONVERSATION_BYTES if is_openai else app.MAX_BODY_BYTES
    body = json.dumps(BODIES[path])

    taken = await api.post(path, body.ljust(limit))
    refused = await api.post(path, body.ljust(limit + 1))

    assert taken.status_code == 200
    if taken.streaming:
        await whole(taken)
    assert refused.status_code == 413
    assert refused.json()["error"]["code"] == "too_long"


def test_a_conversation_has_so_many_messages_and_no_more() -> None:
    messages = ASKED["messages"] * MAX_MESSAGES
    CompletionRequest.model_validate(ASKED | {"messages": messages})
    with pytest.raises(ValidationError, match="too_long"):
        CompletionRequest.model_validate(ASKED | {"messages": [*messages, messages[0]]})


def test_a_message_has_so_many_calls_and_no_more() -> None:
    call = {"id": "x", "function": {"name": "lookup"}}

    def parse(count: int) -> None:
        message = {"role": "assistant", "tool_calls": [call] * count}
        CompletionRequest.model_validate(ASKED | {"messages": [message]})

    parse(MAX_CALLS)
    with pytest.raises(ValidationError, match="too_long"):
        parse(MAX_CALLS + 1)


@pytest.mark.parametrize("large", [False, True])
async def test_nobody_waits_while_a_large_conversation_is_read(
    alice: User, monkeypatch: pytest.MonkeyPatch, large: bool
) -> None:
    threads = []

    def noted(request: CompletionRequest) -> Any:
        threads.append(threading.current_thread())
        return messages_of(request)

    messages_of = openai_messages.messages_of
    monkeypatch.setattr(openai_messages, "messages_of", noted)
    length = openai_completions.LARGE_BODY_BYTES if large else 0

    response = await (await api_of(alice)).post(
        COMPLETIONS, json.dumps(ASKED).ljust(length + 1)
    )

    assert response.status_code == 200
    assert (threads != [threading.current_thread()]) is large


# --- in which form --------------------------------------------------------------

FORMS = [
    "multipart/form-data",
    "multipart/form-data; boundary=",
    "multipart/form-data; boundary=x",
    "application/x-www-form-urlencoded; charset=nonsense",
    "application/x-www-form-urlencoded",
]


@pytest.mark.parametrize("kind", FORMS)
async def test_what_calls_itself_a_form_is_read_as_json(
    alice: User, seen: Any, kind: str
) -> None:
    client = AsyncClient(enforce_csrf_checks=True)
    client.cookies[settings.SESSION_COOKIE_NAME] = await seen(session_for, alice)
    request = RequestFactory().get("/")
    token = get_token(request)
    client.cookies[settings.CSRF_COOKIE_NAME] = request.META["CSRF_COOKIE"]
    body = json.dumps(BODIES["/task"]).encode()

    async def post(**headers: str) -> Any:
        return await client.generic("POST", "/task", body, kind, headers=headers)

    assert (await post()).status_code == 403
    assert (await post(**{"X-CSRFToken": token})).status_code == 200


@pytest.mark.parametrize("name", ["\0", "in\0ara", "Inara", "inara\n", "ü", "-", "☃"])
@pytest.mark.parametrize("place", [None, "new"])
async def test_a_name_that_no_persona_can_have_is_no_model(
    alice: User, name: str, place: str | None
) -> None:
    headers = {} if place is None else {"X-Cortex-Conversation": place}
    api = await api_of(alice)

    response = await api.post(COMPLETIONS, ASKED | {"model": name}, **headers)

    assert response.status_code == 404
    assert response.json()["error"]["code"] == "model_not_found"


@pytest.mark.parametrize("name", ["in%01ara", "Inara", "%E2%98%83"])
async def test_no_model_is_shown_under_such_a_name(alice: User, name: str) -> None:
    response = await (await api_of(alice)).get(f"/v1/models/{name}")
    assert response.status_code == 404
    assert response.json()["error"]["code"] == "model_not_found"


# --- how it is refused ----------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("post", COMPLETIONS, "{", 400),
        ("post", COMPLETIONS, ASKED | {"n": 2}, 400),
        ("post", COMPLETIONS, ASKED | {"model": "nobody"}, 404),
        ("get", "/v1/models/nobody", None, 404),
        ("get", "/v1/embeddings", None, 404),
        ("get", COMPLETIONS, None, 405),
        ("post", "/v1/models", {}, 405),
    ],
)
async def test_every_refusal_below_v1_is_what_those_clients_read(
    alice: User, method: str, path: str, body: Any, status: int
) -> None:
    api = await api_of(alice)

    response = await (api.get(path) if method == "get" else api.post(path, body))

    assert response.status_code == status
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] in {"invalid_request_error", "not_found_error"}
    assert response.headers["X-Should-Retry"] == "false"


async def test_what_may_succeed_later_is_said(alice: User, settings: Any) -> None:
    api = await api_of(alice)
    assert "X-Should-Retry" not in (await api.get("/v1/models")).headers
    settings.CORTEX_API_PER_MINUTE = 0

    there, here = await api.get("/v1/models"), await api.get("/ledger")

    assert there.status_code == here.status_code == 429
    assert there.headers["X-Should-Retry"] == "true"
    assert "X-Should-Retry" not in here.headers
    unknown = await Api("ctx_wrong").get("/v1/models")
    assert (unknown.status_code, unknown.headers["X-Should-Retry"]) == (401, "false")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/models", 200),
        ("/v1/models/inara", 200),
        ("/v1/models/nobody", 404),
        ("/v1/x", 404),
        ("/ledger", 200),
        ("/ledger/x", 404),
        ("/status", 200),
        ("/task", 405),
    ],
)
async def test_no_answer_is_kept_by_caches(alice: User, path: str, status: int) -> None:
    response = await (await api_of(alice)).get(path)
    assert response.status_code == status
    assert response.headers["Cache-Control"] == "no-store"


async def test_neither_are_answers_of_personas(alice: User) -> None:
    api = await api_of(alice)
    for path, body in BODIES.items():
        response = await api.post(path, body)
        assert (response.status_code, path) == (200, path)
        assert response.headers["Cache-Control"] == "no-store"
        if response.streaming:
            last = events_of(await whole(response))[-1]
            turn = last.id.partition(":")[0]
            after = await api.get(f"/chat/{turn}", **{"Last-Event-ID": last.id})
            assert after.status_code == 204
            assert after.headers["Cache-Control"] == "no-store"
