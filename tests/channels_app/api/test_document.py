from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.urls import URLPattern, get_resolver

from accounts.models import User
from channels_app.api.app import api
from channels_app.api.document import openapi_document, operations
from channels_app.api.reference import calls_of, with_code
from channels_app.errors import CODES
from tests.support.processes import ServerProcess
from tests.support.seeding import seed
from tests.support.upstream import Upstream

CONFIGURATION = Path(__file__).with_name("schemathesis.toml")
EXAMPLES = 3
"""Generated requests for each call, besides those at the borders of every field."""


@pytest.fixture
def document() -> dict[str, Any]:
    return openapi_document()


def route_of(path: str) -> str:
    """Return a documented path as Django's routes write it, without converters."""
    return re.sub(r"{(\w+)}", r"<\1>", path.lstrip("/"))


def test_every_route_is_in_the_document(document: dict[str, Any]) -> None:
    patterns = [
        re.sub(r"<\w+:", "<", str(pattern.pattern))
        for pattern in api.urls[0]
        if isinstance(pattern, URLPattern) and pattern.name != "api-root"
    ]
    documented = {route_of(path) for path in document["paths"]}

    assert documented == {*patterns, "health"}


def test_every_documented_address_is_ours(document: dict[str, Any]) -> None:
    for path in document["paths"]:
        if path != "/health":
            match = get_resolver().resolve(
                re.sub(r"{\w+}", "00000000-0000-4000-8000-000000000000", path)
            )
            assert match.func is not None


def test_every_call_says_who_may_and_what_goes_wrong(document: dict[str, Any]) -> None:
    for path, method, operation in operations(document):
        if path == "/health":
            assert operation["security"] == []
            continue
        assert {"401", "403", "429", "500"} <= set(operation["responses"]), path
        assert "Retry-After" in operation["responses"]["429"]["headers"]
        ways = operation["security"]
        assert {"token": []} in ways and {"key": []} in ways
        session = next(way for way in ways if "session" in way)
        assert ("csrf" in session) is (method != "get"), path
    schemes = document["components"]["securitySchemes"]
    assert schemes["token"]["scheme"] == "bearer"
    assert schemes["key"]["name"] == "x-api-key"
    assert schemes["session"]["name"] == "sessionid"


def test_streams_and_error_codes_are_described(document: dict[str, Any]) -> None:
    chat = document["paths"]["/chat"]["post"]["responses"]["200"]["content"]
    assert set(chat) == {"text/event-stream"}
    codes = document["components"]["schemas"]["Fault"]["properties"]["code"]["enum"]
    assert set(CODES) <= set(codes)


@pytest.mark.django_db
def test_lists_of_models_and_both_shapes_of_errors_are_described(
    document: dict[str, Any],
) -> None:
    for path, fields in {
        "/v1/models": {"object", "data"},
        "/v1/models/{model}": {"id", "object", "created", "owned_by", "name"},
    }.items():
        taken = document["paths"][path]["get"]["responses"]["200"]
        name = taken["content"]["application/json"]["schema"]["$ref"].split("/")[-1]
        shape = document["components"]["schemas"][name]
        assert set(shape["properties"]) == set(shape["required"]) == fields
    assert "/v1/" in document["info"]["description"]


def test_the_document_needs_no_sign_in() -> None:
    response = Client().get("/api/openapi.json")

    assert response.status_code == 200
    assert response["Content-Type"] == "application/json"
    assert response.json()["openapi"] == "3.1.0"


def test_the_page_shows_every_call(
    alice: User, client_for: Callable[..., Client], document: dict[str, Any]
) -> None:
    page = client_for(alice).get("/api/").content.decode()

    for path, method, _ in operations(document):
        assert f'data-method="{method.upper()}" data-path="{path}"' in page
    assert "style=" not in page
    assert not re.search(r"<script(?![^>]*\bsrc=)", page)
    assert 'name="csrfmiddlewaretoken"' in page
    # Sent by a form, a token would stand in the address.
    field = re.search(r"<input[^>]*id=\"api-token\"[^>]*>", page)
    assert field is not None and "name=" not in field[0]


@pytest.mark.django_db
def test_the_page_is_for_people_who_are_signed_in() -> None:
    response = Client().get("/api/")

    assert response.status_code == 302
    assert "/account/login/" in response["Location"]


def test_what_is_typed_into_the_page_is_escaped() -> None:
    assert with_code("a `<b>` <i>") == "a <code>&lt;b&gt;</code> &lt;i&gt;"


def test_a_call_shows_its_fields(document: dict[str, Any]) -> None:
    calls = {
        f"{call.method} {call.path}": call
        for group in calls_of(document).values()
        for call in group
    }

    chat = calls["POST /chat"]
    fields = {field.name: field for field in chat.fields}
    assert fields["persona"].required and not fields["tier"].required
    assert fields["tier"].type == "auto, 1, 2, 3"
    assert [field.name for field in chat.inputs] == ["Last-Event-ID"]
    assert '"persona": "inara"' in chat.example
    assert chat.curl.endswith("/chat")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_server_does_what_the_document_says(
    start_server: Callable[..., ServerProcess], upstream: Upstream, tmp_path: Path
) -> None:
    server = start_server("serve", CORTEX_API_PER_MINUTE="1000000")
    seed(server, upstream.url, ["echo"], "alice")
    token = server.manage("users", "token", "alice").strip()
    done = subprocess.run(
        [
            str(Path(sys.executable).with_name("schemathesis")),
            f"--config-file={CONFIGURATION}",
            "run",
            f"{server.url}/api/openapi.json",
            f"--header=Authorization: Bearer {token}",
            "--checks=all",
            f"--max-examples={EXAMPLES}",
            "--continue-on-failure",
            "--seed=4",
        ],
        cwd=tmp_path,
        env={**os.environ, "NO_COLOR": "1", "COLUMNS": "100"},
        capture_output=True,
        text=True,
        timeout=280,
    )

    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr
    assert "Traceback" not in server.log
    assert token not in server.log
