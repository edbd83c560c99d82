"""The chat completions wire format: request body, streamed events, errors.

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
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

from routing.backends.base import (
    AuthenticationFailed,
    BackendError,
    BadRequest,
    ContextTooLong,
    Event,
    Finished,
    Prompt,
    RateLimited,
    Refused,
    TextDelta,
    ThinkingDelta,
    UnknownModel,
    UpstreamFailed,
    Usage,
    UsageReported,
)
from routing.backends.openai_tools import ToolCallCollector

MAX_LINE_BYTES: Final = 16 * 1024 * 1024
_TOO_LONG = re.compile(
    r"exceed_context_size|context_length_exceeded|context (?:length|size|window)"
    r"|maximum context|prompt is too long|too many tokens",
    re.IGNORECASE,
)
_NO_MODEL = re.compile(r"model_not_found|model[^.]{0,80}not (?:found|exist)", re.I)
_FILTERED = re.compile(r"content_filter|content_policy|content management policy", re.I)
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


class ThinkingSplitter:
    """Tells ``<think>…</think>`` at the beginning of an answer from the answer.

    Tags may be cut anywhere between two pieces. Later tags belong to the text: an
    answer may well be about them. White space between thinking and text is dropped.
    """

    __slots__ = ("_held", "_state", "_thought")

    def __init__(self) -> None:
        self._held = ""
        self._state = "start"  # then thinking (and start again), at last text
        self._thought = False

    def feed(self, text: str) -> tuple[str, str]:
        """Return the thinking and the text that are certain now."""
        if self._state == "text":
            return "", text
        self._held += text
        thinking: list[str] = []
        while self._step(thinking):
            pass
        if self._state == "text":
            text, self._held = self._held, ""
            return "".join(thinking), text
        return "".join(thinking), ""

    def finish(self) -> tuple[str, str]:
        """Return what was held back when the answer ends."""
        held, self._held = self._held, ""
        return (held, "") if self._state == "thinking" else ("", held.strip() and held)

    def _step(self, thinking: list[str]) -> bool:
        """Take one tag or stretch off what is held; say whether to go on."""
        if self._state == "thinking":
            before, tag, after = self._held.partition("</think>")
            if not tag:
                sure = len(before) - _overlap(before, "</think>")
                thinking.append(before[:sure])
                self._held = before[sure:]
                return False
            thinking.append(before)
            self._held, self._state, self._thought = after, "start", True
            return True
        begun = self._held.lstrip()
        if self._thought:
            self._held = begun
        if begun.startswith("<think>"):
            self._held, self._state = begun[len("<think>") :], "thinking"
            return True
        if not "<think>".startswith(begun):
            self._state = "text"
        return False


def _overlap(text: str, tag: str) -> int:
    """Return how many characters at the end of ``text`` may begin ``tag``."""
    for size in range(min(len(text), len(tag) - 1), 0, -1):
        if tag.startswith(text[-size:]):
            return size
    return 0


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
        except ValueError:
            raise UpstreamFailed("The host sent something unreadable.") from None
        if not isinstance(chunk, dict) or end != len(text_of_line):
            raise UpstreamFailed("The host sent something unreadable.")
        if chunk.get("error"):
            raise error_of(None, chunk)
        choices = chunk.get("choices")
        if choices:
            self._choice(choices[0], text, thinking)
        usage = chunk.get("usage")
        if usage:
            events.append(UsageReported(usage_of(usage)))

    def _choice(
        self, choice: dict[str, Any], text: list[str], thinking: list[str]
    ) -> None:
        delta = choice.get("delta") or {}
        content = delta.get("content")
        if content:
            thought, said = self._splitter.feed(content)
            if said:
                text.append(said)
            if thought:
                thinking.append(thought)
        else:
            reasoning = delta.get("reasoning_content") or delta.get("reasoning")
            if isinstance(reasoning, str) and reasoning:
                thinking.append(reasoning)
        if delta.get("tool_calls"):
            self._tools.add(delta["tool_calls"])
        if choice.get("finish_reason"):
            self._finish = choice["finish_reason"]


def whole_answer(body: bytes) -> list[Event]:
    """Return the events of an answer that came in one piece, without streaming.

    Raises:
        BackendError: It is an error, or no answer at all.
    """
    try:
        data = json.loads(body)
    except ValueError:
        data = None
    if isinstance(data, dict) and data.get("error"):
        raise error_of(None, data)
    if not isinstance(data, dict) or not data.get("choices"):
        raise UpstreamFailed(
            "The host did not answer as an OpenAI-compatible server does; "
            "check its address."
        )
    choice = data["choices"][0]
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
    details = usage.get("prompt_tokens_details") or {}
    return Usage(
        input_tokens=_count(usage.get("prompt_tokens")),
        output_tokens=_count(usage.get("completion_tokens")),
        cache_read_tokens=_count(details.get("cached_tokens")),
    )


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and value >= 0 else None


def error_of(
    status: int | None, body: Any, *, retry_after: str | None = None
) -> BackendError:
    """Return the error that a host's answer means; its own words are left out.

    ``status`` is ``None`` for an error inside a stream. The host's text may repeat
    the prompt or the key, so only Cortex's own sentences reach people and logs.
    """
    code, words = _error_words(body)
    if status is None:
        status = int(code) if re.fullmatch(r"[45]\d\d", code) else 0
    if status == 413 or _TOO_LONG.search(words) and status < 500:
        return ContextTooLong("The conversation is longer than this model takes.")
    if _FILTERED.search(words):
        return Refused("The model's host refused to answer this.")
    if status == 404 or _NO_MODEL.search(words):
        return UnknownModel(
            "The host does not know this model; check name and address."
        )
    if status in {401, 403}:
        return AuthenticationFailed("The host refused the key.")
    if status == 429:
        return RateLimited(
            "The host is asked too often.", retry_after_s=seconds_of(retry_after)
        )
    if 300 <= status < 400:
        return BadRequest("The host redirects elsewhere; enter its final address.")
    if 400 <= status < 500 and status != 408:
        return BadRequest(f"The host refused the request (status {status}).")
    shown = f" (status {status})" if status else ""
    return UpstreamFailed(f"The host reported an error{shown}.")


def _error_words(body: Any) -> tuple[str, str]:
    """Return the error's code and all its words, whatever form the host gave it."""
    error = body.get("error", body.get("detail")) if isinstance(body, dict) else body
    if not isinstance(error, dict):
        return "", str(error or "")
    words = [str(error.get(key) or "") for key in ("code", "type", "message", "param")]
    return words[0], " ".join(words)


def seconds_of(retry_after: str | None) -> float | None:
    """Return the seconds that a ``Retry-After`` header means, ``None`` if unusable.

    Source: RFC 9110, section 10.2.3.
    """
    if not retry_after:
        return None
    try:
        return max(0.0, float(retry_after))
    except ValueError:
        pass
    try:
        moment = parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())
