"""What hosts say about the models they offer, and about the room they give them."""

from __future__ import annotations

from typing import Any

import pytest

from routing.backends.base import AuthenticationFailed
from routing.catalogue import HostInfo
from routing.model_lists import (
    MAX_PAGES,
    ModelList,
    NoList,
    fetch_models,
    known_models,
    openai_row,
    rows_of,
)
from routing.server_context import (
    context_said_by,
    loaded_context,
    saved_context,
    slot_context,
)
from tests.routing.fixed_answers import FixedAnswers
from tests.support.upstream import Upstream


def host_at(host_type: str, base_url: str = "") -> HostInfo:
    """Return a host at an address that an administrator typed."""
    return HostInfo(1, "h", host_type, base_url, trusted_origin=bool(base_url))


@pytest.mark.parametrize(
    ("body", "names"),
    [
        ({"object": "list", "data": [{"id": "a"}, {"id": "b"}]}, ["a", "b"]),
        ({"models": [{"name": "a"}]}, ["a"]),
        ([{"id": "a"}, {"id": ""}, {"id": 7}, "odd", {"id": "x\ny"}], ["a"]),
        ([{"id": "x" * 201}], []),
        ({"data": []}, []),
        ({"data": "odd"}, None),
        ({"detail": "Not Found"}, None),
        (None, None),
        ("<html>", None),
    ],
)
def test_names_of_models(body: Any, names: list[str] | None) -> None:
    rows = rows_of(body)
    found = None if rows is None else [openai_row(row)[0] for row in rows]
    assert (found if found is None else [name for name in found if name]) == names


async def test_list_of_an_openai_compatible_server() -> None:
    rows = [{"id": "a", "max_model_len": 4096}, {"id": "b"}, {"id": "a"}]
    with FixedAnswers({"GET /v1/models": (200, {"data": rows})}) as server:
        found = await fetch_models(host_at("local_openai", server.url + "/v1/"), "k")
    assert (found.names, found.contexts) == (("a", "b"), {"a": 4096})
    assert server.requests[0][1]["authorization"] == "bearer k"


async def test_list_of_anthropic_is_read_page_by_page() -> None:
    pages = {
        "GET /v1/models?limit=1000": {
            "data": [{"id": "a", "max_input_tokens": 200_000}],
            "has_more": True,
            "last_id": "a",
        },
        "GET /v1/models?limit=1000&after_id=a": {
            "data": [{"id": "b"}],
            "has_more": False,
            "last_id": "b",
        },
    }
    with FixedAnswers({path: (200, page) for path, page in pages.items()}) as server:
        found = await fetch_models(host_at("anthropic_api", server.url), "k")
    assert (found.names, found.contexts) == (("a", "b"), {"a": 200_000})
    for _, headers in server.requests:
        assert headers["x-api-key"] == "k"
        assert headers["anthropic-version"]


async def test_list_of_gemini_leaves_out_what_cannot_chat() -> None:
    first = [
        {"name": "models/a", "inputTokenLimit": 1000,
         "supportedGenerationMethods": ["generateContent"]},
        {"name": "models/embed", "supportedGenerationMethods": ["embedContent"]},
    ]  # fmt: skip
    pages = {
        "GET /v1beta/models?pageSize=1000": {"models": first, "nextPageToken": "x+y"},
        "GET /v1beta/models?pageSize=1000&pageToken=x%2By": {
            "models": [{"name": "models/b"}]
        },
    }
    with FixedAnswers({path: (200, page) for path, page in pages.items()}) as server:
        found = await fetch_models(host_at("gemini_api", server.url), "k")
    assert (found.names, found.contexts) == (("a", "b"), {"a": 1000})
    for path, headers in server.requests:
        assert headers["x-goog-api-key"] == "k"
        assert "key=" not in path


async def test_endless_list_is_read_for_a_while_only() -> None:
    page = {"data": [{"id": "a"}], "has_more": True, "last_id": "a"}
    paths = ("GET /v1/models?limit=1000", "GET /v1/models?limit=1000&after_id=a")
    with FixedAnswers(dict.fromkeys(paths, (200, page))) as server:
        found = await fetch_models(host_at("anthropic_api", server.url), "k")
    assert found.names == ("a",)
    assert len(server.requests) == MAX_PAGES


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (401, {"error": {"message": "sk-canary"}}, AuthenticationFailed),
        (400, {"error": {"message": "API key not valid."}}, AuthenticationFailed),
        (404, {}, None),
        (500, "<html>", None),
        (200, {"hello": 1}, None),
    ],
)
async def test_no_list_says_why(status: int, body: Any, kind: type | None) -> None:
    path = "GET /v1beta/models?pageSize=1000"
    with (
        FixedAnswers({path: (status, body)}) as server,
        pytest.raises(NoList, match=str(status)) as caught,
    ):
        await fetch_models(host_at("gemini_api", server.url), "sk-canary")
    assert isinstance(caught.value.reason, AuthenticationFailed) == (kind is not None)
    assert "canary" not in f"{caught.value}{caught.value.reason}"


async def test_vendor_is_not_asked_without_a_key(vendors: Upstream) -> None:
    with pytest.raises(AuthenticationFailed):
        await fetch_models(host_at("gemini_api"), "")
    assert vendors.calls == []


def test_names_of_programs_are_known() -> None:
    assert known_models("claude_cli").names == ("haiku", "sonnet", "opus")
    assert "gemini-2.5-pro" in known_models("gemini_cli").names
    assert known_models("local_openai") == ModelList()


LOADED = {"models": [{"name": "llama3:latest", "context_length": 4096}]}
SLOTS = {"default_generation_settings": {"n_ctx": 2048}}
SAVED = {"parameters": 'stop "x"\nnum_ctx                        8192\n'}


@pytest.mark.parametrize(
    ("answers", "tokens"),
    [
        ({"GET /api/ps": LOADED, "POST /api/show": SAVED}, 4096),
        ({"GET /api/ps": {"models": []}, "POST /api/show": SAVED}, 8192),
        ({"GET /props": SLOTS}, 2048),
        ({"GET /props": {"n_ctx": "odd"}, "POST /api/show": []}, None),
        ({}, None),
    ],
)
async def test_servers_tell_how_much_they_read(
    answers: dict[str, Any], tokens: int | None
) -> None:
    fixed = {path: (200, body) for path, body in answers.items()}
    with FixedAnswers(fixed) as server:
        host = host_at("local_openai", server.url + "/v1")
        assert await context_said_by(host, "llama3", "k") == tokens


async def test_other_servers_are_not_asked_how_much_they_read() -> None:
    with FixedAnswers({"GET /api/ps": (200, LOADED)}) as server:
        for host in (
            host_at("local_openai", server.url + "/api"),
            host_at("anthropic_api", server.url + "/v1"),
        ):
            assert await context_said_by(host, "llama3") is None
    assert server.requests == []


@pytest.mark.parametrize("body", [{}, {"models": ["odd"]}, {"models": [{"name": 1}]}])
def test_odd_forms_say_nothing(body: dict[str, Any]) -> None:
    assert loaded_context(body, "m") is None
    assert slot_context(body) is None
    assert saved_context(body) is None
