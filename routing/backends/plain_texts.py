"""All texts of a prompt: to estimate it, and for hosts that know no tools."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

from routing.backends.base import Prompt, PromptMessage


def texts_of(prompt: Prompt) -> Iterator[str]:
    """Yield every text of a prompt that a host reads, tools included."""
    yield prompt.system
    for tool in prompt.tools:
        yield tool.name + tool.description + json.dumps(tool.parameters)
    for message in prompt.messages:
        yield message.text
        for call in message.tool_calls:
            yield call.name + json.dumps(call.arguments, ensure_ascii=False)
        for result in message.tool_results:
            yield result.name + result.text


def spelled_out(prompt: Prompt) -> Prompt:
    """Return the prompt for a host without tools: calls and results become text."""
    used = any(m.tool_calls or m.tool_results for m in prompt.messages)
    if not used and not prompt.tools:
        return prompt
    messages = tuple(map(_spelled_out, prompt.messages))
    return replace(prompt, messages=messages, tools=())


def _spelled_out(message: PromptMessage) -> PromptMessage:
    calls = [
        f"[I called {call.name} with {json.dumps(call.arguments, ensure_ascii=False)}.]"
        for call in message.tool_calls
    ]
    results = [
        f"[{result.name} {'failed' if result.is_error else 'answered'}: {result.text}]"
        for result in message.tool_results
    ]
    parts = [*results, message.text, *calls]
    text = "\n\n".join(part for part in parts if part)
    return PromptMessage(message.role, text)
