"""What the errors of OpenAI-compatible servers mean, whatever form they come in.

Servers answer with the official object, a plain text, ``{"detail": …}``, or an event
inside a stream that began well. Their own words are only searched, never passed on:
they may repeat the prompt or the key.

Source: OpenAI API reference, "Error codes"; llama.cpp, server README; FastAPI,
"Handling errors" (the form of Open WebUI).
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from routing.backends.base import (
    AuthenticationFailed,
    BackendError,
    BadRequest,
    ContextTooLong,
    Overloaded,
    RateLimited,
    Refused,
    UnknownModel,
    UpstreamFailed,
)

_TOO_LONG = re.compile(
    r"exceed_context_size|context_length_exceeded|context (?:length|size|window)"
    r"|maximum context|prompt is too long|too many tokens",
    re.IGNORECASE,
)
_NO_MODEL = re.compile(r"model_not_found|model[^.]{0,80}not (?:found|exist)", re.I)
_FILTERED = re.compile(r"content_filter|content_policy|content management policy", re.I)


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
    if status in {503, 529}:
        return Overloaded(
            f"The host is overloaded{shown}.", retry_after_s=seconds_of(retry_after)
        )
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
