"""The chat completions wire format: request body and streamed events.

Pure: bytes in, events out, no network. ``local_openai`` and ``builtin`` speak it.
Servers differ, so the reader is lenient where their dialects are known: ``choices``
may be empty or null, ``content`` null, reasoning may come as ``reasoning_content``,
``reasoning`` or ``<think>`` at the beginning of the text, tool calls in pieces or
whole, errors as an object or a plain text, even inside a stream that began well.

Source: OpenAI API reference, "Chat completions" and "Streaming"; Ollama, "OpenAI
compatibility"; Open WebUI, "API endpoints"; llama.cpp, server README.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from routing.backends.api_errors import refused
from routing.backends.base import (
    Finished,
    Prompt,
    PromptMessage,
    UpstreamFailed,
    Usage,
)
from routing.backends.openai_errors import error_of
from routing.backends.openai_thinking import ThinkingSplitter
from routing.backends.openai_tools import ToolCallCollector
from routing.backends.wire import (
    AnswerStream,
    as_count,
    as_list,
    as_object,
    as_text,
    decoded,
)


def request_body(
    prompt: Prompt, model_name: str, *, max_output_tokens: int
) -> dict[str, Any]:
    """Return the JSON body that asks for a streamed answer with usage."""
    messages = [{"role": "system", "content": prompt.system}] if prompt.system else []
    body: dict[str, Any] = {
        "model": model_name,
        "messages": [
            *messages,
            *(row for message in prompt.messages for row in _rows(message)),
        ],
        "max_tokens": max_output_tokens,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if prompt.tools:
        body["tools"] = [
            {
                "type": "function",
                "function": {
                    "name": tool.name,
                    "description": tool.description,
                    "parameters": tool.parameters,
                },
            }
            for tool in prompt.tools
        ]
    return body


def _rows(message: PromptMessage) -> Iterator[dict[str, Any]]:
    """Yield the rows that one message makes: each tool's result is one of its own."""
    for result in message.tool_results:
        # The format has no place to say that a tool failed.
        text = f"Error: {result.text}" if result.is_error else result.text
        yield {"role": "tool", "tool_call_id": result.call_id, "content": text}
    if message.tool_results and not message.text:
        return
    row: dict[str, Any] = {"role": message.role, "content": message.text}
    if message.tool_calls:
        row["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {
                    "name": call.name,
                    "arguments": json.dumps(call.arguments, ensure_ascii=False),
                },
            }
            for call in message.tool_calls
        ]
    yield row


class ChatStream(AnswerStream):
    """Turns the bytes of one streamed chat completion into events."""

    __slots__ = ("_finish", "_splitter", "_tools")

    def __init__(self) -> None:
        super().__init__()
        self._finish = ""
        self._splitter = ThinkingSplitter()
        self._tools = ToolCallCollector()

    @property
    def finishing(self) -> bool:
        """Whether the host said why the answer ends; usage and end mark may follow."""
        return bool(self._finish)

    def _take(self, name: str, data: bytes) -> None:
        if data.strip() == b"[DONE]":
            self.ended = True
            return
        chunk = decoded(data)
        if chunk.get("error"):
            raise error_of(None, chunk)
        choices = chunk.get("choices")
        if choices and isinstance(choices, list):
            self._choice(as_object(choices[0]))
        usage = chunk.get("usage")
        if usage and isinstance(usage, dict):
            self._count(usage_of(usage))

    def _choice(self, choice: dict[str, Any]) -> None:
        delta = as_object(choice.get("delta"))
        content = delta.get("content")
        if content and isinstance(content, str):
            thought, said = self._splitter.feed(content)
            self._think(thought)
            self._say(said)
        else:
            reasoning = delta.get("reasoning_content") or delta.get("reasoning")
            self._think(as_text(reasoning))
        if pieces := delta.get("tool_calls"):
            self._tools.add(as_list(pieces))
        if choice.get("finish_reason"):
            self._finish = str(choice["finish_reason"])

    def _conclude(self) -> None:
        thinking, text = self._splitter.finish()
        self._think(thinking)
        self._say(text)
        for call in self._tools.finish():
            self._emit(call)
        if self._finish == "content_filter":
            raise refused()
        self._emit(Finished(complete=self._finish != "length"))


def as_stream(data: Any) -> bytes:
    """Return the stream that would have brought an answer which came in one piece.

    Raises:
        UpstreamFailed: It is no answer.
    """
    choices = as_list(as_object(data).get("choices"))
    if not choices:
        raise UpstreamFailed(
            "The host did not answer as an OpenAI-compatible server does; "
            "check its address."
        )
    choice = as_object(choices[0])
    chunk = {
        "choices": [
            {
                "delta": choice.get("message") or {},
                "finish_reason": choice.get("finish_reason") or "stop",
            }
        ],
        "usage": as_object(data).get("usage"),
    }
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


def usage_of(usage: dict[str, Any]) -> Usage:
    """Return the host's count; what it does not say stays ``None``."""
    details = as_object(usage.get("prompt_tokens_details"))
    return Usage(
        input_tokens=as_count(usage.get("prompt_tokens")),
        output_tokens=as_count(usage.get("completion_tokens")),
        cache_read_tokens=as_count(details.get("cached_tokens")),
    )
