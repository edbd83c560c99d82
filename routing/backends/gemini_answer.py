"""Reads what the Gemini program prints: one JSON object a line, as events and errors.

Pure state of one answer. The program repeats the prompt, then shows pieces of the
answer, and last a ``result`` with the counts. Without a result there is no answer: a
program that was killed in mid-answer exits with 0. What went wrong is told by the exit
code, the HTTP status modulo 256; so after a failed result the end is waited for.

The counts name no tokens of thinking; they are what the total has beyond input and
output. Nothing tells why an answer ended: one that used up its limit is taken for cut.

Source: Gemini CLI documentation, "Headless mode" (stream-json); its source,
"exitCodes.ts" and "errors.ts".
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

from routing.backends.base import (
    AuthenticationFailed,
    BackendError,
    ConnectionFailed,
    Event,
    Finished,
    TextDelta,
    UpstreamFailed,
    Usage,
    UsageReported,
)
from routing.backends.cli_prompt import Unmarked
from routing.backends.gemini_errors import error_of
from routing.backends.wire import as_object

NOT_LOGGED_IN: Final = (
    "Gemini is not logged in: give its host an API key, or log the program in by hand "
    "as the host's page says."
)
_REFUSED_LOGIN: Final = (
    "The login has ended; log the program in again as the host's page says."
)
_STATUSES: Final = (
    400,
    401,
    403,
    404,
    408,
    409,
    413,
    429,
    499,
    500,
    502,
    503,
    504,
    529,
)
_STATUS_OF_EXIT: Final = {status % 256: status for status in _STATUSES}
_EXIT_NO_AUTH: Final = 41
_JSON: Final = re.compile(r"\{.*\}", re.DOTALL)
_NO_MODEL: Final = re.compile(
    r"ModelNotFoundError|model[^.]{0,120}not (?:found|exist)", re.IGNORECASE
)
_NOTHING: Final = re.compile(r"without a finish reason", re.IGNORECASE)
_PAUSE: Final = re.compile(r"retry (?:after|in) (\d+(?:\.\d+)?)s", re.IGNORECASE)
_UNREACHABLE: Final = re.compile(
    r"fetch failed|ECONNREFUSED|ENOTFOUND|EAI_AGAIN|ETIMEDOUT", re.IGNORECASE
)


class GeminiAnswer:
    """One answer, a ``routing.backends.cli_stream.Answer``."""

    def __init__(self, max_output_tokens: int, credential: str = "key") -> None:
        self._max_output_tokens = max_output_tokens
        self._credential = credential
        self._unmarked = Unmarked()
        self._words = ""
        self._counted = False
        self.asked = False
        self.working = False
        """The host has begun to answer, so input and output are paid."""
        self.finished = False
        self.ending = False
        self.failure: BackendError | None = None

    def feed(self, line: bytes) -> list[Event]:
        """Take a line and return its events; lines of unknown types have none."""
        try:
            data = as_object(json.loads(line))
        except (ValueError, RecursionError):
            unreadable = UpstreamFailed("The program sent something unreadable.")
            self.failure = self._broken_off(unreadable)
            return []
        kind = data.get("type")
        if kind == "message":
            return self._message(data)
        if kind == "error" and data.get("severity") == "error":
            self._words = str(data.get("message") or "")
        elif kind == "result":
            return self._result(data)
        return []

    def ended(self, exit_code: int | None, last_words: str) -> BackendError:
        """Return what the end of a program means that gave no good answer."""
        status = _STATUS_OF_EXIT.get(exit_code or 0)
        if status is None and _NO_MODEL.search(f"{self._words} {last_words}"):
            status = 404
        return self._broken_off(
            AuthenticationFailed(NOT_LOGGED_IN)
            if exit_code == _EXIT_NO_AUTH
            else self._told_failure(status)
        )

    def _broken_off(self, error: BackendError) -> BackendError:
        if self.working:
            error = ConnectionFailed("The host cut the answer short.")
        error.worked = self.working or self._counted or (self.asked and not self.ending)
        return error

    def _message(self, data: dict[str, Any]) -> list[Event]:
        if data.get("role") == "user":
            self.asked = True
        if data.get("role") != "assistant":
            return []
        self.working = True
        text = self._unmarked.feed(str(data.get("content") or ""))
        return [TextDelta(text)] if text else []

    def _result(self, data: dict[str, Any]) -> list[Event]:
        usage = _usage_of(as_object(data.get("stats")))
        counted: list[Event] = [UsageReported(usage)] if usage is not None else []
        self._counted = usage is not None
        if data.get("status") == "success":
            self.finished = True
            used = (usage.output_tokens or 0) if usage is not None else 0
            return [*counted, Finished(complete=used < self._max_output_tokens)]
        self.ending = True
        self._words = str(as_object(data.get("error")).get("message") or self._words)
        return counted

    def _told_failure(self, status: int | None) -> BackendError:
        if not self.ending:
            return UpstreamFailed("The Gemini program ended without an answer.")
        if _UNREACHABLE.search(self._words):
            return ConnectionFailed("The host could not be reached.")
        if _NOTHING.search(self._words):
            return UpstreamFailed("The model gave no answer.")
        found = _JSON.search(self._words)
        try:
            body = json.loads(found.group()) if found else None
        except (ValueError, RecursionError):
            body = None
        pause = _PAUSE.search(self._words)
        error = error_of(
            status,
            body or {"error": {"message": self._words}},
            retry_after=pause[1] if pause else None,
        )
        if isinstance(error, AuthenticationFailed) and self._credential == "login":
            return AuthenticationFailed(_REFUSED_LOGIN)
        return error


def _usage_of(stats: dict[str, Any]) -> Usage | None:
    """Return the count; ``None`` where the program learned of none."""
    given, total = _count(stats, "input_tokens"), _count(stats, "total_tokens")
    if not total:
        return None
    return Usage(
        input_tokens=given,
        output_tokens=max(_count(stats, "output_tokens"), total - given),
        cache_read_tokens=_count(stats, "cached"),
    )


def _count(stats: dict[str, Any], name: str) -> int:
    value = stats.get(name)
    return value if isinstance(value, int) and value > 0 else 0
