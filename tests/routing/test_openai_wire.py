"""The wire format of chat completions, byte by byte, without a network."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from routing.backends.api_errors import seconds_of
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
    TextDelta,
    ThinkingDelta,
    ToolCall,
    ToolResult,
    ToolSpec,
    UnknownModel,
    UpstreamFailed,
    Usage,
    UsageReported,
)
from routing.backends.openai_errors import error_of
from routing.backends.openai_wire import (
    ChatStream,
    as_stream,
    request_body,
)
from routing.backends.sse import MAX_EVENT_BYTES


def chunk(delta: dict[str, Any] | None = None, finish: str | None = None) -> bytes:
    """Return one event of a stream."""
    data = {"choices": [{"index": 0, "delta": delta or {}, "finish_reason": finish}]}
    return b"data: " + json.dumps(data, ensure_ascii=False).encode() + b"\n\n"


def said(text: str) -> bytes:
    """Return an event with text."""
    return chunk({"content": text})


DONE = b"data: [DONE]\n\n"


def read(*pieces: bytes) -> list[Event]:
    """Feed the pieces one by one and close the stream."""
    stream = ChatStream()
    events: list[Event] = []
    for piece in pieces:
        events += stream.feed(piece)
        if stream.failure:
            raise stream.failure
    events += stream.close()
    if stream.failure:
        raise stream.failure
    return events


def texts(events: list[Event]) -> tuple[str, str]:
    """Return the thinking and the text that the events make."""
    thinking = "".join(e.text for e in events if isinstance(e, ThinkingDelta))
    return thinking, "".join(e.text for e in events if isinstance(e, TextDelta))


def test_request_asks_for_stream_and_usage() -> None:
    prompt = Prompt(
        "Be kind.", (PromptMessage("user", "Hi"), PromptMessage("assistant", "Ho"))
    )
    assert request_body(prompt, "m", max_output_tokens=7) == {
        "model": "m",
        "messages": [
            {"role": "system", "content": "Be kind."},
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "Ho"},
        ],
        "max_tokens": 7,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_tools_calls_and_results_go_out_in_the_apis_form() -> None:
    schema = {"type": "object", "properties": {}}
    prompt = Prompt(
        "",
        (
            PromptMessage("user", "Weather?"),
            PromptMessage(
                "assistant", "", tool_calls=(ToolCall("c1", "weather", {"x": "ü"}),)
            ),
            PromptMessage(
                "user",
                "And now?",
                tool_results=(
                    ToolResult("c1", "weather", "Sun"),
                    ToolResult("c2", "clock", "Broken", is_error=True),
                ),
            ),
            PromptMessage(
                "user", "", tool_results=(ToolResult("c3", "clock", "10:00"),)
            ),
        ),
        tools=(ToolSpec("weather", "Tells it.", schema),),
    )
    body = request_body(prompt, "m", max_output_tokens=1)
    function = {"name": "weather", "description": "Tells it.", "parameters": schema}
    assert body["tools"] == [{"type": "function", "function": function}]
    call = {"name": "weather", "arguments": '{"x": "ü"}'}
    assert body["messages"] == [
        {"role": "user", "content": "Weather?"},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"id": "c1", "type": "function", "function": call}],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "Sun"},
        {"role": "tool", "tool_call_id": "c2", "content": "Error: Broken"},
        {"role": "user", "content": "And now?"},
        {"role": "tool", "tool_call_id": "c3", "content": "10:00"},
    ]


def test_user_text_is_sent_as_it_is() -> None:
    text = "${HOME} {{ settings.SECRET_KEY }} {% now %} %(x)s $USER"
    body = request_body(
        Prompt("", (PromptMessage("user", text),)), "m", max_output_tokens=1
    )
    assert body["messages"] == [{"role": "user", "content": text}]


def test_text_of_one_read_is_one_delta() -> None:
    assert read(said("a") + said("b") + said("c"), chunk({}, "stop") + DONE) == [
        TextDelta("abc"),
        Finished(),
    ]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 50])
def test_cuts_anywhere_change_nothing(size: int) -> None:
    usage = {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4}}
    data = (
        b": keep-alive\n\nevent: message\n"
        + chunk({"role": "assistant", "content": None})
        + said("Grüße, 世界! ")
        + said("🙂")
        + chunk({}, "stop")
        + b"data:" + json.dumps(usage).encode() + b"\r\n\r\n"
        + DONE
    )  # fmt: skip
    events = read(*(data[n : n + size] for n in range(0, len(data), size)))
    assert texts(events) == ("", "Grüße, 世界! 🙂")
    assert UsageReported(Usage(3, 4)) in events
    assert events[-1] == Finished()


@pytest.mark.parametrize("choices", [None, []])
def test_chunk_without_choices_is_no_error(choices: Any) -> None:
    data = b"data: " + json.dumps({"choices": choices}).encode() + b"\n\n"
    assert read(data, said("x"), DONE) == [TextDelta("x"), Finished()]


def test_usage_holds_what_the_host_says() -> None:
    usage = {
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "prompt_tokens_details": {"cached_tokens": 8},
    }
    data = b"data: " + json.dumps({"choices": [], "usage": usage}).encode() + b"\n\n"
    assert read(said("x"), data, DONE)[1] == UsageReported(Usage(10, 5, 8))


def test_missing_end_mark_counts_only_after_a_finish_reason() -> None:
    assert read(said("x"), chunk({}, "stop")) == [TextDelta("x"), Finished()]
    assert read(said("x")) == [TextDelta("x")]


def test_limit_makes_the_answer_incomplete() -> None:
    assert read(said("x"), chunk({}, "length"), DONE)[-1] == Finished(complete=False)


@pytest.mark.parametrize("before", [[], [said("x")]])
def test_filter_is_a_refusal_also_after_some_text(before: list[bytes]) -> None:
    with pytest.raises(Refused):
        read(*before, chunk({}, "content_filter"), DONE)


def test_usage_of_a_refused_answer_is_not_lost() -> None:
    usage = b'data: {"choices": [], "usage": {"prompt_tokens": 3}}\n\n'
    stream = ChatStream()
    stream.feed(chunk({}, "content_filter"))
    stream.feed(usage[:-1])
    assert stream.close() == [UsageReported(Usage(3))]
    assert isinstance(stream.failure, Refused)


@pytest.mark.parametrize("key", ["reasoning_content", "reasoning"])
def test_reasoning_fields_are_thinking(key: str) -> None:
    events = read(chunk({key: "hm"}), said("yes"), chunk({}, "stop"), DONE)
    assert texts(events) == ("hm", "yes")


@pytest.mark.parametrize("size", [1, 2, 3, 5, 100])
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<think>hm</think>\n\nyes", ("hm", "yes")),
        ("\n <think>hm", ("hm", "")),
        ("<think>a < b </thin</think>c", ("a < b </thin", "c")),
        ("<think>a</think><think>b</think>c", ("ab", "c")),
        ("<thing>", ("", "<thing>")),
        ("<th", ("", "<th")),
        ("Use <think> in HTML</think>", ("", "Use <think> in HTML</think>")),
        ("a</think>b", ("", "a</think>b")),
        ("  indented", ("", "  indented")),
    ],
)
def test_think_tags_at_the_beginning_are_thinking(
    text: str, expected: tuple[str, str], size: int
) -> None:
    pieces = [said(text[n : n + size]) for n in range(0, len(text), size)]
    assert texts(read(*pieces, chunk({}, "stop"), DONE)) == expected


def test_tool_call_in_pieces_is_joined_by_index() -> None:
    def piece(index: int, arguments: str, **more: Any) -> bytes:
        call = {"index": index, "function": {"arguments": arguments}, **more}
        return chunk({"tool_calls": [call]})

    first = {"index": 0, "id": "a", "function": {"name": "one", "arguments": ""}}
    second = {"index": 1, "id": "b", "function": {"name": "two", "arguments": ""}}
    events = read(
        chunk({"tool_calls": [first]}),
        piece(0, '{"x"'),
        chunk({"tool_calls": [second]}),
        piece(1, "{}"),
        piece(0, ": 1}"),
        chunk({}, "tool_calls"),
        DONE,
    )
    assert events == [
        ToolCall("a", "one", {"x": 1}),
        ToolCall("b", "two", {}),
        Finished(),
    ]


def test_whole_tool_calls_without_index_and_id_are_told_apart() -> None:
    calls = [
        {"id": "", "function": {"name": "one", "arguments": {"x": 1}}},
        {"function": {"name": "two", "arguments": '{"y": 2}'}},
    ]
    events = read(chunk({"tool_calls": calls}), chunk({}, "stop"), DONE)
    one, two = (event for event in events if isinstance(event, ToolCall))
    assert (one.name, one.arguments) == ("one", {"x": 1})
    assert (two.name, two.arguments) == ("two", {"y": 2})
    assert one.id and two.id and one.id != two.id


def test_whole_calls_that_share_an_index_are_told_apart_by_their_ids() -> None:
    def whole(call_id: str, name: str) -> bytes:
        function = {"name": name, "arguments": "{}"}
        return chunk(
            {"tool_calls": [{"index": 0, "id": call_id, "function": function}]}
        )

    events = read(whole("a", "one"), whole("b", "two"), chunk({}, "stop"), DONE)
    assert events[:2] == [ToolCall("a", "one", {}), ToolCall("b", "two", {})]


def test_id_and_name_in_every_piece_are_one_call() -> None:
    def piece(arguments: str) -> bytes:
        function = {"name": "one", "arguments": arguments}
        return chunk({"tool_calls": [{"index": 0, "id": "a", "function": function}]})

    events = read(piece('{"x"'), piece(": 1}"), chunk({}, "tool_calls"), DONE)
    assert events == [ToolCall("a", "one", {"x": 1}), Finished()]


def test_pieces_without_an_index_belong_to_the_last_call() -> None:
    first = {"id": "a", "function": {"name": "one", "arguments": '{"x"'}}
    second = {"function": {"arguments": ": 1}"}}
    pieces = (chunk({"tool_calls": [piece]}) for piece in (first, second))
    assert read(*pieces, chunk({}, "stop"))[0] == ToolCall("a", "one", {"x": 1})


@pytest.mark.parametrize("arguments", ['{"x": ', "[1]", "nonsense"])
def test_unusable_arguments_are_reported(arguments: str) -> None:
    call = {"id": "a", "function": {"name": "one", "arguments": arguments}}
    events = read(chunk({"tool_calls": [call]}), chunk({}, "tool_calls"), DONE)
    assert isinstance(events[0], ToolCall)
    assert events[0].arguments == {}
    assert "JSON" in events[0].error


def test_error_in_a_stream_comes_after_the_text_before_it() -> None:
    stream = ChatStream()
    data = said("abc") + b'data: {"error": {"message": "x", "code": 429}}\n\n'
    assert stream.feed(data) == [TextDelta("abc")]
    assert isinstance(stream.failure, RateLimited)


@pytest.mark.parametrize(
    "line", [b"data: {nope\n\n", b"data: [1]\n\n", b"data: \xff\n\n"]
)
def test_unreadable_event_is_an_error(line: bytes) -> None:
    with pytest.raises(UpstreamFailed):
        read(line)


def test_line_has_a_cap() -> None:
    stream = ChatStream()
    stream.feed(b"data: " + b"x" * MAX_EVENT_BYTES)
    assert isinstance(stream.failure, UpstreamFailed)


def test_answer_without_streaming_is_understood() -> None:
    body = {
        "choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2},
    }
    events = read(as_stream(body))
    assert texts(events) == ("", "Hi")
    assert UsageReported(Usage(1, 2)) in events
    assert events[-1] == Finished()


@pytest.mark.parametrize("body", [None, {}, [], "x", {"choices": []}])
def test_something_else_names_the_address(body: Any) -> None:
    with pytest.raises(UpstreamFailed, match="check its address"):
        as_stream(body)


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (401, {"error": {"message": "bad key"}}, AuthenticationFailed),
        (403, {"detail": "no"}, AuthenticationFailed),
        (404, {"error": "model 'x' not found"}, UnknownModel),
        (400, {"detail": "Model not found"}, UnknownModel),
        (400, {"error": {"code": "model_not_found"}}, UnknownModel),
        (402, {"error": {"message": "x"}}, AuthenticationFailed),
        (429, {"error": {"code": "insufficient_quota"}}, AuthenticationFailed),
        (409, {"error": "x"}, UpstreamFailed),
        (413, "", ContextTooLong),
        (400, {"error": {"type": "exceed_context_size_error"}}, ContextTooLong),
        (400, {"error": {"code": "context_length_exceeded"}}, ContextTooLong),
        (400, {"error": {"message": "maximum context length is 10"}}, ContextTooLong),
        (400, {"error": {"code": "content_filter"}}, Refused),
        (429, {"error": {"message": "slow down"}}, RateLimited),
        (429, {"error": {"message": "Too many tokens, please wait before trying "
                         "again."}}, RateLimited),
        (None, {"error": {"message": "too many tokens", "code": 429}}, RateLimited),
        (429, {"error": "The model was not found to be idle"}, RateLimited),
        (429, {"error": {"code": "content_filter"}}, RateLimited),
        (401, {"error": "Key not valid for context window size"}, AuthenticationFailed),
        (503, {"error": "model x not found"}, Overloaded),
        (422, {"detail": "context length exceeded"}, ContextTooLong),
        (403, {"error": {"code": "content_policy_violation"}}, Refused),
        (302, "", BadRequest),
        (400, {"error": "something"}, BadRequest),
        (422, {"detail": [{"loc": "x"}]}, BadRequest),
        (408, "", UpstreamFailed),
        (500, {"error": "oops"}, UpstreamFailed),
        (503, {"error": {"message": "Loading model"}}, Overloaded),
        (529, None, Overloaded),
        (None, {"error": {"message": "x", "code": 429}}, RateLimited),
        (None, {"error": {"message": "x", "code": None}}, UpstreamFailed),
        (None, {"error": {"type": "exceed_context_size_error"}}, ContextTooLong),
        (None, {"error": "model x not found"}, UnknownModel),
    ],
)  # fmt: skip
def test_errors_are_classified(status: int | None, body: Any, kind: type) -> None:
    assert type(error_of(status, body)) is kind


def test_error_never_repeats_the_hosts_words() -> None:
    body = {"error": {"message": "Incorrect API key provided: sk-canary"}}
    for status in (400, 401, 403, 404, 413, 429, 500, None):
        assert "canary" not in str(error_of(status, body))


def test_retry_after_takes_seconds_and_dates() -> None:
    soon = datetime.now(UTC) + timedelta(seconds=90)
    assert seconds_of("7") == 7
    assert seconds_of(None) is None
    assert seconds_of("soon") is None
    assert 80 < (seconds_of(format_datetime(soon, usegmt=True)) or 0) <= 90
    for body in ({}, {"error": "Too many tokens, please wait before trying again."}):
        assert error_of(429, body, retry_after="3").retry_after_s == 3


DEEP = "[" * 200_000


@pytest.mark.parametrize(
    "chunk",
    [
        {"choices": [], "usage": [1]},
        {"choices": [], "usage": {"prompt_tokens_details": [1]}},
        {"choices": ["odd"]},
        {"choices": {"0": 1}},
        {"choices": [{"delta": "odd"}]},
        {"choices": [{"delta": {"content": ["odd"]}}]},
        {"choices": [{"delta": {"content": "", "tool_calls": {"id": 1}}}]},
        {"choices": [{"delta": {"tool_calls": ["odd", {"function": "odd"}]}}]},
    ],
)
def test_odd_shapes_are_passed_over(chunk: dict[str, Any]) -> None:
    stream = ChatStream()
    stream.feed(b"data: " + json.dumps(chunk).encode() + b"\n\n")
    assert stream.failure is None


def test_deep_nesting_is_unreadable() -> None:
    stream = ChatStream()
    stream.feed(b"data: " + DEEP.encode() + b"\n\n")
    assert isinstance(stream.failure, UpstreamFailed)


def test_deep_arguments_of_a_tool_are_an_error_for_the_model() -> None:
    call = {"function": {"name": "f", "arguments": DEEP}}
    chunk = {"choices": [{"delta": {"tool_calls": [call]}, "finish_reason": "stop"}]}
    stream = ChatStream()
    stream.feed(b"data: " + json.dumps(chunk).encode() + b"\n\n")
    (tool, _) = stream.close()
    assert isinstance(tool, ToolCall)
    assert tool.error
