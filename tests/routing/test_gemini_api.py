"""The Gemini API: what is sent, what comes back, what errors mean."""

from __future__ import annotations

import json
from typing import Any

import pytest

from routing.backends.base import (
    AuthenticationFailed,
    BadRequest,
    ContextTooLong,
    Event,
    Finished,
    Overloaded,
    Prompt,
    PromptMessage,
    RateLimited,
    Refused,
    Target,
    TextDelta,
    Timeouts,
    ToolCall,
    ToolResult,
    ToolSpec,
    UnknownModel,
    UpstreamFailed,
    Usage,
    UsageReported,
)
from routing.backends.gemini_api import GeminiAPI, path_for
from routing.backends.gemini_errors import error_of
from routing.backends.gemini_wire import (
    NO_SIGNATURE,
    ContentStream,
    as_stream,
    request_body,
)
from tests.routing.played import played
from tests.support.upstream import Upstream

KEY = "AIza-canary"


def body_of(
    *messages: PromptMessage, model: str = "gemini-2.5-flash", **fields: Any
) -> dict[str, Any]:
    """Return the body for a prompt with these messages."""
    prompt = Prompt(**{"system": "", "messages": messages, **fields})
    return request_body(prompt, model, max_output_tokens=7)


def chunk(*parts: dict[str, Any], finish: str = "", **more: Any) -> bytes:
    """Return one event of a stream."""
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": list(parts)}}
    if finish:
        candidate["finishReason"] = finish
    return (
        b"data: " + json.dumps({"candidates": [candidate], **more}).encode() + b"\n\n"
    )


def test_request_has_instructions_messages_and_limit() -> None:
    body = body_of(
        PromptMessage("user", "Hi"),
        PromptMessage("user", "there"),
        PromptMessage("assistant", "Ho"),
        system="Be kind.",
    )
    assert body == {
        "systemInstruction": {"parts": [{"text": "Be kind."}]},
        "contents": [
            {"role": "user", "parts": [{"text": "Hi"}, {"text": "there"}]},
            {"role": "model", "parts": [{"text": "Ho"}]},
        ],
        "generationConfig": {"maxOutputTokens": 7},
    }


def test_tools_calls_and_results_go_out_in_the_apis_form() -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}
    body = body_of(
        PromptMessage(
            "assistant",
            "",
            tool_calls=(ToolCall("fc1", "weather", {"city": "Ulm"}, "", "c2ln"),),
        ),
        PromptMessage(
            "user",
            "",
            tool_results=(
                ToolResult("fc1", "weather", "Sun"),
                ToolResult("call_cortex_1", "clock", "Broken", is_error=True),
            ),
        ),
        tools=(ToolSpec("weather", "Tells it.", schema),),
    )
    (declared,) = body["tools"][0]["functionDeclarations"]
    assert declared["name"] == "weather"
    assert declared["parametersJsonSchema"] == schema
    model, user = body["contents"]
    assert model["parts"] == [
        {
            "functionCall": {"id": "fc1", "name": "weather", "args": {"city": "Ulm"}},
            "thoughtSignature": "c2ln",
        }
    ]
    first, second = (part["functionResponse"] for part in user["parts"])
    assert first == {"id": "fc1", "name": "weather", "response": {"result": "Sun"}}
    assert second == {"name": "clock", "response": {"error": "Broken"}}


@pytest.mark.parametrize(
    ("model", "signature"),
    [
        ("gemini-2.5-flash", None),
        ("gemini-3-pro-preview", NO_SIGNATURE),
        ("models/gemini-3.1-flash", NO_SIGNATURE),
    ],
)
def test_calls_of_other_models_are_vouched_for_where_a_signature_is_demanded(
    model: str, signature: str | None
) -> None:
    calls = (ToolCall("a", "f", {}), ToolCall("b", "g", {}))
    body = body_of(PromptMessage("assistant", "", tool_calls=calls), model=model)
    first, second = body["contents"][0]["parts"]
    assert first.get("thoughtSignature") == signature
    assert "thoughtSignature" not in second


def test_calls_go_back_as_they_came() -> None:
    parts: list[dict[str, Any]] = [
        {
            "functionCall": {"id": "fc1", "name": "weather", "args": {"city": "Ulm"}},
            "thoughtSignature": "c2ln",
        },
        {"functionCall": {"name": "clock", "args": {}}},
    ]
    events = played(ContentStream(), chunk(*parts, finish="STOP"))
    calls = tuple(e for e in events if isinstance(e, ToolCall))
    assert all(call.id for call in calls)
    (content,) = body_of(PromptMessage("assistant", "", tool_calls=calls))["contents"]
    assert content == {"role": "model", "parts": parts}


@pytest.mark.parametrize(
    "reason", ["SAFETY", "RECITATION", "PROHIBITED_CONTENT", "BLOCKLIST", "SPII"]
)
@pytest.mark.parametrize("before", [b"", chunk({"text": "x"})])
def test_filters_are_refusals(reason: str, before: bytes) -> None:
    stream = ContentStream()
    played(stream, before + chunk(finish=reason))
    assert isinstance(stream.failure, Refused)


@pytest.mark.parametrize("reason", ["MALFORMED_FUNCTION_CALL", "OTHER"])
def test_mistakes_of_the_model_are_failures(reason: str) -> None:
    stream = ContentStream()
    played(stream, chunk(finish=reason))
    assert type(stream.failure) is UpstreamFailed


@pytest.mark.parametrize(
    ("reason", "complete"),
    [("STOP", True), ("FUNCTION_CALL", True), ("NEW", True), ("MAX_TOKENS", False)],
)
def test_reason_to_stop_says_if_the_answer_is_whole(
    reason: str, complete: bool
) -> None:
    events = played(ContentStream(), chunk({"text": "x"}, finish=reason))
    assert events == [TextDelta("x"), Finished(complete=complete)]


@pytest.mark.parametrize("reason", ["", "FINISH_REASON_UNSPECIFIED"])
def test_stream_without_a_reason_to_stop_is_cut(reason: str) -> None:
    stream = ContentStream()
    assert played(stream, chunk({"text": "x"}, finish=reason)) == [TextDelta("x")]
    assert stream.failure is None


@pytest.mark.parametrize(
    ("parts", "counts", "usage"),
    [
        ([{"text": "x"}], {"prompt": 3, "candidates": 4}, Usage(3, 4)),
        ([{"text": "x"}], {"prompt": 3, "candidates": 4, "thoughts": 5}, Usage(3, 9)),
        ([{"text": "x"}], {"prompt": 3, "thoughts": 5}, Usage(3, None)),
        ([], {"prompt": 3, "thoughts": 5}, Usage(3, 5)),
        ([], {"prompt": 3}, Usage(3, None)),
        ([], {"prompt": 3, "toolUsePrompt": 2, "candidates": 0}, Usage(5, 0)),
        ([], {"prompt": 3, "cachedContent": 2, "candidates": 0}, Usage(3, 0, 2)),
        ([], {"prompt": "odd", "candidates": -1}, Usage()),
    ],
)
def test_thoughts_are_output_and_what_is_not_counted_is_unknown(
    parts: list[dict[str, Any]], counts: dict[str, Any], usage: Usage
) -> None:
    metadata = {f"{name}TokenCount": count for name, count in counts.items()}
    events = played(ContentStream(), chunk(*parts, usageMetadata=metadata))
    assert UsageReported(usage) in events


@pytest.mark.parametrize(
    "data",
    [
        b'data: {"candidates": []}\n\n',
        b'data: {"candidates": {"odd": 1}}\n\n',
        b'data: {"candidates": ["odd"]}\n\n',
        b'data: {"candidates": [{"content": {"parts": ["odd", {}]}}]}\n\n',
        chunk({"thoughtSignature": "c2ln"}),
        chunk({"executableCode": {"code": "1"}}),
    ],
)
def test_odd_and_new_parts_are_passed_over(data: bytes) -> None:
    events = played(ContentStream(), data + chunk({"text": "x"}, finish="STOP"))
    assert events == [TextDelta("x"), Finished()]


def test_unusable_arguments_are_reported() -> None:
    part = {"functionCall": {"name": "f", "args": ["odd"]}}
    call, *_ = played(ContentStream(), chunk(part, finish="STOP"))
    assert isinstance(call, ToolCall)
    assert (call.arguments, bool(call.error)) == ({}, True)


def test_answer_in_one_piece_is_understood() -> None:
    data = json.loads(chunk({"text": "x"}, finish="STOP")[6:])
    assert TextDelta("x") in played(ContentStream(), as_stream([data]))
    for odd in (None, {}, "x", [None], {"detail": "Not Found"}):
        with pytest.raises(UpstreamFailed, match="check its address"):
            as_stream(odd)


def problem(code: int, status: str, message: str = "", **detail: Any) -> dict[str, Any]:
    """Return the body of an error."""
    error = {"code": code, "status": status, "message": message, "details": [detail]}
    return {"error": error}


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, problem(400, "INVALID_ARGUMENT", "x"), BadRequest),
        (400, problem(400, "INVALID_ARGUMENT", "API key not valid. Please pass a "
                      "valid API key.", reason="API_KEY_INVALID"),
         AuthenticationFailed),
        (400, problem(400, "INVALID_ARGUMENT", "The input token count (1200000) "
                      "exceeds the maximum number of tokens allowed (1048576)."),
         ContextTooLong),
        (400, problem(400, "FAILED_PRECONDITION", "Please enable billing on your "
                      "project."), AuthenticationFailed),
        (401, problem(401, "UNAUTHENTICATED"), AuthenticationFailed),
        (403, problem(403, "PERMISSION_DENIED"), AuthenticationFailed),
        (404, problem(404, "NOT_FOUND", "models/x is not found"), UnknownModel),
        (413, "", ContextTooLong),
        (429, problem(429, "RESOURCE_EXHAUSTED"), RateLimited),
        (429, problem(429, "RESOURCE_EXHAUSTED", "Input token count exceeds the limit "
                      "of a minute; enable billing."), RateLimited),
        (500, problem(500, "INTERNAL"), UpstreamFailed),
        (503, problem(503, "UNAVAILABLE"), Overloaded),
        (504, problem(504, "DEADLINE_EXCEEDED"), UpstreamFailed),
        (400, [problem(400, "INVALID_ARGUMENT", reason="API_KEY_INVALID")],
         AuthenticationFailed),
        (None, problem(429, "RESOURCE_EXHAUSTED"), RateLimited),
        (None, {"error": {"status": "UNAVAILABLE"}}, Overloaded),
        (None, {"error": "odd"}, UpstreamFailed),
    ],
)  # fmt: skip
def test_errors_are_classified(status: int | None, body: Any, kind: type) -> None:
    assert type(error_of(status, body)) is kind


@pytest.mark.parametrize(
    ("delay", "seconds"), [("12s", 12), ("0.5s", 0.5), ("soon", 7), (None, 7)]
)
def test_pause_is_taken_from_the_body_before_the_header(
    delay: Any, seconds: float
) -> None:
    body = problem(429, "RESOURCE_EXHAUSTED", retryDelay=delay)
    assert error_of(429, body, retry_after="7").retry_after_s == seconds


def test_error_never_repeats_the_hosts_words() -> None:
    for status in (400, 401, 403, 404, 413, 429, 500, 503, None):
        assert "canary" not in str(error_of(status, problem(400, "x", KEY)))


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("gemini-2.5-pro", "gemini-2.5-pro"),
        ("models/gemini-2.5-pro", "gemini-2.5-pro"),
        ("../files/x?key=1#y", "..%2Ffiles%2Fx%3Fkey%3D1%23y"),
    ],
)
def test_name_of_a_model_stays_one_part_of_the_path(name: str, path: str) -> None:
    expected = f"/v1beta/models/{path}:streamGenerateContent?alt=sse"
    assert path_for(name) == expected


def target(base_url: str = "", key: str = KEY, model: str = "say:Hi") -> Target:
    """Return where to call."""
    return Target("gemini_api", base_url, key, model, 200_000, bool(base_url))


async def call(where: Target) -> list[Event]:
    """Call and return the events."""
    prompt = Prompt("Be kind.", (PromptMessage("user", "Hello"),))
    async with GeminiAPI().stream(
        prompt, where, max_output_tokens=10, timeouts=Timeouts()
    ) as events:
        return [event async for event in events]


async def test_key_travels_in_a_header_and_never_in_the_address(
    vendors: Upstream,
) -> None:
    assert TextDelta("Hi") in await call(target())
    (request,) = vendors.calls
    assert request.headers["x-goog-api-key"] == KEY
    assert "canary" not in request.path
    assert "authorization" not in request.headers


async def test_odd_name_reaches_the_host_as_one_name(vendors: Upstream) -> None:
    with pytest.raises(UnknownModel):
        await call(target(model="a/b c?x=1"))
    assert vendors.calls[0].path.startswith("/v1beta/models/a%2Fb%20c%3Fx")


@pytest.mark.parametrize("tail", ["", "/", "/v1beta"])
async def test_address_may_be_typed_with_or_without_its_version(
    tail: str, upstream: Upstream
) -> None:
    await call(target(upstream.url + tail))
    assert upstream.calls[0].path.startswith("/v1beta/models/say")


async def test_vendor_is_not_asked_without_a_key(vendors: Upstream) -> None:
    with pytest.raises(AuthenticationFailed, match="enter one"):
        await call(target(key=""))
    assert vendors.calls == []
