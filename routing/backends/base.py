"""The contract of a back end: one streamed call to one model, as typed events.

A back end turns the wire format of its host into the events below and its failures
into the errors below, and knows nothing of fallback, money or people; those belong to
``routing.dispatch``, the only caller.

Error tree (``code`` is the machine code of the API, see ``ErrorInfo``)::

    BackendError
     ├─ ConnectionFailed    upstream_unavailable   refused, reset, cut in mid-stream
     ├─ TimedOut            upstream_timeout       connect, first token, between, total
     ├─ RateLimited         too_many               429, with retry_after_s when given
     ├─ AuthenticationFailed upstream_auth         401, 402, 403, missing key
     ├─ UnknownModel        no_model               the host does not know the model
     ├─ ContextTooLong      too_long               413 or the host's own "too long"
     ├─ Refused             refused                the model declined to answer
     ├─ BadRequest          bad_request            other 4xx: the call itself is wrong
     └─ UpstreamFailed      upstream_unavailable   5xx, malformed or error event
         └─ Overloaded      upstream_unavailable   503, 529: too busy for now
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A complete request of the model to call a tool."""

    id: str
    name: str
    arguments: dict[str, Any]
    error: str = ""
    """Why the arguments cannot be used (``arguments`` is empty then), for the model."""
    signature: str = ""
    """A mark that the vendor wants back with the call, such as Gemini's signature of
    a thought; opaque, and only for the host type that gave it."""
    raw: str = ""
    """The arguments as they came, where they cannot be used."""


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a tool said to one call."""

    call_id: str
    name: str
    text: str
    is_error: bool = False


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool that the model may call; ``parameters`` is a JSON Schema object."""

    name: str
    description: str
    parameters: dict[str, Any]


@dataclass(frozen=True, slots=True)
class PromptMessage:
    """One earlier or current message as the model sees it.

    An assistant's message may carry the calls it made; the message after it is then
    the user's, with their results.
    """

    role: Literal["user", "assistant"]
    text: str
    tool_calls: tuple[ToolCall, ...] = ()
    tool_results: tuple[ToolResult, ...] = ()


@dataclass(frozen=True, slots=True)
class Prompt:
    """What one call sends: instructions, then messages from oldest to newest."""

    system: str
    messages: tuple[PromptMessage, ...]
    left_out_messages: int = 0
    """How many older messages did not fit."""
    left_out_files: tuple[str, ...] = ()
    """Names of persona files that did not fit, in the order they were dropped."""
    tools: tuple[ToolSpec, ...] = ()
    """Tools on offer; hosts that know none ignore them."""
    passing: str = ""
    """The end of ``system`` that changes with time, such as the date; hosts that keep
    what came before it can be sent it apart."""
    asked: str = ""
    """What the person wrote last, where the last message holds more than that."""


@dataclass(frozen=True, slots=True)
class Target:
    """The host and model of one attempt, with the key already decrypted."""

    host_type: str
    base_url: str
    api_key: str = field(repr=False)
    model_name: str
    context_tokens: int
    trusted_origin: bool
    """An administrator typed the address, so it may be private or loopback."""
    host_id: int | None = None
    """Row of the host; programs keep a folder of their own for each."""
    credential: str = "key"
    """What ``api_key`` is, one of ``routing.models.Host.Credential``."""
    user_id: int | None = None
    persona_id: int | None = None
    """On whose behalf, so that nothing kept ready is ever used across people."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Limits of one call in seconds; all are always on."""

    connect_s: float = 5
    first_token_s: float = 60
    between_tokens_s: float = 30
    total_s: float = 600


REMOTE_TIMEOUTS = Timeouts()
LOCAL_TIMEOUTS = Timeouts(first_token_s=180, between_tokens_s=60, total_s=1800)
"""A model in the house may have to be loaded first, and writes more slowly."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one call; ``None`` = unknown. Input includes cache reads and writes."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    estimated: bool = False


@dataclass(frozen=True, slots=True)
class TextDelta:
    """A piece of the answer; a back end joins what one network read brought."""

    text: str


@dataclass(frozen=True, slots=True)
class ThinkingDelta:
    """A piece of the model's reasoning, never part of the answer."""

    text: str


@dataclass(frozen=True, slots=True)
class UsageReported:
    """The host's own count; a later one replaces an earlier one."""

    usage: Usage


@dataclass(frozen=True, slots=True)
class Finished:
    """The host ended the answer; ``complete`` is False when a limit cut it short."""

    complete: bool = True
    note: str = ""
    """One sentence for the person on how the host treated the call, if it did not do
    as it was asked."""


Event = TextDelta | ThinkingDelta | ToolCall | UsageReported | Finished


class BackendError(Exception):
    """A call that failed; ``str()`` is one safe sentence for the person who asked."""

    code = "upstream_unavailable"
    retryable = True
    retry_after_s: float | None = None
    worked = False
    """The host may have begun to work before it failed, so its input is booked."""


class ConnectionFailed(BackendError):
    """The host could not be reached or cut the stream."""


class UpstreamFailed(BackendError):
    """The host answered with a server error or with something unreadable."""


class Overloaded(UpstreamFailed):
    """The host is too busy for now; ``retry_after_s`` when it said for how long."""

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class TimedOut(BackendError):
    """A time limit passed: first token, between tokens or total."""

    code = "upstream_timeout"
    worked = True


class RateLimited(BackendError):
    """The host asked to slow down; ``retry_after_s`` when it said for how long."""

    code = "too_many"

    def __init__(self, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class AuthenticationFailed(BackendError):
    """The host refused the key, or there is none, or its account cannot pay."""

    code = "upstream_auth"
    retryable = False


class UnknownModel(BackendError):
    """The host does not know the model."""

    code = "no_model"
    retryable = False


class ContextTooLong(BackendError):
    """The prompt is larger than the model takes."""

    code = "too_long"
    retryable = False


class Refused(BackendError):
    """The model declined to answer."""

    code = "refused"
    retryable = False


class BadRequest(BackendError):
    """The host refused the call as wrong."""

    code = "bad_request"
    retryable = False


class Backend(Protocol):
    """One wire protocol. Implementations hold no state of a call."""

    type: str

    def stream(
        self,
        prompt: Prompt,
        target: Target,
        *,
        max_output_tokens: int,
        timeouts: Timeouts,
    ) -> AbstractAsyncContextManager[AsyncIterator[Event]]:
        """Open one call; leaving the context ends the upstream call within 250 ms.

        Yields events in the order of the wire and ends with ``Finished``. Raises a
        ``BackendError`` on opening or while iterating; a stream that ends without
        its protocol's end mark raises ``ConnectionFailed``.
        """
        ...
