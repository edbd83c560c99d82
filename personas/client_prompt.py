"""The prompt of a call whose conversation a program brings with it.

The persona's instructions stand in front, as ``personas.context`` makes them, then the
program's own, then the time. The messages are the program's: with calls of tools and
their results, which stay together. From the person's last message on everything is
sent; of what is older the newest that fits. Pure, so that the dispatcher can build it
anew for each model.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

from personas.errors import TooLong
from personas.prompts import HistoryMessage, Material, compose
from routing.backends.base import Prompt, PromptMessage, ToolSpec
from routing.tokens import MESSAGE_OVERHEAD_TOKENS, estimate_tokens


@dataclass(frozen=True, slots=True)
class ClientMaterial:
    """Everything such a prompt can be made of, in plain values."""

    persona: Material | None
    """The persona's part alone; ``None`` = the program's instructions alone."""
    system: str
    messages: tuple[PromptMessage, ...]
    """Oldest first; at least one is the person's."""
    tools: tuple[ToolSpec, ...] = ()


def build_client_prompt(material: ClientMaterial, budget_tokens: int) -> Prompt:
    """Cut the material to a budget of input tokens.

    Raises:
        TooLong: The instructions, the tools and what is to be answered do not fit.
    """
    start = _newest_question(material.messages)
    older, wanted = material.messages[:start], material.messages[start:]
    needed = (
        sum(map(_tokens, wanted))
        + sum(map(_tokens_of_tool, material.tools))
        + (estimate_tokens(material.system) + 1 if material.system else 0)
    )
    instructions, room = _instructions(material, needed, budget_tokens)
    kept = _that_fit(older, room)
    return replace(
        instructions,
        messages=_joined((*kept, *wanted)),
        tools=material.tools,
        left_out_messages=len(older) - len(kept),
    )


def _instructions(
    material: ClientMaterial, needed: int, budget_tokens: int
) -> tuple[Prompt, int]:
    """Return a prompt without messages, and the room that is left for older ones."""
    if material.persona is None:
        frame = MESSAGE_OVERHEAD_TOKENS if material.system else 0
        if needed + frame > budget_tokens:
            raise TooLong(needed + frame, budget_tokens)
        return Prompt(material.system, ()), budget_tokens - needed - frame
    # What is needed beside the persona counts as its current message.
    current = HistoryMessage("user", "", needed)
    made = compose(replace(material.persona, current=current), budget_tokens)
    prompt = made.prompt
    first = prompt.system.removesuffix(prompt.passing).rstrip()
    parts = (first, material.system, prompt.passing)
    system = "\n\n".join(part for part in parts if part)
    return (
        replace(prompt, system=system),
        budget_tokens - made.system_tokens - needed,
    )


def _is_question(message: PromptMessage) -> bool:
    """Say whether a person wrote it, so that a prompt may begin with it."""
    return message.role == "user" and not message.tool_results


def _newest_question(messages: Sequence[PromptMessage]) -> int:
    """Return where the person's last message stands; 0 where only results are."""
    for place in range(len(messages) - 1, 0, -1):
        if _is_question(messages[place]):
            return place
    return 0


def _that_fit(older: tuple[PromptMessage, ...], room: int) -> tuple[PromptMessage, ...]:
    """Return the newest messages that fit, beginning with a person's."""
    start = len(older)
    for place in range(len(older) - 1, -1, -1):
        room -= _tokens(older[place])
        if room < 0:
            break
        if _is_question(older[place]):
            start = place
    return older[start:]


def _joined(messages: tuple[PromptMessage, ...]) -> tuple[PromptMessage, ...]:
    """Join neighbours of one role that are mere text: many templates refuse them."""
    joined: list[PromptMessage] = []
    for message in messages:
        last = joined[-1] if joined else None
        if last and last.role == message.role and _is_text(last) and _is_text(message):
            joined[-1] = PromptMessage(message.role, f"{last.text}\n\n{message.text}")
        else:
            joined.append(message)
    return tuple(joined)


def _is_text(message: PromptMessage) -> bool:
    return not (message.tool_calls or message.tool_results)


def _tokens(message: PromptMessage) -> int:
    texts = [message.text]
    for call in message.tool_calls:
        texts += [call.name, json.dumps(call.arguments, ensure_ascii=False)]
    texts += [result.name + result.text for result in message.tool_results]
    return estimate_tokens("".join(texts)) + MESSAGE_OVERHEAD_TOKENS


def _tokens_of_tool(tool: ToolSpec) -> int:
    described = tool.name + tool.description + json.dumps(tool.parameters)
    return estimate_tokens(described) + MESSAGE_OVERHEAD_TOKENS
