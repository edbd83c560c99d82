"""The mock's side of Gemini's wire format.

``POST /v1beta/models/NAME:streamGenerateContent?alt=sse``, ``…:generateContent`` and
``GET /v1beta/models``. Source: Gemini API reference, "Generating content", "Models",
"Troubleshooting guide" (errors).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote

from tests.support.wire import FELL_OVER, Call, ToolRequest, Wire, data_event

FINISH = {
    "stop": "STOP",
    "length": "MAX_TOKENS",
    "filtered": "SAFETY",
    "tool": "STOP",
}
STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
CALL = re.compile(r"/v1(?:beta)?/models/(.+):(streamGenerateContent|generateContent)")
NO_MODEL = (
    "models/gemini-2.5-flash is not found for API version v1beta, or is not supported "
    "for generateContent. Call ListModels to see the list of available models."
)
"""What programs know an unknown model by; they do not tell the status."""
TYPE_URL = "type.googleapis.com/google.rpc."


class GeminiWire(Wire):
    """Generating content. Every event but those of ``no-usage`` counts anew."""

    name = "gemini"

    def asks(self, call: Call) -> bool:
        """Say whether the call asks for an answer."""
        return call.method == "POST" and bool(_match(call))

    def model(self, call: Call) -> str:
        """Return the model's name, which stands in the path."""
        match = _match(call)
        return unquote(match[1]) if match else ""

    def streams(self, call: Call) -> bool:
        """Say whether the answer is to be streamed as events."""
        match = _match(call)
        return bool(match and match[2].startswith("stream") and "alt=sse" in call.path)

    def prompt(self, call: Call) -> str:
        """Return the last text of the last user message; programs put theirs before."""
        for content in reversed(call.body.get("contents", [])):
            if content.get("role", "user") == "user":
                return (_texts(content) or [""])[-1]
        return ""

    def texts(self, call: Call) -> list[str]:
        """Return all texts that were sent."""
        texts = _texts(call.body.get("systemInstruction") or {})
        for content in call.body.get("contents", []):
            texts += _texts(content)
        return texts

    def start(self, call: Call, *, usage: bool) -> bytes:
        """Note whether this answer counts; nothing comes before the first text."""
        call.usage_sent = usage
        return b""

    def text_event(self, call: Call, piece: str) -> bytes:
        """Return the event that carries a piece of the answer."""
        return self._event(call, {"text": piece})

    def thinking_event(self, call: Call, piece: str) -> bytes:
        """Return the event that carries a piece of reasoning."""
        return self._event(call, {"text": piece, "thought": True})

    def tool_events(self, call: Call, tools: Sequence[ToolRequest]) -> list[bytes]:
        """Return the calls, each whole; the first carries the thought's signature."""
        parts: list[dict[str, Any]] = [
            {"functionCall": {"id": tool.id, "name": tool.name, "args": tool.arguments}}
            for tool in tools
        ]
        parts[0]["thoughtSignature"] = "c2lnbmVk"
        return [self._event(call, *parts)]

    def end(self, call: Call, finish: str, *, usage: bool) -> bytes:
        """Return the event with the finish reason, or that of a blocked prompt."""
        if finish == "filtered" and not call.tokens_sent:
            payload: dict[str, Any] = {"promptFeedback": {"blockReason": "SAFETY"}}
        else:
            payload = {"candidates": [_candidate(({"text": ""},), FINISH[finish])]}
        return data_event(payload | _counted(call))

    def whole(self, call: Call, text: str, finish: str) -> dict[str, Any]:
        """Return an answer in one piece."""
        call.usage_sent = True
        candidate = _candidate(({"text": text},), FINISH[finish])
        return {"candidates": [candidate]} | _counted(call)

    def error(
        self, status: int, message: str, *, retry_after_s: int | None = None
    ) -> tuple[dict[str, Any], dict[str, str]]:
        """Return body and headers of a refusal; the pause stands in the body."""
        if status == 404:
            message = f"{NO_MODEL} {message}"
        error: dict[str, Any] = {
            "code": status,
            "message": message,
            "status": STATUSES.get(status, "UNKNOWN"),
        }
        if retry_after_s is not None:
            delay = {"@type": f"{TYPE_URL}RetryInfo", "retryDelay": f"{retry_after_s}s"}
            error["details"] = [delay]
        return {"error": error}, {}

    def error_event(self) -> bytes:
        """Return the event that ends a stream which began well."""
        return data_event(self.error(500, FELL_OVER)[0])

    def too_long(self, call: Call) -> dict[str, Any]:
        """Return the body of the status 400 for a prompt that is too long."""
        words = (
            f"The input token count ({call.input_tokens}) exceeds the maximum number "
            "of tokens allowed (1024)."
        )
        return self.error(400, words)[0]

    def listing(self, models: Sequence[str]) -> dict[str, Any]:
        """Return the list of models."""
        data = [
            {
                "name": f"models/{name}",
                "displayName": name,
                "inputTokenLimit": 1_048_576,
                "outputTokenLimit": 65_536,
                "supportedGenerationMethods": ["generateContent", "countTokens"],
            }
            for name in models
        ]
        return {"models": data}

    def _event(self, call: Call, *parts: dict[str, Any]) -> bytes:
        return data_event({"candidates": [_candidate(parts)]} | _counted(call))


def _match(call: Call) -> re.Match[str] | None:
    return CALL.fullmatch(call.path.partition("?")[0])


def _texts(content: dict[str, Any]) -> list[str]:
    return [part["text"] for part in content.get("parts", []) if "text" in part]


def _candidate(parts: Sequence[dict[str, Any]], finish: str = "") -> dict[str, Any]:
    content = {"role": "model", "parts": list(parts)}
    reason = {"finishReason": finish} if finish else {}
    return {"content": content, **reason, "index": 0}


def _counted(call: Call) -> dict[str, Any]:
    """Return the cumulative count and the names that stand in every event."""
    names = {"modelVersion": call.model, "responseId": "1"}
    if not call.usage_sent:
        return names
    usage = {
        "promptTokenCount": call.input_tokens,
        "candidatesTokenCount": call.tokens_sent,
        "thoughtsTokenCount": call.thinking_tokens,
        "cachedContentTokenCount": call.cache_read_tokens,
        "totalTokenCount": call.input_tokens + call.output_tokens,
    }
    return {"usageMetadata": usage, **names}
