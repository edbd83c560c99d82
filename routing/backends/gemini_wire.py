"""The wire format of the Gemini API: request body and streamed events.

Pure: bytes in, events out, no network. There is no end mark: an answer ends with the
event that says why. Calls come whole; the mark of the thought behind a call goes back
with it. Repeated instructions are kept by the service itself and cost less then.

Source: Gemini API reference, "Generating content", "Function calling", "Thought
signatures"; FinishReason and BlockedReason there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final

from routing.backends.api_errors import refused
from routing.backends.base import (
    Finished,
    Prompt,
    PromptMessage,
    ToolCall,
    UpstreamFailed,
    Usage,
)
from routing.backends.gemini_errors import error_of
from routing.backends.wire import (
    MADE_UP_ID,
    AnswerStream,
    as_count,
    as_list,
    as_object,
    as_text,
    decoded,
    tool_call,
)

REFUSALS: Final = frozenset(
    {
        "SAFETY",
        "RECITATION",
        "LANGUAGE",
        "BLOCKLIST",
        "PROHIBITED_CONTENT",
        "SPII",
        "IMAGE_SAFETY",
    }
)
MISTAKES: Final = frozenset(
    {"MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS", "OTHER"}
)
"""Reasons to stop that mean the model went wrong."""
NO_SIGNATURE: Final = "skip_thought_signature_validator"
"""Stands for the signature of a call that another model made."""
_WANTS_SIGNATURES: Final = re.compile(r"(?:models/)?gemini-(?:[3-9]|\d\d)")


def request_body(
    prompt: Prompt, model_name: str, *, max_output_tokens: int
) -> dict[str, Any]:
    """Return the JSON body that asks for an answer."""
    signed = bool(_WANTS_SIGNATURES.match(model_name))
    body: dict[str, Any] = {
        "contents": contents_of(prompt.messages, signed=signed),
        "generationConfig": {"maxOutputTokens": max_output_tokens},
    }
    if prompt.system.strip():
        body["systemInstruction"] = {"parts": [{"text": prompt.system}]}
    if prompt.tools:
        declarations = [
            {
                "name": tool.name,
                "description": tool.description,
                "parametersJsonSchema": tool.parameters or {"type": "object"},
            }
            for tool in prompt.tools
        ]
        body["tools"] = [{"functionDeclarations": declarations}]
    return body


def contents_of(
    messages: tuple[PromptMessage, ...], *, signed: bool
) -> list[dict[str, Any]]:
    """Return the messages with roles that alternate.

    ``signed`` = the model refuses a call that carries no signature.
    """
    contents: list[dict[str, Any]] = []
    for message in messages:
        role = "model" if message.role == "assistant" else "user"
        parts = list(_parts(message, signed=signed))
        if not parts:
            continue
        if contents and contents[-1]["role"] == role:
            contents[-1]["parts"] += parts
        else:
            contents.append({"role": role, "parts": parts})
    return contents


def _parts(message: PromptMessage, *, signed: bool) -> Iterator[dict[str, Any]]:
    for result in message.tool_results:
        outcome = "error" if result.is_error else "result"
        response = {"name": result.name, "response": {outcome: result.text}}
        yield {"functionResponse": _with_id(result.call_id) | response}
    if message.text:
        yield {"text": message.text}
    for number, call in enumerate(message.tool_calls):
        yield _call_part(call, needs_signature=signed and number == 0)


def _call_part(call: ToolCall, *, needs_signature: bool) -> dict[str, Any]:
    function = {"name": call.name, "args": call.arguments}
    part: dict[str, Any] = {"functionCall": _with_id(call.id) | function}
    signature = call.signature or (NO_SIGNATURE if needs_signature else "")
    if signature:
        part["thoughtSignature"] = signature
    return part


def _with_id(call_id: str) -> dict[str, str]:
    """Return a call's id, unless the service did not give it one."""
    return {} if call_id.startswith(MADE_UP_ID) else {"id": call_id}


class ContentStream(AnswerStream):
    """Turns the bytes of one streamed answer into events."""

    __slots__ = ("_blocked", "_finish")

    def __init__(self) -> None:
        super().__init__()
        self._finish = ""
        self._blocked = False

    @property
    def finishing(self) -> bool:
        """Whether the host said why the answer ends; a last count may follow."""
        return self._blocked or bool(self._finish)

    def _take(self, name: str, data: bytes) -> None:
        chunk = decoded(data)
        if chunk.get("error"):
            raise error_of(None, chunk)
        if as_object(chunk.get("promptFeedback")).get("blockReason"):
            self._blocked = True
        for candidate in as_list(chunk.get("candidates"))[:1]:
            self._candidate(as_object(candidate))
        if usage := as_object(chunk.get("usageMetadata")):
            self._count(usage_of(usage, wrote=self.produced))

    def _candidate(self, candidate: dict[str, Any]) -> None:
        for part in as_list(as_object(candidate.get("content")).get("parts")):
            self._part(as_object(part))
        finish = as_text(candidate.get("finishReason"))
        if finish and finish != "FINISH_REASON_UNSPECIFIED":
            self._finish = finish

    def _part(self, part: dict[str, Any]) -> None:
        text = as_text(part.get("text"))
        if part.get("thought"):
            self._think(text)
        else:
            self._say(text)
        if call := as_object(part.get("functionCall")):
            arguments = call.get("args")
            self._emit(
                tool_call(
                    as_text(call.get("id")),
                    as_text(call.get("name")),
                    json.dumps({} if arguments is None else arguments),
                    signature=as_text(part.get("thoughtSignature")),
                )
            )

    def _conclude(self) -> None:
        if self._blocked or self._finish in REFUSALS:
            raise refused()
        if self._finish in MISTAKES:
            raise UpstreamFailed("The model stopped over a mistake of its own.")
        self._emit(Finished(complete=self._finish != "MAX_TOKENS"))


def usage_of(usage: dict[str, Any], *, wrote: bool) -> Usage:
    """Return the service's count; thoughts are paid as output.

    ``wrote`` = something of the answer came, so that a missing count of it is unknown
    rather than nothing.
    """

    def count(name: str) -> int | None:
        return as_count(usage.get(f"{name}TokenCount"))

    read, written, thought = count("prompt"), count("candidates"), count("thoughts")
    output: int | None = (written or 0) + (thought or 0)
    if written is None and (wrote or thought is None):
        output = None
    return Usage(
        input_tokens=None if read is None else read + (count("toolUsePrompt") or 0),
        output_tokens=output,
        cache_read_tokens=count("cachedContent"),
    )


def as_stream(data: Any) -> bytes:
    """Return the stream that would have brought an answer which came in one piece.

    Raises:
        UpstreamFailed: It is no answer.
    """
    chunks = data if isinstance(data, list) else [data]
    for chunk in map(as_object, chunks):
        if not {"candidates", "promptFeedback", "error", "usageMetadata"} & set(chunk):
            raise UpstreamFailed(
                "The host did not answer as the Gemini API does; check its address."
            )
    return b"".join(b"data: " + json.dumps(c).encode() + b"\n\n" for c in chunks)
