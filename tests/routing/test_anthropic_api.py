"""Anthropic's messages: what is sent, what comes back, what errors mean."""

from __future__ import annotations

import json
from typing import Any

import pytest

from routing.backends.anthropic_api import AnthropicAPI
from routing.backends.anthropic_errors import error_of
from routing.backends.anthropic_wire import MessageStream, request_body
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
from tests.routing.played import played
from tests.support.upstream import Upstream

KEY = "sk-ant-canary"
WEATHER = ToolSpec("weather", "Tells it.", {"type": "object", "properties": {}})
CALL = ToolCall("toolu_1", "weather", {"city": "München"})


def body_of(*messages: PromptMessage, **fields: Any) -> dict[str, Any]:
    """Return the body for a prompt with these messages."""
    prompt = Prompt(**{"system": "", "messages": messages, **fields})
    return request_body(prompt, "claude-haiku-4-5", max_output_tokens=7)


def event(kind: str, **fields: Any) -> bytes:
    """Return one event of a stream."""
    data = json.dumps({"type": kind, **fields})
    return f"event: {kind}\ndata: {data}\n\n".encode()


def said(text: str) -> bytes:
    """Return an event with text."""
    return event("content_block_delta", index=0, delta={"text": text})


def ended(reason: str, **usage: int) -> bytes:
    """Return the two events that end an answer."""
    delta = event("message_delta", delta={"stop_reason": reason}, usage=usage)
    return delta + event("message_stop")


def test_request_has_what_the_api_demands() -> None:
    assert body_of(PromptMessage("user", "Hi")) == {
        "model": "claude-haiku-4-5",
        "max_tokens": 7,
        "stream": True,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}],
    }


def test_persona_is_kept_for_the_next_call_and_the_clock_is_not() -> None:
    bodies = []
    for clock in ("It is about 10:00.", "It is about 10:15."):
        system = f"You are Ada.\n\nBe kind.\n\n{clock}"
        bodies.append(body_of(system=system, passing=clock))
    first, later = (body["system"] for body in bodies)
    assert first[0] == later[0]
    assert first[0]["cache_control"] == {"type": "ephemeral"}
    assert "cache_control" not in first[1]
    text = "".join(block["text"] for block in first)
    assert text == "You are Ada.\n\nBe kind.\n\nIt is about 10:00."


@pytest.mark.parametrize("passing", ["", "not at the end"])
def test_instructions_without_a_clock_are_kept_whole(passing: str) -> None:
    (block,) = body_of(system="Be kind.", passing=passing)["system"]
    assert block["text"] == "Be kind."
    assert block["cache_control"] == {"type": "ephemeral"}


def test_empty_instructions_are_not_sent() -> None:
    assert "system" not in body_of(system="  \n")
    (block,) = body_of(system="It is ten.", passing="It is ten.")["system"]
    assert block == {"type": "text", "text": "It is ten."}


def test_tools_calls_and_results_go_out_in_the_apis_form() -> None:
    messages = body_of(
        PromptMessage("user", "Weather?"),
        PromptMessage("assistant", "Let me look.", tool_calls=(CALL,)),
        PromptMessage(
            "user",
            "And tomorrow?",
            tool_results=(ToolResult("toolu_1", "weather", "No city.", True),),
        ),
        tools=(WEATHER,),
    )
    assert messages["tools"] == [
        {
            "name": "weather",
            "description": "Tells it.",
            "input_schema": {"type": "object", "properties": {}},
        }
    ]
    _, assistant, user = messages["messages"]
    assert assistant["content"] == [
        {"type": "text", "text": "Let me look."},
        {
            "type": "tool_use",
            "id": "toolu_1",
            "name": "weather",
            "input": {"city": "München"},
        },
    ]
    assert user["content"] == [
        {
            "type": "tool_result",
            "tool_use_id": "toolu_1",
            "content": "No city.",
            "is_error": True,
        },
        {"type": "text", "text": "And tomorrow?"},
    ]


def test_roles_alternate_and_the_user_begins() -> None:
    turns = body_of(
        PromptMessage("assistant", "Welcome."),
        PromptMessage("user", "One"),
        PromptMessage("user", "  "),
        PromptMessage("user", "two", tool_results=(ToolResult("a.b:0", "f", ""),)),
        PromptMessage("assistant", ""),
        tools=(WEATHER,),
    )["messages"]
    assert [turn["role"] for turn in turns] == ["user", "assistant", "user"]
    result, *texts = turns[2]["content"]
    assert result["tool_use_id"] == "a_b_0"
    assert result["content"]
    assert [block["text"] for block in texts] == ["One", "two"]


def test_calls_without_their_tools_become_text() -> None:
    turns = body_of(
        PromptMessage("user", "Weather?"),
        PromptMessage("assistant", "", tool_calls=(CALL,)),
        PromptMessage("user", "", tool_results=(ToolResult("x", "weather", "Sun"),)),
    )["messages"]
    blocks = [block for turn in turns for block in turn["content"]]
    assert {block["type"] for block in blocks} == {"text"}
    assert "München" in blocks[1]["text"]
    assert "Sun" in blocks[2]["text"]


def test_refusal_ends_in_an_error_and_is_counted() -> None:
    start = event("message_start", message={"usage": {"input_tokens": 25}})
    stream = MessageStream()
    events = played(stream, start + said("First, ") + ended("refusal", output_tokens=4))
    assert events[0] == TextDelta("First, ")
    assert UsageReported(Usage(25, 4)) in events
    assert isinstance(stream.failure, Refused)
    assert not any(isinstance(e, Finished) for e in events)


@pytest.mark.parametrize(
    ("reason", "complete"),
    [
        ("end_turn", True),
        ("stop_sequence", True),
        ("tool_use", True),
        ("something_new", True),
        ("max_tokens", False),
        ("model_context_window_exceeded", False),
        ("pause_turn", False),
    ],
)
def test_reason_to_stop_says_if_the_answer_is_whole(
    reason: str, complete: bool
) -> None:
    events = played(MessageStream(), said("x") + ended(reason))
    assert events[-1] == Finished(complete=complete)


def test_stream_without_a_reason_to_stop_is_cut() -> None:
    stream = MessageStream()
    assert played(stream, said("x")) == [TextDelta("x")]
    assert stream.failure is None
    assert not stream.finishing


def test_reason_to_stop_makes_it_whole_without_the_end_mark() -> None:
    data = said("x") + event("message_delta", delta={"stop_reason": "end_turn"})
    assert played(MessageStream(), data)[-1] == Finished()


def test_output_is_unknown_until_the_host_counted_it() -> None:
    start = event("message_start", message={"usage": {"input_tokens": 9}})
    assert UsageReported(Usage(9)) in played(MessageStream(), start + said("x"))


def test_count_that_comes_only_at_the_end_is_taken() -> None:
    start = event("message_start", message={"usage": {"input_tokens": 0}})
    end = ended("end_turn", input_tokens=9, output_tokens=2, cache_read_input_tokens=4)
    events = played(MessageStream(), start + said("x") + end)
    assert [e for e in events if isinstance(e, UsageReported)][-1].usage == Usage(
        13, 2, 4
    )


def test_unusable_arguments_are_reported() -> None:
    block = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
    data = event("content_block_start", index=0, content_block=block)
    delta = {"type": "input_json_delta", "partial_json": '{"x": '}
    data += event("content_block_delta", index=0, delta=delta) + ended("max_tokens")
    call, *_, last = played(MessageStream(), data)
    assert isinstance(call, ToolCall)
    assert (call.arguments, bool(call.error)) == ({}, True)
    assert last == Finished(complete=False)


@pytest.mark.parametrize(
    "data",
    [
        event("ping"),
        event("something_new", x=1),
        event("message_start", message="odd"),
        event("content_block_start", index=0, content_block={"type": "new"}),
        event("content_block_delta", index=9, delta={"partial_json": "{}"}),
        event("content_block_delta", delta="odd"),
        event("content_block_stop", index=9),
        event("message_delta", delta=None, usage=[1]),
    ],
)
def test_odd_and_new_events_are_passed_over(data: bytes) -> None:
    events = played(MessageStream(), data + said("x") + ended("end_turn"))
    assert TextDelta("x") in events
    assert events[-1] == Finished()


def problem(kind: str, message: str = "", **details: Any) -> dict[str, Any]:
    """Return the body of an error."""
    error = {"type": kind, "message": message, "details": details or None}
    return {"type": "error", "error": error, "request_id": "req_1"}


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, problem("invalid_request_error", "x"), BadRequest),
        (400, problem("invalid_request_error", "prompt is too long: 210000 tokens > "
                      "200000 maximum"), ContextTooLong),
        (400, problem("invalid_request_error", "input length and `max_tokens` exceed "
                      "context limit: 190000 + 20000 > 200000"), ContextTooLong),
        (400, problem("invalid_request_error", "Your credit balance is too low"),
         AuthenticationFailed),
        (400, problem("invalid_request_error", "You have reached your specified API "
                      "usage limits."), AuthenticationFailed),
        (401, problem("authentication_error", "invalid x-api-key"),
         AuthenticationFailed),
        (402, problem("billing_error"), AuthenticationFailed),
        (403, problem("permission_error"), AuthenticationFailed),
        (404, problem("not_found_error", "model: x"), UnknownModel),
        (413, problem("request_too_large"), ContextTooLong),
        (413, "<html>", ContextTooLong),
        (429, problem("rate_limit_error"), RateLimited),
        (429, problem("rate_limit_error", error_code="enforced_spend_limit_reached"),
         AuthenticationFailed),
        (429, problem("rate_limit_error", "Your prompt is too long for this minute"),
         RateLimited),
        (500, problem("api_error", "prompt is too long"), UpstreamFailed),
        (500, problem("api_error"), UpstreamFailed),
        (529, problem("overloaded_error"), Overloaded),
        (None, problem("overloaded_error"), Overloaded),
        (None, problem("rate_limit_error"), RateLimited),
        (None, problem("authentication_error"), AuthenticationFailed),
        (None, problem("invalid_request_error", "prompt is too long"), ContextTooLong),
        (None, problem("something_new"), UpstreamFailed),
    ],
)  # fmt: skip
def test_errors_are_classified(status: int | None, body: Any, kind: type) -> None:
    assert type(error_of(status, body)) is kind


def test_pause_is_taken_from_the_header() -> None:
    body = problem("rate_limit_error", "see your spend limits")
    limited = error_of(429, body, retry_after="12")
    assert (type(limited), limited.retry_after_s) == (RateLimited, 12)
    assert (
        error_of(529, problem("overloaded_error"), retry_after="3").retry_after_s == 3
    )
    assert error_of(429, problem("rate_limit_error")).retry_after_s is None


def test_error_never_repeats_the_hosts_words() -> None:
    for status in (400, 401, 402, 403, 404, 413, 429, 500, 529, None):
        assert "canary" not in str(error_of(status, problem("x", f"bad key {KEY}")))


def target(base_url: str = "", key: str = KEY, *, trusted: bool = False) -> Target:
    """Return where to call."""
    return Target("anthropic_api", base_url, key, "say:Hi", 200_000, trusted)


async def call(where: Target) -> list[Event]:
    """Call and return the events."""
    prompt = Prompt("Be kind.", (PromptMessage("user", "Hello"),))
    async with AnthropicAPI().stream(
        prompt, where, max_output_tokens=10, timeouts=Timeouts()
    ) as events:
        return [event async for event in events]


async def test_call_goes_to_the_vendors_address_with_key_and_version(
    vendors: Upstream,
) -> None:
    assert TextDelta("Hi") in await call(target())
    (request,) = vendors.calls
    assert request.path == "/v1/messages"
    assert request.headers["x-api-key"] == KEY
    assert request.headers["anthropic-version"] == "2023-06-01"
    assert "authorization" not in request.headers


@pytest.mark.parametrize("tail", ["", "/", "/v1", "/v1/"])
async def test_address_may_be_typed_with_or_without_its_version(
    tail: str, upstream: Upstream
) -> None:
    await call(target(upstream.url + tail, trusted=True))
    assert [request.path for request in upstream.calls] == ["/v1/messages"]


async def test_vendor_is_not_asked_without_a_key(vendors: Upstream) -> None:
    with pytest.raises(AuthenticationFailed, match="enter one"):
        await call(target(key=""))
    assert vendors.calls == []


async def test_typed_loopback_address_needs_an_administrator(
    upstream: Upstream,
) -> None:
    with pytest.raises(Exception, match="private network"):
        await call(target(upstream.url))
    assert upstream.calls == []
