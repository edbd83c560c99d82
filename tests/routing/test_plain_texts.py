"""Prompts with tools, for hosts that know none and for estimates."""

from __future__ import annotations

from routing.attempt import prompt_tokens
from routing.backends.base import (
    Prompt,
    PromptMessage,
    ToolCall,
    ToolResult,
    ToolSpec,
)
from routing.backends.plain_texts import spelled_out, texts_of
from tests.routing.conftest import PROMPT

TOOL = ToolSpec("weather", "Tells the weather.", {"type": "object"})
USED = Prompt(
    "Be kind.",
    (
        PromptMessage("user", "Weather?"),
        PromptMessage(
            "assistant",
            "Let me look.",
            tool_calls=(ToolCall("c1", "weather", {"city": "Ulm"}),),
        ),
        PromptMessage(
            "user",
            "",
            tool_results=(
                ToolResult("c1", "weather", "Sun"),
                ToolResult("c2", "clock", "Broken", is_error=True),
            ),
        ),
    ),
    left_out_messages=3,
    tools=(TOOL,),
)


def test_prompt_without_tools_stays_as_it_is() -> None:
    assert spelled_out(PROMPT) is PROMPT


def test_calls_and_results_become_text() -> None:
    plain = spelled_out(USED)
    assert plain.tools == ()
    assert plain.left_out_messages == 3
    asked, called, answered = plain.messages
    assert asked == PromptMessage("user", "Weather?")
    assert called.text.startswith("Let me look.")
    assert "weather" in called.text and "Ulm" in called.text
    assert "Sun" in answered.text
    assert "failed: Broken" in answered.text
    assert not any(m.tool_calls or m.tool_results for m in plain.messages)


def test_everything_that_is_read_is_estimated() -> None:
    texts = "".join(texts_of(USED))
    for part in ("Be kind.", "Weather?", "Tells the", "Ulm", "Sun", "Broken", "object"):
        assert part in texts
    assert prompt_tokens(USED) > prompt_tokens(spelled_out(PROMPT)) + 20
