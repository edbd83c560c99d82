"""One try with one model: what came of it, and what it counts as.

Plain state without database or network; ``routing.attempts`` books it and
``routing.dispatch`` drives it.
"""

from __future__ import annotations

import json
import time
import uuid
from dataclasses import dataclass, field
from typing import Final

from ledger.types import Caller, Cost, Outcome
from routing.backends.base import (
    BackendError,
    ConnectionFailed,
    Event,
    Finished,
    Prompt,
    Target,
    TextDelta,
    ThinkingDelta,
    ToolCall,
    Usage,
    UsageReported,
)
from routing.backends.plain_texts import texts_of
from routing.candidates import Candidate
from routing.catalogue import ModelInfo
from routing.continuation import Seam
from routing.errors import ErrorInfo
from routing.health import NoAnswer
from routing.keys import key_of
from routing.tokens import estimate_tokens, tokens_of_bytes

Shown = TextDelta | ThinkingDelta | ToolCall
"""What an attempt shows to the person who asked."""
_ONLY_THOUGHT: Final = "The model reached its length limit before answering."
_CUT_AT_LIMIT: Final = "The answer reached its length limit."
NO_TEXT: Final = "The model returned an empty answer."
AT_THE_LIMIT: Final = frozenset({_ONLY_THOUGHT, _CUT_AT_LIMIT})
"""What people are told where a model wrote all that it was allowed to."""


@dataclass(slots=True)
class Attempt:
    """One try with one model, from its reservation to its closing row."""

    id: uuid.UUID
    number: int
    candidate: Candidate
    reason: str
    prompt: Prompt
    max_output_tokens: int
    caller: Caller
    seam: Seam | None = None
    """Set = it goes on inside the text that was shown before it."""
    starts_at: int = 0
    """How many characters of the answer stood before it."""
    started_s: float = field(default_factory=time.monotonic)
    first_token_s: float | None = None
    elapsed_ms: int | None = None
    sent: bool = False
    """The back end was called; before that nothing can have been used."""
    opened: bool = False
    """The host accepted the call."""
    answered: bool = False
    """Something of its answer was shown, so there is no falling back any more."""
    called_tools: bool = False
    finished: bool = False
    note: str = ""
    """What the person should know of how the host treated the call."""
    output_bytes: int = 0
    usage: Usage | None = None
    """The host's own count."""
    outcome: Outcome = "interrupted"
    error: BackendError | None = None
    booked: Usage | None = None
    cost: Cost | None = None

    @property
    def model(self) -> ModelInfo:
        """The model that is tried."""
        return self.candidate.model

    def target(self) -> Target:
        """Return where the call goes, with the key decrypted for this host alone.

        Raises:
            AuthenticationFailed: The stored key cannot be read.
        """
        host = self.model.host
        return Target(
            host_type=host.type,
            base_url=host.base_url,
            api_key=key_of(host),
            model_name=self.model.name,
            context_tokens=self.model.context_tokens,
            trusted_origin=host.trusted_origin,
            host_id=host.id,
            credential=host.credential,
            user_id=self.caller.user_id,
            persona_id=self.caller.persona_id,
        )

    def take(self, event: Event) -> Shown | None:
        """Note an event; return it if it is for the person who asked."""
        if isinstance(event, UsageReported):
            self.usage = event.usage
            return None
        if isinstance(event, Finished):
            self.finished, self.note = True, event.note
            self.outcome = "complete" if event.complete else "incomplete"
            return None
        if isinstance(event, ToolCall):
            self.answered = self.called_tools = True
            self._wrote(event.name + json.dumps(event.arguments))
            return event
        self._wrote(event.text)
        if isinstance(event, ThinkingDelta):
            return event
        return self._shown(self.seam.take(event.text) if self.seam else event.text)

    def rest(self) -> TextDelta | None:
        """Return the text that was held back at a seam, once the answer has ended."""
        return self._shown(self.seam.end()) if self.seam else None

    def _shown(self, text: str) -> TextDelta | None:
        if not text:
            return None
        self.answered = True
        return TextDelta(text)

    def check_end(self) -> None:
        """Make sure that the host ended the answer, and that there is one.

        Raises:
            BackendError: It is cut or empty.
        """
        if not self.finished:
            raise ConnectionFailed("The host cut the answer short.")
        if self.answered or self.seam is not None:
            return
        if self.outcome == "incomplete":
            raise NoAnswer(_ONLY_THOUGHT)
        raise NoAnswer(NO_TEXT)

    def fail(self, error: BackendError) -> None:
        """Note a failure; what was shown before it stays."""
        self.error = error
        self.outcome = "incomplete" if self.answered else "failed"

    @property
    def first_token_ms(self) -> int | None:
        """How long the first sign of the model took."""
        if self.first_token_s is None:
            return None
        return milliseconds(self.started_s, self.first_token_s)

    def _wrote(self, text: str) -> None:
        if self.first_token_s is None:
            self.first_token_s = time.monotonic()
        self.output_bytes += len(text.encode(errors="replace"))

    def measured(self) -> Usage:
        """Return the host's count, completed by estimates where it is silent."""
        if not self.sent:
            return Usage(0, 0)
        usage = self.usage or Usage()
        output, input_ = usage.output_tokens, usage.input_tokens
        estimated = False
        if output is None or (output == 0 and self.output_bytes):
            output, estimated = tokens_of_bytes(self.output_bytes), True
        if not input_:
            input_, estimated = prompt_tokens(self.prompt), True
        return Usage(
            input_, output, usage.cache_read_tokens, usage.cache_write_tokens, estimated
        )


def prompt_tokens(prompt: Prompt) -> int:
    """Return about how many tokens a prompt has on the wire."""
    return estimate_tokens("".join(texts_of(prompt)))


def milliseconds(start_s: float, end_s: float) -> int:
    """Return the time between two moments of the monotonic clock."""
    return max(0, round((end_s - start_s) * 1000))


def error_of(attempt: Attempt) -> ErrorInfo | None:
    """Return what people are told about an attempt's end; ``None`` = all is well."""
    error = attempt.error
    if error is not None:
        return ErrorInfo(error.code, str(error), error.retryable)
    if attempt.outcome == "incomplete":
        return ErrorInfo("too_long", _CUT_AT_LIMIT, True)
    return None
