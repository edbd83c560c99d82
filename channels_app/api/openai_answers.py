"""A running turn as OpenAI's clients read it: one object, or a stream of chunks.

Reads the turn's stream and nothing else. How the end of a turn maps:

* the model called tools → ``tool_calls``; it reached its limit → ``length``; its host
  declined → ``content_filter``; all other good ends → ``stop``;
* a failure before the first word is an HTTP error; after it, an event ``error`` in the
  stream, or an HTTP error for one who wanted the answer whole.

Source: OpenAI API reference, "Chat completions", "Streaming", "Error codes".
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from channels_app.api.stop_words import StopWords
from channels_app.errors import TurnError
from channels_app.streams import Frame, TurnStream
from routing.attempt import AT_THE_LIMIT

CUT_SHORT = "Cortex was stopped before the answer was complete."


@dataclass(slots=True)
class Answer:
    """What a turn has brought so far, in the terms of a chat completion."""

    turn: str
    persona: str
    stop_words: StopWords
    created: int = field(default_factory=lambda: int(time.time()))
    calls: list[dict[str, Any]] = field(default_factory=list)
    finished: dict[str, Any] | None = None
    """The fields of ``turn.finished``."""

    def take(self, frame: Frame) -> dict[str, Any] | None:
        """Take a frame; return the ``delta`` that it makes, if any."""
        fields = frame.fields
        if frame.type == "turn.delta":
            text = self.stop_words.feed(fields["text"])
            return {"content": text} if text else None
        if frame.type == "turn.thinking":
            return {"reasoning_content": fields["text"]}
        if frame.type == "turn.tool_call":
            return self._take_call(fields)
        if frame.type == "turn.finished":
            self.finished = fields
            text = self.stop_words.end()
            return {"content": text} if text else None
        return None

    def _take_call(self, fields: dict[str, Any]) -> dict[str, Any] | None:
        if self.stop_words.hit:
            return None
        arguments = fields.get("raw")
        if arguments is None:
            arguments = json.dumps(fields["arguments"], ensure_ascii=False)
        call = {
            "id": fields["id"],
            "type": "function",
            "function": {"name": fields["name"], "arguments": arguments},
        }
        self.calls.append(call)
        return {"tool_calls": [{"index": len(self.calls) - 1} | call]}

    def finish_reason(self) -> str:
        """Return why the answer ended.

        Raises:
            TurnError: It failed or broke off.
        """
        assert self.finished is not None, "The turn has not ended."  # noqa: S101
        outcome, error = self.finished["outcome"], self.finished["error"]
        if outcome == "complete" or self.stop_words.hit:
            return "tool_calls" if self.calls else "stop"
        if error is None:
            raise TurnError("internal", CUT_SHORT)
        code, message = error["code"], error["message"]
        if code == "refused":
            return "content_filter"
        if message in AT_THE_LIMIT or (code == "too_long" and outcome == "incomplete"):
            return "length"
        raise TurnError(code, message)

    def usage(self) -> dict[str, Any] | None:
        """Return the tokens used; ``None`` = unknown."""
        usage = (self.finished or {}).get("usage") or {}
        read, written = usage.get("input_tokens"), usage.get("output_tokens")
        if read is None or written is None:
            return None
        counted = {
            "prompt_tokens": read,
            "completion_tokens": written,
            "total_tokens": read + written,
        }
        if usage.get("cache_read_tokens") is not None:
            cached = {"cached_tokens": usage["cache_read_tokens"]}
            counted["prompt_tokens_details"] = cached
        return counted

    def head(self, kind: str) -> dict[str, Any]:
        """Return what every object of the answer begins with."""
        return {
            "id": f"chatcmpl-{self.turn}",
            "object": kind,
            "created": self.created,
            "model": self.persona,
        }


async def whole(
    answer: Answer, stream: TurnStream, on_stop_word: Callable[[], None]
) -> dict[str, Any]:
    """Return the answer as one ``chat.completion``.

    Raises:
        TurnError: It failed or broke off.
    """
    texts: dict[str, list[str]] = {"content": [], "reasoning_content": []}
    async for frames in stream.read():
        for frame in frames:
            for key, text in (answer.take(frame) or {}).items():
                if key in texts:
                    texts[key].append(text)
        if answer.stop_words.hit:
            on_stop_word()
    reason = answer.finish_reason()
    content = "".join(texts["content"])
    message: dict[str, Any] = {"role": "assistant", "content": content, "refusal": None}
    if answer.calls:
        message |= {"content": content or None, "tool_calls": answer.calls}
    if texts["reasoning_content"]:
        message["reasoning_content"] = "".join(texts["reasoning_content"])
    choice = {
        "index": 0,
        "message": message,
        "logprobs": None,
        "finish_reason": reason,
    }
    made = answer.head("chat.completion") | {"choices": [choice]}
    usage = answer.usage()
    return made | {"usage": usage} if usage else made


async def chunks(
    answer: Answer,
    batches: AsyncIterator[Sequence[Frame] | None],
    on_stop_word: Callable[[], None],
    *,
    with_usage: bool,
    error_of: Callable[[TurnError], Any],
) -> AsyncIterator[bytes]:
    """Yield the answer as the events of a stream.

    Args:
        answer: Nothing of it was taken yet.
        batches: The turn's frames; ``None`` = nothing came for a while.
        on_stop_word: Called when the rest of the answer is not wanted.
        with_usage: Whether the tokens come in a chunk of their own at the end.
        error_of: Returns the body of an error.
    """
    encode = _encoder(answer, with_usage=with_usage)
    yield encode({"role": "assistant", "content": ""})
    async for frames in batches:
        if frames is None:
            yield b": still working\n\n"
            continue
        deltas = [delta for frame in frames if (delta := answer.take(frame))]
        if answer.stop_words.hit:
            on_stop_word()
        if deltas:
            yield b"".join(map(encode, deltas))
    try:
        reason = answer.finish_reason()
    except TurnError as error:
        yield _event(error_of(error))
        return
    end = encode({}, reason)
    usage = answer.usage()
    if with_usage and usage:
        last = answer.head("chat.completion.chunk") | {"choices": [], "usage": usage}
        end += _event(last)
    yield end + b"data: [DONE]\n\n"


def _encoder(answer: Answer, *, with_usage: bool) -> Callable[..., bytes]:
    head = answer.head("chat.completion.chunk")
    tail = {"usage": None} if with_usage else {}

    def encode(delta: dict[str, Any], reason: str | None = None) -> bytes:
        choice = {
            "index": 0,
            "delta": delta,
            "logprobs": None,
            "finish_reason": reason,
        }
        return _event(head | {"choices": [choice]} | tail)

    return encode


def _event(data: Any) -> bytes:
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return b"data: " + text.encode() + b"\n\n"
