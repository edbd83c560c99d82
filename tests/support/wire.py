"""What the mock of a model's host and its three wire formats share.

A ``Call`` is one request that arrived; a ``Wire`` reads requests of one format and
writes the bytes of their answers. ``upstream.py`` is the server,
``upstream_behaviours.py`` says what it does for which model.
"""

from __future__ import annotations

import json
import time
from abc import ABC, abstractmethod
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

CHUNK_CHARACTERS = 4
FELL_OVER = "The model fell over."
"""What an error event inside a stream says."""
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


def token_text(index: int) -> str:
    """Return the text of chunk ``index``: four base-36 digits."""
    result = ""
    for _ in range(CHUNK_CHARACTERS):
        index, digit = divmod(index, 36)
        result = _DIGITS[digit] + result
    return result


@dataclass(frozen=True)
class ToolRequest:
    """A tool that the mock asks for; ``pieces`` of its arguments joined are JSON."""

    id: str
    name: str
    pieces: tuple[str, ...]

    @property
    def arguments(self) -> Any:
        """The arguments, decoded."""
        return json.loads("".join(self.pieces) or "{}")


@dataclass
class Call:
    """One request that arrived, and what became of it; times in ns, monotonic."""

    method: str
    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    wire: Wire
    started_ns: int = field(default_factory=time.monotonic_ns)
    tokens_sent: int = 0
    thinking_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    """Both are part of ``input_tokens``."""
    text: str = ""
    """What was sent; empty for ``tokens-…`` models, whose text is known."""
    sent_ns: array[int] = field(default_factory=lambda: array("q"))
    finished_ns: int | None = None
    """When the answer was complete."""
    disconnected_ns: int | None = None
    """When the client left before the answer was complete."""
    usage_sent: bool = False
    """The answer said what it costs."""
    status: int = 0
    """HTTP status of the answer; 0 before it began."""
    block: str = ""
    """Anthropic: kind of the content block that is open."""
    blocks: int = 0
    """Anthropic: how many content blocks were opened."""

    @property
    def model(self) -> str:
        """The model that was asked for."""
        return self.wire.model(self)

    @property
    def prompt(self) -> str:
        """The text of the last user message."""
        return self.wire.prompt(self)

    @property
    def asks(self) -> bool:
        """Whether the request is one for an answer."""
        return self.wire.asks(self)

    @property
    def input_tokens(self) -> int:
        """The count that is reported as usage: a quarter of all characters sent."""
        return max(1, sum(map(len, self.wire.texts(self))) // 4)

    @property
    def output_tokens(self) -> int:
        """The count that is reported as usage: text and thinking."""
        return self.tokens_sent + self.thinking_tokens

    @property
    def key(self) -> str:
        """The key that came with the request, whatever header carried it."""
        for name in ("x-api-key", "x-goog-api-key"):
            if name in self.headers:
                return self.headers[name]
        return self.headers.get("authorization", "").removeprefix("Bearer ")

    def as_json(self) -> dict[str, Any]:
        """Return the journal's view of the call."""
        return {
            "method": self.method,
            "path": self.path,
            "model": self.model,
            "prompt": self.prompt,
            "tokens_sent": self.tokens_sent,
            "started_ns": self.started_ns,
            "finished_ns": self.finished_ns,
            "disconnected_ns": self.disconnected_ns,
            "sent_ns": self.sent_ns.tolist(),
        }


class Wire(ABC):
    """One wire format. Finish reasons are ``stop length filtered tool``."""

    name: str

    @abstractmethod
    def asks(self, call: Call) -> bool:
        """Say whether the call asks for an answer."""

    @abstractmethod
    def model(self, call: Call) -> str:
        """Return the model's name."""

    @abstractmethod
    def streams(self, call: Call) -> bool:
        """Say whether the answer is to be streamed."""

    @abstractmethod
    def prompt(self, call: Call) -> str:
        """Return the text of the last user message."""

    @abstractmethod
    def texts(self, call: Call) -> list[str]:
        """Return all texts that were sent."""

    @abstractmethod
    def start(self, call: Call, *, usage: bool) -> bytes:
        """Return the events before the first text."""

    @abstractmethod
    def text_event(self, call: Call, piece: str) -> bytes:
        """Return the events that carry a piece of the answer."""

    @abstractmethod
    def thinking_event(self, call: Call, piece: str) -> bytes:
        """Return the events that carry a piece of reasoning."""

    @abstractmethod
    def tool_events(self, call: Call, tools: Sequence[ToolRequest]) -> list[bytes]:
        """Return the events that ask for tools, in pieces where the format has any."""

    @abstractmethod
    def end(self, call: Call, finish: str, *, usage: bool) -> bytes:
        """Return the events that end the answer."""

    @abstractmethod
    def whole(self, call: Call, text: str, finish: str) -> dict[str, Any]:
        """Return an answer in one piece."""

    @abstractmethod
    def error(
        self, status: int, message: str, *, retry_after_s: int | None = None
    ) -> tuple[dict[str, Any], dict[str, str]]:
        """Return body and headers of a refusal."""

    @abstractmethod
    def error_event(self) -> bytes:
        """Return the event that ends a stream which began well."""

    @abstractmethod
    def too_long(self, call: Call) -> dict[str, Any]:
        """Return the body of the status 400 for a prompt that is too long."""

    @abstractmethod
    def listing(self, models: Sequence[str]) -> dict[str, Any]:
        """Return the list of models."""


def data_event(payload: Any, *, name: str = "") -> bytes:
    """Return one server-sent event, as UTF-8 without escapes."""
    head = f"event: {name}\n" if name else ""
    text = json.dumps(payload, ensure_ascii=False)
    return f"{head}data: {text}\n\n".encode()
