"""What the errors of APIs mean where all of them agree: by the HTTP status.

A host's own words are only searched, never passed on: they may repeat the prompt or
the key. People and logs get Cortex's own sentences.

Source: RFC 9110, sections 10.2.3 (Retry-After) and 15 (status codes); Anthropic API
reference, "Errors" (529).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final, Protocol

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

TRY_AGAIN: Final = frozenset({408, 409})
"""Refusals of the moment, not of the call: another host, or a later time, may do."""
OVERLOADED: Final = frozenset({503, 529})


class ErrorReader(Protocol):
    """Returns the error that a host's answer means.

    ``status`` is ``None`` for an error inside a stream that began well; ``body`` is
    decoded JSON, or text where it is none.
    """

    def __call__(
        self, status: int | None, body: Any, *, retry_after: str | None = None
    ) -> BackendError:
        """Return the error."""
        ...


def too_long() -> ContextTooLong:
    """Return the error for a prompt that does not fit."""
    return ContextTooLong("The conversation is longer than this model takes.")


def refused() -> Refused:
    """Return the error for an answer that the host or its model declined."""
    return Refused("The model's host refused to answer this.")


def bad_key() -> AuthenticationFailed:
    """Return the error for a key that the host does not accept."""
    return AuthenticationFailed("The host refused the key.")


def no_credit() -> AuthenticationFailed:
    """Return the error for an account that cannot pay; its owner has to act."""
    return AuthenticationFailed(
        "The host's account has no credit left, or its spending limit is reached."
    )


def unknown_model() -> UnknownModel:
    """Return the error for a model, or an address, that does not exist there."""
    return UnknownModel("The host does not know this model; check name and address.")


def error_of_status(status: int, *, retry_after_s: float | None = None) -> BackendError:
    """Return the error that a status alone means; 0 = there was none."""
    if make := _BY_STATUS.get(status):
        return make()
    if status == 429:
        return RateLimited("The host is asked too often.", retry_after_s=retry_after_s)
    if 300 <= status < 400:
        return BadRequest("The host redirects elsewhere; enter its final address.")
    if 400 <= status < 500 and status not in TRY_AGAIN:
        return BadRequest(f"The host refused the request (status {status}).")
    shown = f" (status {status})" if status else ""
    if status in OVERLOADED:
        words = f"The host is overloaded{shown}."
        return Overloaded(words, retry_after_s=retry_after_s)
    return UpstreamFailed(f"The host reported an error{shown}.")


_BY_STATUS: Final[dict[int, Callable[[], BackendError]]] = {
    401: bad_key,
    402: no_credit,
    403: bad_key,
    404: unknown_model,
    413: too_long,
}


def status_in(code: Any) -> int:
    """Return the HTTP status that an error's ``code`` holds, 0 if it holds none."""
    return int(code) if re.fullmatch(r"[45]\d\d", str(code)) else 0


def seconds_of(retry_after: str | None) -> float | None:
    """Return the seconds that a ``Retry-After`` header means, ``None`` if unusable."""
    if not retry_after:
        return None
    try:
        seconds = float(retry_after)
    except ValueError:
        return _seconds_until(retry_after)
    return max(0.0, seconds) if seconds < float("inf") else None


def _seconds_until(date: str) -> float | None:
    try:
        moment = parsedate_to_datetime(date)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())
