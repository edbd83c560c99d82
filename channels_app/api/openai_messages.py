"""A client's conversation as the prompts of Cortex have it. Pure.

Source: OpenAI API reference, "Create chat completion" and "Function calling".
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Literal

from channels_app.api.openai_requests import ChatMessage, CompletionRequest
from channels_app.errors import TurnError
from channels_app.turn_requests import check_characters
from routing.backends.base import PromptMessage, ToolCall, ToolResult, ToolSpec
from routing.backends.wire import tool_call


def system_of(request: CompletionRequest) -> str:
    """Return the client's instructions, wherever in the conversation they stand."""
    texts = [
        message.content
        for message in request.messages
        if message.role in {"system", "developer"} and message.content
    ]
    return "\n\n".join(texts)


def tools_of(request: CompletionRequest) -> tuple[ToolSpec, ...]:
    """Return the tools that the model may call in this answer."""
    if request.tool_choice == "none":
        return ()
    return tuple(
        ToolSpec(
            name=tool.function.name,
            description=tool.function.description or "",
            parameters=tool.function.parameters or {"type": "object", "properties": {}},
        )
        for tool in request.tools or ()
    )


def messages_of(request: CompletionRequest) -> tuple[PromptMessage, ...]:
    """Return the conversation as prompts have it; empty messages are left out.

    Raises:
        TurnError: ``bad_request`` – calls of tools and results do not match, or there
            are characters that no host takes.
    """
    messages = tuple(_prompt_messages(request.messages))
    check_characters("".join(_all_texts(request, messages)))
    return messages


def last_user_text(request: CompletionRequest) -> str:
    """Return the newest message of the person; raises ``TurnError`` (bad_request)."""
    for message in reversed(request.messages):
        if message.role == "user":
            return message.content or ""
    raise TurnError("bad_request", "There is no message to answer.")


def _prompt_messages(messages: Sequence[ChatMessage]) -> Iterator[PromptMessage]:
    pending: dict[str, ToolCall] = {}
    results: list[ToolResult] = []
    for place, message in enumerate(messages):
        if message.role == "tool":
            results.append(_result_of(message, pending, place))
            continue
        if message.role in {"system", "developer"}:
            continue
        _check_answered(pending, place)
        if results:
            yield PromptMessage("user", "", tool_results=tuple(results))
            results = []
        calls = _calls_of(message)
        pending = {call.id: call for call in calls}
        text = message.content or ""
        if text or calls:
            role: Literal["user", "assistant"] = (
                "user" if message.role == "user" else "assistant"
            )
            yield PromptMessage(role, text, tool_calls=calls)
    _check_answered(pending, len(messages))
    if results:
        yield PromptMessage("user", "", tool_results=tuple(results))


def _calls_of(message: ChatMessage) -> tuple[ToolCall, ...]:
    if message.role != "assistant":
        return ()
    return tuple(
        tool_call(call.id, call.function.name, call.function.arguments)
        for call in message.tool_calls or ()
    )


def _result_of(
    message: ChatMessage, pending: dict[str, ToolCall], place: int
) -> ToolResult:
    call = pending.pop(message.tool_call_id or "", None)
    if call is None:
        raise TurnError(
            "bad_request",
            f"“messages.{place}” is the result of a call that the message before it "
            "did not make.",
        )
    return ToolResult(call.id, call.name, message.content or "")


def _check_answered(pending: dict[str, ToolCall], place: int) -> None:
    """Refuse calls without results: no host takes them."""
    if pending:
        names = ", ".join(call.name for call in pending.values())
        raise TurnError(
            "bad_request", f"Before “messages.{place}” a result is missing: {names}."
        )


def _all_texts(
    request: CompletionRequest, messages: Sequence[PromptMessage]
) -> Iterator[str]:
    yield system_of(request)
    for message in messages:
        yield message.text
        for call in message.tool_calls:
            yield call.id + call.name
            yield json.dumps(call.arguments, ensure_ascii=False)
        yield from (result.text for result in message.tool_results)
    for tool in tools_of(request):
        yield tool.description + json.dumps(tool.parameters, ensure_ascii=False)
