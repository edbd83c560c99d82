"""What the errors of OpenAI-compatible servers mean, whatever form they come in.

Servers answer with the official object, a plain text, ``{"detail": …}``, or an event
inside a stream that began well. Their own words are only searched, never passed on:
they may repeat the prompt or the key.

Source: OpenAI API reference, "Error codes"; llama.cpp, server README; FastAPI,
"Handling errors" (the form of Open WebUI).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from routing.backends.api_errors import (
    error_of_status,
    no_credit,
    refused,
    seconds_of,
    status_in,
    too_long,
    unknown_model,
)
from routing.backends.base import BackendError

_TOO_LONG = re.compile(
    r"exceed_context_size|context_length_exceeded|context (?:length|size|window)"
    r"|maximum context|prompt is too long|too many tokens",
    re.IGNORECASE,
)
_NO_MODEL = re.compile(r"model_not_found|model[^.]{0,80}not (?:found|exist)", re.I)
_FILTERED = re.compile(r"content_filter|content_policy|content management policy", re.I)
_NO_CREDIT = re.compile(r"insufficient_quota|insufficient (?:credit|balance)", re.I)
_MEANINGS: Final[
    tuple[tuple[frozenset[int], re.Pattern[str], Callable[[], BackendError]], ...]
] = (
    (frozenset({0, 400, 413, 422}), _TOO_LONG, too_long),
    (frozenset({0, 400, 403, 422}), _FILTERED, refused),
    (frozenset({0, 400, 404, 422}), _NO_MODEL, unknown_model),
    (frozenset({0, 400, 402, 403, 429}), _NO_CREDIT, no_credit),
)
"""Words count only with the statuses that leave a choice; 0 = inside a stream. “Too
many tokens, please wait” under 429 is a matter of speed, not of length."""


def error_of(
    status: int | None, body: Any, *, retry_after: str | None = None
) -> BackendError:
    """Return the error that a host's answer means; its own words are left out.

    ``status`` is ``None`` for an error inside a stream. The host's text may repeat
    the prompt or the key, so only Cortex's own sentences reach people and logs.
    """
    code, words = _error_words(body)
    if status is None:
        status = status_in(code)
    for statuses, pattern, error in _MEANINGS:
        if status in statuses and pattern.search(words):
            return error()
    return error_of_status(status, retry_after_s=seconds_of(retry_after))


def _error_words(body: Any) -> tuple[str, str]:
    """Return the error's code and all its words, whatever form the host gave it."""
    error = body.get("error", body.get("detail")) if isinstance(body, dict) else body
    if not isinstance(error, dict):
        return "", str(error or "")
    words = [str(error.get(key) or "") for key in ("code", "type", "message", "param")]
    return words[0], " ".join(words)
