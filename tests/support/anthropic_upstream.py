"""The mock's side of Anthropic's wire format.

``POST /v1/messages`` (the ``claude`` program adds ``?beta=true``) and
``GET /v1/models``. Source: Anthropic API reference, "Messages", "Streaming messages",
"Errors", "Models".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.support.wire import FELL_OVER, Call, ToolRequest, Wire, data_event

FINISH = {
    "stop": "end_turn",
    "length": "max_tokens",
    "filtered": "refusal",
    "tool": "tool_use",
}
ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}
DELTAS = {"text": ("text_delta", "text"), "thinking": ("thinking_delta", "thinking")}


class AnthropicWire(Wire):
    """Messages."""

    name = "anthropic"

    def asks(self, call: Call) -> bool:
        """Say whether the call asks for an answer."""
        path = call.path.partition("?")[0]
        return call.method == "POST" and path.endswith("/v1/messages")

    def model(self, call: Call) -> str:
        """Return the model's name."""
        return str(call.body.get("model", ""))

    def streams(self, call: Call) -> bool:
        """Say whether the answer is to be streamed."""
        return bool(call.body.get("stream"))

    def prompt(self, call: Call) -> str:
        """Return the last text of the last user message; programs put theirs before."""
        for message in reversed(call.body.get("messages", [])):
            if message.get("role") == "user":
                return (_texts(message.get("content")) or [""])[-1]
        return ""

    def texts(self, call: Call) -> list[str]:
        """Return all texts that were sent."""
        texts = _texts(call.body.get("system"))
        for message in call.body.get("messages", []):
            texts += _texts(message.get("content"))
        return texts

    def start(self, call: Call, *, usage: bool) -> bytes:
        """Return the event that tells the input's tokens, and a ping."""
        message: dict[str, Any] = {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": call.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
        }
        if usage:
            message["usage"] = _usage(call, 1)
        return _event("message_start", message=message) + _event("ping")

    def text_event(self, call: Call, piece: str) -> bytes:
        """Return the event that carries a piece, opening its block before the first."""
        return self._piece(call, "text", piece)

    def thinking_event(self, call: Call, piece: str) -> bytes:
        """Return the event that carries a piece of reasoning."""
        return self._piece(call, "thinking", piece)

    def tool_events(self, call: Call, tools: Sequence[ToolRequest]) -> list[bytes]:
        """Return one block for each call, its arguments in pieces."""
        events = []
        for tool in tools:
            block = {"type": "tool_use", "id": tool.id, "name": tool.name, "input": {}}
            events.append(self._open(call, block))
            for piece in tool.pieces:
                delta = {"type": "input_json_delta", "partial_json": piece}
                events.append(_event("content_block_delta", call, delta=delta))
        return events

    def end(self, call: Call, finish: str, *, usage: bool) -> bytes:
        """Return the end of the block, the stop reason with usage, and the end."""
        delta = {"stop_reason": FINISH[finish], "stop_sequence": None}
        fields: dict[str, Any] = {"delta": delta}
        if usage:
            call.usage_sent = True
            fields["usage"] = {"output_tokens": call.output_tokens}
        return (
            self._close(call)
            + _event("message_delta", **fields)
            + _event("message_stop")
        )

    def whole(self, call: Call, text: str, finish: str) -> dict[str, Any]:
        """Return an answer in one piece."""
        call.usage_sent = True
        return {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": call.model,
            "content": [{"type": "text", "text": text}] if text else [],
            "stop_reason": FINISH[finish],
            "stop_sequence": None,
            "usage": _usage(call, call.output_tokens),
        }

    def error(
        self, status: int, message: str, *, retry_after_s: int | None = None
    ) -> tuple[dict[str, Any], dict[str, str]]:
        """Return body and headers of a refusal."""
        headers = {"request-id": "req_1"}
        if retry_after_s is not None:
            headers["retry-after"] = str(retry_after_s)
        return _error(ERROR_TYPES.get(status, "api_error"), message), headers

    def error_event(self) -> bytes:
        """Return the event that ends a stream which began well."""
        return data_event(_error("api_error", FELL_OVER), name="error")

    def too_long(self, call: Call) -> dict[str, Any]:
        """Return the body of the status 400 for a prompt that is too long."""
        words = f"prompt is too long: {call.input_tokens} tokens > 1024 maximum"
        return _error("invalid_request_error", words)

    def listing(self, models: Sequence[str]) -> dict[str, Any]:
        """Return the list of models."""
        data = [
            {
                "type": "model",
                "id": name,
                "display_name": name,
                "created_at": "2026-01-01T00:00:00Z",
            }
            for name in models
        ]
        ends = {"first_id": models[0], "last_id": models[-1]} if models else {}
        return {"data": data, "has_more": False, **ends}

    def _piece(self, call: Call, kind: str, piece: str) -> bytes:
        before = b""
        delta_type, field = DELTAS[kind]
        if call.block != kind:
            before = self._open(call, {"type": kind, field: ""})
        delta = {"type": delta_type, field: piece}
        return before + _event("content_block_delta", call, delta=delta)

    def _open(self, call: Call, block: dict[str, Any]) -> bytes:
        before = self._close(call)
        call.block = block["type"]
        call.blocks += 1
        return before + _event("content_block_start", call, content_block=block)

    def _close(self, call: Call) -> bytes:
        if not call.block:
            return b""
        events = b""
        if call.block == "thinking":
            delta = {"type": "signature_delta", "signature": "c2lnbmVk"}
            events = _event("content_block_delta", call, delta=delta)
        call.block = ""
        return events + _event("content_block_stop", call)


def _texts(content: Any) -> list[str]:
    if isinstance(content, str):
        return [content]
    texts = []
    for part in content or []:
        if part.get("type") == "text":
            texts.append(part.get("text", ""))
        elif part.get("type") == "tool_result":
            texts += _texts(part.get("content"))
    return texts


def _event(name: str, call: Call | None = None, **fields: Any) -> bytes:
    """Return one event; those of a block carry its number."""
    index = {} if call is None else {"index": call.blocks - 1}
    return data_event({"type": name, **index, **fields}, name=name)


def _error(kind: str, message: str) -> dict[str, Any]:
    error = {"type": kind, "message": message}
    return {"type": "error", "error": error, "request_id": "req_1"}


def _usage(call: Call, output_tokens: int) -> dict[str, Any]:
    cached = call.cache_read_tokens + call.cache_write_tokens
    return {
        "input_tokens": call.input_tokens - cached,
        "cache_creation_input_tokens": call.cache_write_tokens,
        "cache_read_input_tokens": call.cache_read_tokens,
        "output_tokens": output_tokens,
    }
