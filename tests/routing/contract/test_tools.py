"""Tools: offered, asked for, answered."""

from __future__ import annotations

from dataclasses import replace

import pytest

from routing.backends.base import (
    Finished,
    Prompt,
    PromptMessage,
    TextDelta,
    ToolCall,
    ToolResult,
    ToolSpec,
)
from tests.routing.contract.harness import PROMPT, WITH_TOOLS, Bench

SCHEMA = {
    "type": "object",
    "properties": {"word": {"type": "string"}},
    "required": ["word"],
}
TOOLS = (
    ToolSpec("lookup", "Looks a word up in the almanac.", SCHEMA),
    ToolSpec("clock", "Tells the time.", {"type": "object", "properties": {}}),
)
ASKING = replace(PROMPT, tools=TOOLS)


@pytest.mark.kinds(WITH_TOOLS)
async def test_tools_are_offered_and_asked_for(bench: Bench) -> None:
    outcome = await bench.call("two-tools", prompt=ASKING)
    (call,) = bench.calls
    assert outcome.error is None
    assert outcome.text == "Let me look."
    assert [(tool.name, tool.arguments) for tool in outcome.tools] == [
        ("lookup", {"word": "cortex"}), ("clock", {}),
    ]  # fmt: skip
    assert len({tool.id for tool in outcome.tools}) == 2
    assert all(tool.id and not tool.error for tool in outcome.tools)
    assert outcome.finished == Finished(complete=True)
    offered = repr(call.body["tools"])
    for tool in TOOLS:
        assert tool.name in offered
        assert tool.description in offered
    first = next(each for each in outcome.events if isinstance(each, TextDelta))
    assert outcome.events.index(first) < outcome.events.index(outcome.tools[0])


@pytest.mark.kinds(WITH_TOOLS)
async def test_result_goes_back_with_its_call(bench: Bench) -> None:
    (asked,) = (await bench.call("tool", prompt=ASKING)).tools
    results = (ToolResult(asked.id, asked.name, "Cortex: the outer layer."),)
    prompt = replace(
        ASKING,
        messages=(
            *ASKING.messages,
            PromptMessage("assistant", "", tool_calls=(asked,)),
            PromptMessage("user", "", tool_results=results),
        ),
    )
    outcome = await bench.call("say:It is the outer layer.", prompt=prompt)
    assert outcome.text == "It is the outer layer."
    body = repr(bench.calls[-1].body)
    assert "Cortex: the outer layer." in body
    assert body.count(asked.id) >= 2 or bench.kind.name == "gemini_api"
    if bench.kind.name == "gemini_api":
        assert asked.signature
        assert asked.signature in body


async def test_conversation_with_tools_can_go_on_anywhere(bench: Bench) -> None:
    call = ToolCall("call_1", "lookup", {"word": "cortex"})
    results = (ToolResult("call_1", "lookup", "The outer layer."),)
    prompt = Prompt(
        "Be kind.",
        (
            PromptMessage("user", "What is a cortex?"),
            PromptMessage("assistant", "Let me look.", tool_calls=(call,)),
            PromptMessage("user", "", tool_results=results),
        ),
        tools=TOOLS,
    )
    outcome = await bench.call("tokens-5", prompt=prompt)
    assert outcome.error is None
    sent = repr(bench.calls[0].body)
    assert "The outer layer." in sent
    if bench.kind not in WITH_TOOLS:
        assert "almanac" not in sent
