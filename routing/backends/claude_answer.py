"""Reads what the Claude program prints: one JSON object a line, as events and errors.

Pure state of one answer. The program shows its host's own stream (``stream_event``),
then each finished part of the answer (``assistant``), and last a ``result`` with the
counts by model. Without a result there is no answer, whatever the exit code says.

The program is started with a spending limit below the price of any call. So it ends
after the one call that was asked for, and the result says that the limit was reached:
that is how every good answer ends. Without the limit it would by itself make more
calls that nobody asked for and somebody pays, for an answer cut at its length limit
up to three.

Source: Claude Code documentation, "Run Claude Code programmatically", "CLI reference";
Claude API reference, "Streaming messages".
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any, Final

from routing.backends.anthropic_errors import error_of
from routing.backends.base import (
    AuthenticationFailed,
    BackendError,
    ConnectionFailed,
    Event,
    Finished,
    RateLimited,
    Refused,
    TextDelta,
    ThinkingDelta,
    UpstreamFailed,
    Usage,
    UsageReported,
)
from routing.backends.cli_prompt import Unmarked

NOT_LOGGED_IN: Final = (
    "Claude is not logged in: give its host an API key or a token, or log the program "
    "in by hand as the host's page says."
)
_REFUSED_CREDENTIAL: Final = {
    "key": "Claude refused the API key.",
    "token": "Claude refused the token; make a new one with “claude setup-token”.",
    "login": "The login has ended; log the program in again as the host's page says.",
}
_STATUS_OF_KIND: Final = {
    "authentication_failed": 401,
    "oauth_org_not_allowed": 403,
    "billing_error": 402,
    "model_not_found": 404,
    "rate_limit": 429,
    "server_error": 500,
    "overloaded": 529,
}
_LOGGED_OUT: Final = re.compile(r"not logged in|please run /login", re.IGNORECASE)
_TOO_LONG: Final = re.compile(r"prompt is too long", re.IGNORECASE)
_UNREACHABLE: Final = re.compile(
    r"unable to connect|connection ?(?:refused|error)|ENOTFOUND|EAI_AGAIN|getaddrinfo",
    re.IGNORECASE,
)
_LIMIT_REACHED: Final = "error_max_budget_usd"
_CUT: Final = frozenset({"max_tokens", "model_context_window_exceeded", "pause_turn"})
"""Reasons to stop that leave an answer unfinished."""


class ClaudeAnswer:
    """One answer, a ``routing.backends.cli_stream.Answer``."""

    def __init__(self, credential: str = "key") -> None:
        self._credential = credential
        self._shown = ""
        self._parts: list[str] = []
        self._unmarked = Unmarked()
        self._stop_reason = ""
        self._kind = ""
        self._refused = False
        self._input = Usage()
        self.asked = False
        """The program has sent its request."""
        self.working = False
        """The host has begun to answer, so input and output are paid."""
        self.finished = False
        self.ending = False
        self.failure: BackendError | None = None

    def feed(self, line: bytes) -> list[Event]:
        """Take a line and return its events; lines of unknown types have none."""
        try:
            data = json.loads(line)
        except (ValueError, RecursionError):
            self.failure = self._broken_off("The program sent something unreadable.")
            return []
        kind = data.get("type")
        if kind == "stream_event":
            return self._streamed(_dict(data.get("event")))
        if kind == "assistant":
            self._take_part(data)
        elif kind == "system":
            self._take_note(data)
        elif kind == "result":
            return self._result(data)
        return []

    def ended(self, exit_code: int | None, last_words: str) -> BackendError:
        """Return what the end of a program means that gave no good answer."""
        return self._broken_off("The Claude program ended without an answer.")

    def _broken_off(self, sentence: str) -> BackendError:
        error: BackendError = UpstreamFailed(sentence)
        if self.working:
            error = ConnectionFailed("The host cut the answer short.")
        error.worked = self.working or self.asked
        return error

    def _streamed(self, event: dict[str, Any]) -> list[Event]:
        kind = event.get("type")
        if kind == "content_block_delta":
            return self._delta(_dict(event.get("delta")))
        if kind == "message_start":
            self.working = True
            usage = _dict(_dict(event.get("message")).get("usage"))
            self._input = _input_of(usage)
            return [UsageReported(self._input)]
        if kind == "message_delta":
            delta = _dict(event.get("delta"))
            self._stop_reason = str(delta.get("stop_reason") or self._stop_reason)
            output = _dict(event.get("usage")).get("output_tokens")
            if isinstance(output, int):
                return [UsageReported(replace(self._input, output_tokens=output))]
        return []

    def _delta(self, delta: dict[str, Any]) -> list[Event]:
        if delta.get("type") == "text_delta":
            return self._show(str(delta.get("text") or ""))
        if delta.get("type") == "thinking_delta" and delta.get("thinking"):
            return [ThinkingDelta(str(delta["thinking"]))]
        return []

    def _show(self, text: str) -> list[Event]:
        self._shown += text
        shown = self._unmarked.feed(text)
        return [TextDelta(shown)] if shown else []

    def _take_part(self, data: dict[str, Any]) -> None:
        self._kind = str(data.get("error") or self._kind)
        message = _dict(data.get("message"))
        if message.get("model") == "<synthetic>":
            self._stop_reason = str(message.get("stop_reason") or self._stop_reason)
            return
        for block in message.get("content") or []:
            if _dict(block).get("type") == "text":
                self._parts.append(str(block.get("text") or ""))

    def _take_note(self, data: dict[str, Any]) -> None:
        subtype = str(data.get("subtype"))
        if subtype == "status" and data.get("status") == "requesting":
            self.asked = True
        elif subtype.startswith("model_refusal"):
            self._refused = True
        elif subtype == "api_retry":
            # Told not to try again, it would; the dispatcher knows better where.
            self.failure = self._retried(data)

    def _retried(self, data: dict[str, Any]) -> BackendError:
        status, delay_ms = data.get("error_status"), data.get("retry_delay_ms")
        if not isinstance(status, int):
            status = _STATUS_OF_KIND.get(str(data.get("error")))
        if status is None:
            return self._worked(ConnectionFailed("The host could not be reached."))
        error = self._of_status(status, "")
        if isinstance(error, RateLimited) and isinstance(delay_ms, int | float):
            error.retry_after_s = delay_ms / 1000
        return error

    def _result(self, data: dict[str, Any]) -> list[Event]:
        """Return the rest of the answer, the count and the end; or note the failure."""
        reason = str(data.get("stop_reason") or self._stop_reason)
        usage = _usage_of(data)
        counted: list[Event] = [UsageReported(usage)] if usage is not None else []
        self.failure = self._failure(data, reason)
        if self.failure is not None:
            self.failure.worked = self.failure.worked or usage is not None
            return counted
        self.finished = True
        cut = reason in _CUT or self._kind == "max_output_tokens"
        cut = cut or (not reason and data.get("subtype") == _LIMIT_REACHED)
        return [*self._missing(data), *counted, Finished(complete=not cut)]

    def _failure(self, data: dict[str, Any], reason: str) -> BackendError | None:
        if self._refused or reason == "refusal":
            return self._worked(Refused("The model declined to answer this."))
        limited = data.get("subtype") == _LIMIT_REACHED
        if limited or not data.get("is_error"):
            if self.working or data.get("modelUsage"):
                return None
            return UpstreamFailed("The program answered without asking the model.")
        if self._kind == "max_output_tokens":
            return None
        return self._told_failure(data)

    def _told_failure(self, data: dict[str, Any]) -> BackendError:
        words = str(data.get("result") or data.get("errors") or "")
        if _LOGGED_OUT.search(words):
            return AuthenticationFailed(NOT_LOGGED_IN)
        status = data.get("api_error_status")
        if isinstance(status, int):
            return self._of_status(status, words)
        if self.working:
            return self._broken_off("")
        if _UNREACHABLE.search(words):
            return ConnectionFailed("The host could not be reached.")
        return self._of_status(_STATUS_OF_KIND.get(self._kind), words)

    def _of_status(self, status: int | None, words: str) -> BackendError:
        if status is None and _TOO_LONG.search(words):
            status = 413
        # A subscription that is used up for now says so with 429, and comes back.
        body = {"error": {"message": "" if status == 429 else words}}
        error = error_of(status, body)
        if status in {401, 403} and isinstance(error, AuthenticationFailed):
            sentence = _REFUSED_CREDENTIAL.get(self._credential, str(error))
            error = AuthenticationFailed(sentence)
        return self._worked(error)

    def _worked(self, error: BackendError) -> BackendError:
        error.worked = self.working
        return error

    def _missing(self, data: dict[str, Any]) -> list[Event]:
        """Return what the finished answer has beyond the text that was streamed.

        Where it differs otherwise, what was shown stays as it is.
        """
        result = None if data.get("is_error") else data.get("result")
        for whole in (result, "".join(self._parts)):
            if isinstance(whole, str) and whole and whole.startswith(self._shown):
                return self._show(whole[len(self._shown) :])
        return []


def _input_of(usage: dict[str, Any]) -> Usage:
    """Return the input of one call; Anthropic counts what was cached apart."""
    read = _count(usage.get("cache_read_input_tokens"))
    written = _count(usage.get("cache_creation_input_tokens"))
    fresh = _count(usage.get("input_tokens"))
    return Usage(
        input_tokens=fresh + read + written or None,
        cache_read_tokens=read,
        cache_write_tokens=written,
    )


def _usage_of(result: dict[str, Any]) -> Usage | None:
    """Return the sum over all models that the run called; ``usage`` may miss some."""
    used = [_dict(used) for used in _dict(result.get("modelUsage")).values()]
    if not used:
        return None

    def total(name: str) -> int:
        return sum(_count(model.get(name)) for model in used)

    read, written = total("cacheReadInputTokens"), total("cacheCreationInputTokens")
    return Usage(
        total("inputTokens") + read + written, total("outputTokens"), read, written
    )


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _count(value: object) -> int:
    return value if isinstance(value, int) and value > 0 else 0
