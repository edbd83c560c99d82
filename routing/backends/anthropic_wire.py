"""The wire format of Anthropic's messages: request body and streamed events.

Pure: bytes in, events out, no network. Unknown kinds of events and blocks are passed
over, as the API's versioning policy asks. Thinking is never asked for, so there are
no signed thoughts to send back; a model that thinks all the same is listened to.

Source: Anthropic API reference, "Messages", "Streaming messages", "Tool use",
"Prompt caching", "Handling stop reasons".
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from routing.backends.anthropic_errors import error_of
from routing.backends.api_errors import refused
from routing.backends.base import Finished, Prompt, PromptMessage, UpstreamFailed, Usage
from routing.backends.plain_texts import spelled_out
from routing.backends.wire import (
    AnswerStream,
    as_count,
    as_object,
    as_text,
    decoded,
    tool_call,
)

INCOMPLETE: Final = frozenset(
    {"max_tokens", "model_context_window_exceeded", "pause_turn"}
)
"""Reasons to stop that leave an answer unfinished."""
_NOT_IN_IDS: Final = re.compile(r"[^a-zA-Z0-9_-]")
_COUNTS: Final = (
    "input_tokens",
    "cache_creation_input_tokens",
    "cache_read_input_tokens",
)


def request_body(
    prompt: Prompt, model_name: str, *, max_output_tokens: int
) -> dict[str, Any]:
    """Return the JSON body that asks for a streamed answer."""
    if not prompt.tools:
        prompt = spelled_out(prompt)  # calls without their tools are refused
    body: dict[str, Any] = {
        "model": model_name,
        "max_tokens": max_output_tokens,
        "stream": True,
        "messages": turns_of(prompt.messages),
    }
    if blocks := system_blocks(prompt):
        body["system"] = blocks
    if prompt.tools:
        body["tools"] = [
            {
                "name": tool.name,
                "description": tool.description,
                "input_schema": tool.parameters or {"type": "object"},
            }
            for tool in prompt.tools
        ]
    return body


def system_blocks(prompt: Prompt) -> list[dict[str, Any]]:
    """Return the instructions, with a mark behind the part that seldom changes.

    What comes before the mark, tools included, is kept by the API for the next call
    and costs a tenth there; instructions that are too short for that it ignores.
    """
    stable, passing = prompt.system, ""
    if prompt.passing and stable.endswith(prompt.passing):
        stable, passing = stable.removesuffix(prompt.passing), prompt.passing
    blocks = []
    if stable.strip():
        blocks.append(_text_block(stable) | {"cache_control": {"type": "ephemeral"}})
    if passing.strip():
        blocks.append(_text_block(passing))
    return blocks


def turns_of(messages: tuple[PromptMessage, ...]) -> list[dict[str, Any]]:
    """Return the messages with roles that alternate, beginning with the user's."""
    turns: list[dict[str, Any]] = []
    for message in messages:
        blocks = list(_blocks(message))
        if not blocks:
            continue
        if turns and turns[-1]["role"] == message.role:
            turns[-1]["content"] += blocks
            # Results of tools must come before any text.
            turns[-1]["content"].sort(key=lambda block: block["type"] != "tool_result")
        else:
            turns.append({"role": message.role, "content": blocks})
    if turns and turns[0]["role"] == "assistant":
        turns.insert(0, {"role": "user", "content": [_text_block("…")]})
    return turns


def _blocks(message: PromptMessage) -> Iterator[dict[str, Any]]:
    for result in message.tool_results:
        yield {
            "type": "tool_result",
            "tool_use_id": _usable_id(result.call_id),
            "content": result.text or "(nothing)",
            "is_error": result.is_error,
        }
    if message.text.strip():
        yield _text_block(message.text)
    for call in message.tool_calls:
        yield {
            "type": "tool_use",
            "id": _usable_id(call.id),
            "name": call.name,
            "input": call.arguments,
        }


def _text_block(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def _usable_id(call_id: str) -> str:
    """Return a call's id as the API takes it; other hosts' may hold more."""
    return _NOT_IN_IDS.sub("_", call_id)


@dataclass(slots=True)
class _Block:
    """A tool call that is being received."""

    id: str
    name: str
    start: dict[str, Any]
    """The arguments, where they came whole at the start."""
    pieces: list[str] = field(default_factory=list)


class MessageStream(AnswerStream):
    """Turns the bytes of one streamed message into events."""

    __slots__ = ("_blocks", "_counts", "_output", "_stop_reason")

    def __init__(self) -> None:
        super().__init__()
        self._blocks: dict[Any, _Block] = {}
        self._counts: dict[str, int | None] = dict.fromkeys(_COUNTS)
        self._output: int | None = None
        self._stop_reason = ""

    @property
    def finishing(self) -> bool:
        """Whether the host said why the answer ends; its end mark may follow."""
        return bool(self._stop_reason)

    def _take(self, name: str, data: bytes) -> None:
        chunk = decoded(data)
        kind = chunk.get("type") or name
        if kind == "error" or (chunk.get("error") and not chunk.get("type")):
            raise error_of(None, chunk)
        handler = _HANDLERS.get(kind)
        if handler is not None:
            handler(self, chunk)

    def _message_start(self, chunk: dict[str, Any]) -> None:
        # The output's count is a mere beginning here: unknown if nothing follows.
        self._merge(as_object(as_object(chunk.get("message")).get("usage")))

    def _block_start(self, chunk: dict[str, Any]) -> None:
        block = as_object(chunk.get("content_block"))
        if block.get("type") == "tool_use":
            self._blocks[chunk.get("index")] = _Block(
                as_text(block.get("id")),
                as_text(block.get("name")),
                as_object(block.get("input")),
            )
        self._say(as_text(block.get("text")))
        self._think(as_text(block.get("thinking")))

    def _block_delta(self, chunk: dict[str, Any]) -> None:
        delta = as_object(chunk.get("delta"))
        self._say(as_text(delta.get("text")))
        self._think(as_text(delta.get("thinking")))
        piece = as_text(delta.get("partial_json"))
        if piece and (block := self._blocks.get(chunk.get("index"))):
            block.pieces.append(piece)

    def _block_stop(self, chunk: dict[str, Any]) -> None:
        block = self._blocks.pop(chunk.get("index"), None)
        if block is not None:
            self._call(block)

    def _message_delta(self, chunk: dict[str, Any]) -> None:
        usage = as_object(chunk.get("usage"))
        output = as_count(usage.get("output_tokens"))
        self._output = self._output if output is None else output
        self._merge(usage)
        reason = as_object(chunk.get("delta")).get("stop_reason")
        self._stop_reason = as_text(reason) or self._stop_reason

    def _message_stop(self, chunk: dict[str, Any]) -> None:
        self.ended = True

    def _call(self, block: _Block) -> None:
        arguments = "".join(block.pieces) or json.dumps(block.start)
        self._emit(tool_call(block.id, block.name, arguments))

    def _merge(self, usage: dict[str, Any]) -> None:
        """Take the counts that an event brings; some hosts fill them in only later."""
        for key in _COUNTS:
            count = as_count(usage.get(key))
            if count or self._counts[key] is None:
                self._counts[key] = count
        if usage:
            self._count(self._usage_so_far())

    def _usage_so_far(self) -> Usage:
        plain, written, read = (self._counts[key] for key in _COUNTS)
        total = None if plain is None else plain + (written or 0) + (read or 0)
        return Usage(total, self._output, read, written)

    def _conclude(self) -> None:
        for block in self._blocks.values():
            self._call(block)
        if self._stop_reason == "refusal":
            raise refused()
        self._emit(Finished(complete=self._stop_reason not in INCOMPLETE))


_HANDLERS: Final[dict[str, Callable[[MessageStream, dict[str, Any]], None]]] = {
    "message_start": MessageStream._message_start,
    "content_block_start": MessageStream._block_start,
    "content_block_delta": MessageStream._block_delta,
    "content_block_stop": MessageStream._block_stop,
    "message_delta": MessageStream._message_delta,
    "message_stop": MessageStream._message_stop,
}


def as_stream(data: Any) -> bytes:
    """Refuse an answer in one piece: the API never sends one when asked to stream.

    Raises:
        UpstreamFailed: Always.
    """
    raise UpstreamFailed(
        "The host did not answer as Anthropic's API does; check its address."
    )
