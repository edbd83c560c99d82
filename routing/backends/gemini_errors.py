"""What the errors of the Gemini API mean, as a response or inside a stream.

Source: Gemini API documentation, "Troubleshooting guide"; google.rpc.RetryInfo and
google.rpc.ErrorInfo (error details of Google's APIs).
"""

from __future__ import annotations

import re
from typing import Any, Final

from routing.backends.api_errors import (
    bad_key,
    error_of_status,
    no_credit,
    seconds_of,
    status_in,
    too_long,
)
from routing.backends.base import BackendError
from routing.backends.wire import as_list, as_object, as_text

STATUSES: Final = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "OUT_OF_RANGE": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "RESOURCE_EXHAUSTED": 429,
    "CANCELLED": 499,
    "INTERNAL": 500,
    "UNKNOWN": 500,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}
_BAD_KEY: Final = re.compile(r"API_KEY_INVALID|API key (?:not valid|expired)", re.I)
_TOO_LONG: Final = re.compile(
    r"token count[^.]{0,80}exceeds|exceeds the maximum number of tokens", re.I
)
_NO_CREDIT: Final = re.compile(r"enable billing|billing account|prepayment", re.I)
_SECONDS: Final = re.compile(r"(\d+(?:\.\d+)?)s")


def error_of(
    status: int | None, body: Any, *, retry_after: str | None = None
) -> BackendError:
    """Return the error that an answer means, see ``api_errors.ErrorReader``."""
    error = _error_in(body)
    if status is None:
        status = status_in(error.get("code")) or STATUSES.get(
            as_text(error.get("status")), 0
        )
    details = [as_object(detail) for detail in as_list(error.get("details"))]
    reasons = " ".join(as_text(detail.get("reason")) for detail in details)
    words = f"{as_text(error.get('message'))} {reasons}"
    if status in {400, 403} and _BAD_KEY.search(words):
        return bad_key()
    if status == 400 and _TOO_LONG.search(words):
        return too_long()
    if status in {400, 403} and _NO_CREDIT.search(words):
        return no_credit()
    return error_of_status(
        status, retry_after_s=_pause_in(details) or seconds_of(retry_after)
    )


def _error_in(body: Any) -> dict[str, Any]:
    """Return the error object; a stream that is not one of events holds a list."""
    first = body[0] if isinstance(body, list) and body else body
    return as_object(as_object(first).get("error"))


def _pause_in(details: list[dict[str, Any]]) -> float | None:
    for detail in details:
        match = _SECONDS.fullmatch(as_text(detail.get("retryDelay")))
        if match:
            return float(match[1])
    return None
