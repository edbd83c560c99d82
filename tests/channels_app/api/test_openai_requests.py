"""What is read of a client's conversation, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from channels_app.api.openai_messages import (
    last_user_text,
    messages_of,
    system_of,
    tools_of,
)
from channels_app.api.openai_requests import CompletionRequest
from channels_app.errors import TurnError
from routing.backends.base import PromptMessage, ToolCall, ToolResult

CALL = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "lookup", "arguments": '{"word": "cortex"}'},
}
CALLED = {"role": "assistant", "content": None, "tool_calls": [CALL]}
RESULT = {"role": "tool", "tool_call_id": "call_1", "content": "bark"}
TOOL = {"type": "function", "function": {"name": "lookup"}}


def user(text: Any) -> dict[str, Any]:
    return {"role": "user", "content": text}


def parsed(*messages: dict[str, Any], **fields: Any) -> CompletionRequest:
    return CompletionRequest.model_validate(
        {"model": "inara", "messages": list(messages)} | fields
    )


def test_calls_and_results_become_messages_of_the_prompt() -> None:
    request = parsed(user("What is it?"), CALLED, RESULT)
    call = ToolCall("call_1", "lookup", {"word": "cortex"})
    result = ToolResult("call_1", "lookup", "bark")
    assert messages_of(request) == (
        PromptMessage("user", "What is it?"),
        PromptMessage("assistant", "", tool_calls=(call,)),
        PromptMessage("user", "", tool_results=(result,)),
    )


def test_results_of_one_answer_are_one_message() -> None:
    second = CALL | {"id": "call_2"}
    called = CALLED | {"tool_calls": [CALL, second]}
    results = (RESULT | {"tool_call_id": "call_2"}, RESULT)
    messages = messages_of(parsed(user("x"), called, *results, user("y")))
    assert [message.role for message in messages] == [
        "user",
        "assistant",
        "user",
        "user",
    ]
    found = [result.call_id for result in messages[2].tool_results]
    assert found == ["call_2", "call_1"]


def test_the_same_id_may_come_again_in_a_later_round() -> None:
    messages = messages_of(parsed(user("x"), CALLED, RESULT, CALLED, RESULT))
    assert [len(message.tool_results) for message in messages] == [0, 0, 1, 0, 1]


@pytest.mark.parametrize(
    "messages",
    [
        (user("x"), RESULT),
        (user("x"), CALLED, RESULT, RESULT),
        (user("x"), CALLED, RESULT | {"tool_call_id": "call_7"}),
        (user("x"), CALLED, {"role": "tool", "content": "bark"}),
        (user("x"), CALLED),
        (user("x"), CALLED, user("y")),
        (user("x"), CALLED | {"tool_calls": [CALL, CALL | {"id": "2"}]}, RESULT),
    ],
)
def test_calls_and_results_must_match(messages: Any) -> None:
    with pytest.raises(TurnError) as caught:
        messages_of(parsed(*messages))
    assert caught.value.code == "bad_request"


def test_broken_arguments_in_the_history_do_not_break_the_request() -> None:
    broken = CALL | {"function": {"name": "lookup", "arguments": '{"word": '}}
    messages = messages_of(parsed(user("x"), CALLED | {"tool_calls": [broken]}, RESULT))
    assert messages[1].tool_calls[0].arguments == {}


def test_instructions_are_collected_and_empty_messages_left_out() -> None:
    request = parsed(
        {"role": "system", "content": "Be kind."},
        user("One"),
        {"role": "assistant", "content": ""},
        {"role": "developer", "content": [{"type": "text", "text": "Be brief."}]},
        user([{"type": "text", "text": "Two"}, {"type": "text", "text": "Three"}]),
    )
    assert system_of(request) == "Be kind.\n\nBe brief."
    assert [message.text for message in messages_of(request)] == [
        "One",
        "Two\n\nThree",
    ]
    assert last_user_text(request) == "Two\n\nThree"


def test_no_tools_are_offered_where_none_may_be_chosen() -> None:
    assert len(tools_of(parsed(user("x"), tools=[TOOL]))) == 1
    assert tools_of(parsed(user("x"), tools=[TOOL], tool_choice="none")) == ()


def test_a_tool_without_parameters_takes_none() -> None:
    (tool,) = tools_of(parsed(user("x"), tools=[TOOL]))
    assert tool.parameters == {"type": "object", "properties": {}}


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("a\0b", "user"),
        ("a\ud800b", "user"),
        ("a\0b", "result"),
        ("a\ud800b", "result"),
        ("a\ud800b", "tool"),
    ],
)
def test_characters_that_no_host_takes(text: str, place: str) -> None:
    described = {"name": "lookup", "parameters": {"description": text}}
    with pytest.raises((TurnError, ValidationError)):
        messages_of(
            parsed(
                user(text if place == "user" else "x"),
                CALLED,
                RESULT | ({"content": text} if place == "result" else {}),
                tools=[TOOL | {"function": described}] if place == "tool" else None,
            )
        )


@pytest.mark.parametrize(
    "fields",
    [
        {"temperature": 0.2, "top_p": 1, "seed": 7, "user": "x", "logit_bias": {}},
        {"n": 1, "logprobs": False, "functions": [], "stop": None},
        {"response_format": {"type": "text"}, "modalities": ["text"]},
        {"tools": [], "tool_choice": "auto", "parallel_tool_calls": True},
        {"store": False, "metadata": {"a": "b"}, "unheard_of": [1]},
    ],
)
def test_what_changes_nothing_here_is_taken(fields: dict[str, Any]) -> None:
    assert parsed(user("x"), **fields).model == "inara"


@pytest.mark.parametrize(
    "fields",
    [
        {"n": 0},
        {"n": 2},
        {"stop": ""},
        {"stop": ["a"] * 5},
        {"max_tokens": "7"},
        {"max_completion_tokens": 0},
        {"tools": [{"type": "web_search"}]},
        {"tools": [{"type": "function", "function": {"name": "no good"}}]},
        {"tool_choice": {"type": "function", "function": {"name": "lookup"}}},
        {"functions": [{"name": "lookup"}]},
        {"modalities": ["audio"]},
        {"stream": "yes"},
        {"messages": [{"role": "function", "content": "x"}]},
        {"messages": [{"role": "user", "content": 7}]},
        {"messages": [user([{"type": "input_audio"}])]},
        {"messages": [user([{"type": "image_url", "text": "x"}])]},
    ],
)
def test_what_would_change_the_answer_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        parsed(**({"messages": [user("x")]} | fields))
