"""What a client of OpenAI's API may send.

Unknown fields are ignored, as are those that only shift the odds of a model
(``temperature`` and the like). What would change the answer's form and cannot be kept
is refused with a sentence.

Source: OpenAI API reference, "Create chat completion".
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    field_validator,
)

MAX_MESSAGES = 4_000
MAX_CALLS = 128
"""Calls of tools in one message."""
MAX_STOPS = 4
MAX_STOP_CHARS = 200
MAX_TOOLS = 128
_ONLY_TEXT = "holds something other than text; only text can be read here"


def _text_of(content: Any) -> Any:
    """Join the parts of a content; other parts than text are refused."""
    if not isinstance(content, list):
        return content
    texts = []
    for part in content:
        text = part.get("text") if isinstance(part, dict) else None
        if not isinstance(text, str) or part.get("type") != "text":
            raise ValueError(_ONLY_TEXT)
        texts.append(text)
    return "\n\n".join(texts)


def _as_list(stop: Any) -> Any:
    return [stop] if isinstance(stop, str) else stop


_CONTENT_SCHEMA: dict[str, Any] = {
    "anyOf": [
        {"type": "string"},
        {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "type": {"type": "string", "enum": ["text"]},
                    "text": {"type": "string"},
                },
                "required": ["type", "text"],
            },
        },
        {"type": "null"},
    ]
}


class _Sent(BaseModel):
    """What a client sends, taken literally."""

    model_config = ConfigDict(strict=True)


class FunctionCall(_Sent):
    """A function that the model called."""

    name: str
    arguments: str = "{}"


class CallOfTool(_Sent):
    """One call in an assistant's message."""

    id: str = Field(min_length=1)
    type: Literal["function"] = "function"
    function: FunctionCall


class ChatMessage(_Sent):
    """One message of the conversation that the client brings."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Annotated[str | None, BeforeValidator(_text_of)] = Field(
        None, json_schema_extra=_CONTENT_SCHEMA
    )
    tool_calls: list[CallOfTool] | None = Field(None, max_length=MAX_CALLS)
    tool_call_id: str | None = None


class Function(_Sent):
    """A function that the client can run."""

    name: str = Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")
    description: str | None = None
    parameters: dict[str, Any] | None = None


class Tool(_Sent):
    """A tool on offer; only functions are known."""

    type: Literal["function"]
    function: Function


class StreamOptions(_Sent):
    """What a stream brings beside the answer."""

    include_usage: bool | None = None


class ResponseFormat(_Sent):
    """The form of the answer; only plain text is kept."""

    type: Literal["text"]


STOP: dict[str, JsonValue] = {
    "type": "string",
    "minLength": 1,
    "maxLength": MAX_STOP_CHARS,
}
STOPS: dict[str, JsonValue] = {"type": "array", "maxItems": MAX_STOPS, "items": STOP}


class CompletionRequest(_Sent):
    """The body of ``POST /v1/chat/completions``."""

    model: str = Field(min_length=1, max_length=64, description="Name of a persona.")
    messages: list[ChatMessage] = Field(min_length=1, max_length=MAX_MESSAGES)
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    tools: list[Tool] | None = Field(None, max_length=MAX_TOOLS)
    tool_choice: Literal["auto", "none"] | None = None
    max_tokens: int | None = Field(None, ge=1)
    max_completion_tokens: int | None = Field(None, ge=1)
    stop: Annotated[list[str] | None, BeforeValidator(_as_list)] = Field(
        None,
        description=f"At most {MAX_STOPS} texts that end the answer.",
        json_schema_extra={"anyOf": [STOP, STOPS, {"type": "null"}]},
    )
    n: int | None = Field(None, json_schema_extra={"enum": [1, None]})
    response_format: ResponseFormat | None = None
    logprobs: bool | None = Field(None, json_schema_extra={"enum": [False, None]})
    functions: list[Any] | None = Field(
        None, deprecated=True, json_schema_extra={"maxItems": 0}
    )
    modalities: list[Literal["text"]] | None = None

    @field_validator("n")
    @classmethod
    def _one_answer(cls, value: int | None) -> int | None:
        if value not in (None, 1):
            raise ValueError("must be 1: one request gets one answer")
        return value

    @field_validator("logprobs")
    @classmethod
    def _no_odds(cls, value: bool | None) -> bool | None:
        if value:
            raise ValueError("must be false: the odds of words are not known here")
        return value

    @field_validator("functions")
    @classmethod
    def _tools_instead(cls, value: list[Any] | None) -> list[Any] | None:
        if value:
            raise ValueError("is out of date; send “tools”")
        return value

    @field_validator("stop")
    @classmethod
    def _few_stops(cls, value: list[str] | None) -> list[str] | None:
        if value and len(value) > MAX_STOPS:
            raise ValueError(f"has more than {MAX_STOPS} texts")
        if value and not all(0 < len(text) <= MAX_STOP_CHARS for text in value):
            raise ValueError(f"has a text that is empty or over {MAX_STOP_CHARS} long")
        return value

    @property
    def with_usage(self) -> bool:
        """Whether a stream ends with the number of tokens."""
        return bool(self.stream_options and self.stream_options.include_usage)

    @property
    def most_tokens(self) -> int | None:
        """How long the answer may become."""
        return self.max_completion_tokens or self.max_tokens
