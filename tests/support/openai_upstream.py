"""The mock's side of OpenAI's wire format.

``POST …/chat/completions`` and ``GET …/models``.
Source: OpenAI API reference, chat completions, streaming.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from tests.support.wire import FELL_OVER, Call, ToolRequest, Wire, data_event

FINISH = {
    "stop": "stop",
    "length": "length",
    "filtered": "content_filter",
    "tool": "tool_calls",
}


class OpenAIWire(Wire):
    """Chat completions."""

    name = "openai"

    def asks(self, call: Call) -> bool:
        """Say whether the call asks for an answer."""
        return call.method == "POST" and call.path.endswith("/chat/completions")

    def model(self, call: Call) -> str:
        """Return the model's name."""
        return str(call.body.get("model", ""))

    def streams(self, call: Call) -> bool:
        """Say whether the answer is to be streamed."""
        return bool(call.body.get("stream"))

    def prompt(self, call: Call) -> str:
        """Return the text of the last user message."""
        for message in reversed(call.body.get("messages", [])):
            if message.get("role") == "user":
                return _content(message)
        return ""

    def texts(self, call: Call) -> list[str]:
        """Return all texts that were sent."""
        return [_content(message) for message in call.body.get("messages", [])]

    def start(self, call: Call, *, usage: bool) -> bytes:
        """Return the event that names the role."""
        return _event(call.model, {"role": "assistant", "content": ""})

    def text_event(self, call: Call, piece: str) -> bytes:
        """Return the event that carries a piece of the answer."""
        before, after = _around_text(call.model)
        return before + json.dumps(piece, ensure_ascii=False).encode() + after

    def thinking_event(self, call: Call, piece: str) -> bytes:
        """Return the event that carries a piece of reasoning."""
        return _event(call.model, {"reasoning_content": piece})

    def tool_events(self, call: Call, tools: Sequence[ToolRequest]) -> list[bytes]:
        """Return the calls in pieces; those of several calls are interleaved."""
        first = [
            {
                "index": index,
                "id": tool.id,
                "type": "function",
                "function": {"name": tool.name, "arguments": ""},
            }
            for index, tool in enumerate(tools)
        ]
        rest = [
            (place, {"index": index, "function": {"arguments": piece}})
            for index, tool in enumerate(tools)
            for place, piece in enumerate(tool.pieces)
        ]
        rest.sort(key=lambda each: each[0])
        pieces = [*first, *(piece for _, piece in rest)]
        return [_event(call.model, {"tool_calls": [piece]}) for piece in pieces]

    def end(self, call: Call, finish: str, *, usage: bool) -> bytes:
        """Return finish reason, usage if it was asked for, and end mark."""
        data = _event(call.model, {}, FINISH[finish])
        options = call.body.get("stream_options") or {}
        if usage and options.get("include_usage"):
            call.usage_sent = True
            payload = {"choices": [], "model": call.model, "usage": _usage(call)}
            data += data_event(payload)
        return data + b"data: [DONE]\n\n"

    def whole(self, call: Call, text: str, finish: str) -> dict[str, Any]:
        """Return an answer in one piece."""
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "message": message, "finish_reason": FINISH[finish]}
        call.usage_sent = True
        return {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "model": call.model,
            "choices": [choice],
            "usage": _usage(call),
        }

    def error(
        self, status: int, message: str, *, retry_after_s: int | None = None
    ) -> tuple[dict[str, Any], dict[str, str]]:
        """Return body and headers of a refusal."""
        error = {"message": message, "type": "scripted"}
        if status == 404:
            error["code"] = "model_not_found"
        headers = {} if retry_after_s is None else {"Retry-After": str(retry_after_s)}
        return {"error": error}, headers

    def error_event(self) -> bytes:
        """Return the event that ends a stream which began well."""
        return data_event({"error": {"message": FELL_OVER, "code": 500}})

    def too_long(self, call: Call) -> dict[str, Any]:
        """Return the body of the status 400 for a prompt that is too long."""
        error = {
            "code": 400,
            "type": "exceed_context_size_error",
            "message": "the request exceeds the available context size",
            "n_prompt_tokens": call.input_tokens,
            "n_ctx": 1024,
        }
        return {"error": error}

    def listing(self, models: Sequence[str]) -> dict[str, Any]:
        """Return the list of models."""
        data = [{"id": name, "object": "model"} for name in models]
        return {"object": "list", "data": data}


def _content(message: dict[str, Any]) -> str:
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in content)


def _event(model: str, delta: dict[str, Any], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    payload = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": model,
        "choices": [choice],
    }
    return data_event(payload)


@lru_cache(maxsize=64)
def _around_text(model: str) -> tuple[bytes, bytes]:
    """Return what stands before and after the text in an event; each token needs it."""
    before, _, after = _event(model, {"content": "@@@@"}).partition(b'"@@@@"')
    return before, after


def _usage(call: Call) -> dict[str, Any]:
    return {
        "prompt_tokens": call.input_tokens,
        "completion_tokens": call.output_tokens,
        "total_tokens": call.input_tokens + call.output_tokens,
        "prompt_tokens_details": {"cached_tokens": call.cache_read_tokens},
    }
