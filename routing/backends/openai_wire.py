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
from typing import Any, Final

from routing.backends.base import (
    BackendError,
    Event,
    Finished,
    Prompt,
    Refused,
    TextDelta,
    ThinkingDelta,
    UpstreamFailed,
    Usage,
    UsageReported,
)
from routing.backends.openai_errors import error_of
from routing.backends.openai_thinking import ThinkingSplitter
from routing.backends.openai_tools import ToolCallCollector, as_object
from routing.net import parse_json

MAX_LINE_BYTES: Final = 16 * 1024 * 1024
_raw_decode = json.JSONDecoder().raw_decode


def request_body(
    prompt: Prompt, model_name: str, *, max_output_tokens: int
) -> dict[str, Any]:
    """Return the JSON body that asks for a streamed answer with usage."""
    messages = [{"role": "system", "content": prompt.system}] if prompt.system else []
    messages += [{"role": m.role, "content": m.text} for m in prompt.messages]
    return {
        "model": model_name,
        "messages": messages,
        "max_tokens": max_output_tokens,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


class ChatStream:
    """Turns the bytes of one streamed answer into events.

    ``feed`` joins all text that one network read brought into one delta. ``ended``
    becomes true at ``[DONE]``; ``close`` gives the events that end the answer. What
    came before an error is still given; ``failure`` then holds the error.
    """

    __slots__ = (
        "_data", "_finish", "_produced", "_splitter", "_tools", "ended", "failure",
    )  # fmt: skip

    def __init__(self) -> None:
        self._data = bytearray()
        self._finish: str | None = None
        self._produced = False
        self._splitter = ThinkingSplitter()
        self._tools = ToolCallCollector()
        self.ended = False
        self.failure: BackendError | None = None

    @property
    def finishing(self) -> bool:
        """Whether the host said why the answer ends; usage and end mark may follow."""
        return self._finish is not None

    def feed(self, data: bytes) -> list[Event]:
        """Return the events that became complete with ``data``, oldest first."""
        if b"\n" not in data:
            self._hold(data)
            return []
        if self._data:
            data = bytes(self._data) + data
            self._data.clear()
        *lines, rest = data.split(b"\n")
        self._hold(rest)
        events: list[Event] = []
        text: list[str] = []
        thinking: list[str] = []
        try:
            for line in lines:
                if line.startswith(b"data:"):
                    self._line(line[5:], events, text, thinking)
        except BackendError as error:
            self.failure = error
        if thinking:
            events.append(ThinkingDelta("".join(thinking)))
        if text:
            self._produced = True
            events.append(TextDelta("".join(text)))
        return events

    def close(self) -> list[Event]:
        """Return the last events; call it at ``[DONE]`` or at the end of the bytes.

        An empty list means that the answer was cut: neither an end mark nor a finish
        reason came.

        Raises:
            BackendError: The host's filter refused the answer before any text.
        """
        if not self.ended and self._finish is None:
            return []
        thinking, text = self._splitter.finish()
        events: list[Event] = [ThinkingDelta(thinking)] if thinking else []
        if text:
            self._produced = True
            events.append(TextDelta(text))
        events.extend(self._tools.finish())
        if self._finish == "content_filter" and not self._produced:
            raise Refused("The model's host refused to answer this.")
        complete = self._finish not in {"length", "content_filter"}
        events.append(Finished(complete=complete))
        return events

    def _hold(self, data: bytes) -> None:
        self._data += data
        if len(self._data) > MAX_LINE_BYTES:
            self.failure = UpstreamFailed("The host sent a piece that is too large.")

    def _line(
        self, line: bytes, events: list[Event], text: list[str], thinking: list[str]
    ) -> None:
        line = line.strip()
        if line == b"[DONE]":
            self.ended = True
            return
        if not line or self.ended:
            return
        try:
            text_of_line = line.decode()
            # Half the time of json.loads, once for every token.
            chunk, end = _raw_decode(text_of_line)
        except (ValueError, RecursionError):
            raise UpstreamFailed("The host sent something unreadable.") from None
        if not isinstance(chunk, dict) or end != len(text_of_line):
            raise UpstreamFailed("The host sent something unreadable.")
        if chunk.get("error"):
            raise error_of(None, chunk)
        choices = chunk.get("choices")
        if choices and isinstance(choices, list):
            self._choice(as_object(choices[0]), text, thinking)
        usage = chunk.get("usage")
        if usage and isinstance(usage, dict):
            events.append(UsageReported(usage_of(usage)))

    def _choice(
        self, choice: dict[str, Any], text: list[str], thinking: list[str]
    ) -> None:
        delta = as_object(choice.get("delta"))
        content = delta.get("content")
        if content and isinstance(content, str):
            thought, said = self._splitter.feed(content)
            if said:
                text.append(said)
            if thought:
                thinking.append(thought)
        else:
            reasoning = delta.get("reasoning_content") or delta.get("reasoning")
            if isinstance(reasoning, str) and reasoning:
                thinking.append(reasoning)
        pieces = delta.get("tool_calls")
        if isinstance(pieces, list):
            self._tools.add(pieces)
        if choice.get("finish_reason"):
            self._finish = str(choice["finish_reason"])


def whole_answer(body: bytes) -> list[Event]:
    """Return the events of an answer that came in one piece, without streaming.

    Raises:
        BackendError: It is an error, or no answer at all.
    """
    try:
        data = as_object(parse_json(body))
    except ValueError:
        data = {}
    if data.get("error"):
        raise error_of(None, data)
    choices = data.get("choices")
    if not choices or not isinstance(choices, list):
        raise UpstreamFailed(
            "The host did not answer as an OpenAI-compatible server does; "
            "check its address."
        )
    choice = as_object(choices[0])
    stream = ChatStream()
    chunk = {
        "choices": [
            {
                "delta": choice.get("message") or {},
                "finish_reason": choice.get("finish_reason") or "stop",
            }
        ],
        "usage": data.get("usage"),
    }
    events = stream.feed(b"data: " + json.dumps(chunk).encode() + b"\n")
    return events + stream.close()


def usage_of(usage: dict[str, Any]) -> Usage:
    """Return the host's count; what it does not say stays ``None``."""
    details = as_object(usage.get("prompt_tokens_details"))
    return Usage(
        input_tokens=_count(usage.get("prompt_tokens")),
        output_tokens=_count(usage.get("completion_tokens")),
        cache_read_tokens=_count(details.get("cached_tokens")),
    )


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and value >= 0 else None
