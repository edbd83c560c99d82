"""What the wire formats of all APIs share: from the bytes of an answer to its events.

Pure: no network. Each API's format is a subclass of ``AnswerStream`` that takes one
decoded event at a time.
"""

from __future__ import annotations

import json
import uuid
from abc import ABC, abstractmethod
from typing import Any

from routing.backends.base import (
    BackendError,
    Event,
    TextDelta,
    ThinkingDelta,
    ToolCall,
    UpstreamFailed,
    Usage,
    UsageReported,
)
from routing.backends.sse import SseReader
from routing.net import parse_json

MADE_UP_ID = "call_cortex_"
"""How the ids of calls begin that came without one."""
_raw_decode = json.JSONDecoder().raw_decode


class Unreadable(UpstreamFailed):
    """The host sent something that is no JSON object."""

    def __init__(self) -> None:
        super().__init__("The host sent something unreadable.")


class AnswerStream(ABC):
    """Turns the bytes of one streamed answer into events.

    ``feed`` joins all text that one network read brought into one delta; ``close``
    gives the events that end the answer. ``ended`` becomes true at the protocol's end
    mark. What came before an error is still given; ``failure`` then holds the error.
    """

    __slots__ = (
        "_events", "_is_thinking", "_pieces", "_reader", "_usage",
        "ended", "failure", "produced",
    )  # fmt: skip

    def __init__(self) -> None:
        self._reader = SseReader()
        self._events: list[Event] = []
        self._pieces: list[str] = []
        self._is_thinking = False
        self._usage: Usage | None = None
        self.produced = False
        """Something of the answer came: text or a tool call."""
        self.ended = False
        self.failure: BackendError | None = None

    @property
    @abstractmethod
    def finishing(self) -> bool:
        """Whether the host said why the answer ends; usage and end mark may follow."""

    @abstractmethod
    def _take(self, name: str, data: bytes) -> None:
        """Take one event of the stream.

        Raises:
            BackendError: It is an error, or unreadable.
        """

    @abstractmethod
    def _conclude(self) -> None:
        """Add the events that end a whole answer.

        Raises:
            BackendError: The host says that it is none.
        """

    def feed(self, data: bytes) -> list[Event]:
        """Return the events that became complete with ``data``, oldest first."""
        try:
            for name, payload in self._reader.feed(data):
                if not self.ended:
                    self._take(name, payload)
            if self._reader.overflow:
                raise UpstreamFailed("The host sent a piece that is too large.")
        except BackendError as error:
            self.failure = error
        return self._given()

    def close(self) -> list[Event]:
        """Return the last events; call it at the end mark or at the end of the bytes.

        Without ``Finished`` among them and without ``failure`` the answer was cut:
        neither an end mark nor a reason for the end came.
        """
        events: list[Event] = []
        try:
            self._take_rest()
            events = self._given()
            if self.ended or self.finishing:
                self._conclude()
        except BackendError as error:
            self.failure = error
        return events + self._given()

    def _take_rest(self) -> None:
        try:
            for name, payload in self._reader.close():
                if not self.ended:
                    self._take(name, payload)
        except Unreadable:
            return  # it was cut in the middle of an event

    def _say(self, text: str) -> None:
        """Add a piece of the answer."""
        if text:
            if self._is_thinking:
                self._flush()
                self._is_thinking = False
            self.produced = True
            self._pieces.append(text)

    def _think(self, text: str) -> None:
        """Add a piece of reasoning."""
        if text:
            if not self._is_thinking:
                self._flush()
                self._is_thinking = True
            self._pieces.append(text)

    def _emit(self, event: Event) -> None:
        """Add any other event, after the text before it."""
        self._flush()
        self.produced = self.produced or isinstance(event, ToolCall)
        self._events.append(event)

    def _count(self, usage: Usage) -> None:
        """Note the host's count; the last one of a read is reported."""
        self._usage = usage

    def _flush(self) -> None:
        if self._pieces:
            text = "".join(self._pieces)
            self._pieces = []
            self._events.append(
                ThinkingDelta(text) if self._is_thinking else TextDelta(text)
            )

    def _given(self) -> list[Event]:
        self._flush()
        if self._usage is not None:
            self._events.append(UsageReported(self._usage))
            self._usage = None
        events, self._events = self._events, []
        return events


def decoded(data: bytes) -> dict[str, Any]:
    """Return the JSON object that an event's data holds.

    Raises:
        Unreadable: It is none.
    """
    try:
        text = data.decode().strip()
        # Half the time of json.loads, once for every token.
        value, end = _raw_decode(text)
    except (ValueError, RecursionError):
        raise Unreadable from None
    if not isinstance(value, dict) or end != len(text):
        raise Unreadable
    return value


def as_object(value: Any) -> dict[str, Any]:
    """Return a JSON object of a host; an empty one for anything else."""
    return value if isinstance(value, dict) else {}


def as_list(value: Any) -> list[Any]:
    """Return a JSON list of a host; an empty one for anything else."""
    return value if isinstance(value, list) else []


def as_text(value: Any) -> str:
    """Return a string of a host; an empty one for anything else."""
    return value if isinstance(value, str) else ""


def as_count(value: Any) -> int | None:
    """Return a host's count; ``None`` for anything that cannot be one."""
    is_count = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    return value if is_count else None


def tool_call(
    call_id: str, name: str, arguments: str, *, signature: str = ""
) -> ToolCall:
    """Return a complete call from the text of its arguments; an id is made up.

    Arguments that are no JSON object are the model's mistake, which it is told by
    ``ToolCall.error``.
    """
    call_id = call_id or f"{MADE_UP_ID}{uuid.uuid4().hex[:16]}"
    try:
        value = parse_json(arguments.strip() or "{}")
    except ValueError:
        value = None
    if isinstance(value, dict):
        return ToolCall(call_id, name, value, signature=signature)
    error = "The arguments are not a JSON object."
    return ToolCall(call_id, name, {}, error, signature, raw=arguments)
