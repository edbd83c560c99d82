"""What the errors of Anthropic's API mean, as a response or inside a stream.

Source: Anthropic API reference, "Errors" and "Rate limits".
"""

from __future__ import annotations

import re
from typing import Any, Final

from routing.backends.api_errors import (
    error_of_status,
    no_credit,
    seconds_of,
    too_long,
)
from routing.backends.base import BackendError
from routing.backends.wire import as_object

STATUSES: Final = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}
"""The status that stands for each type of error; a stream's has no other."""
_TOO_LONG: Final = re.compile(
    r"prompt is too long|exceed\w* (?:the )?context (?:limit|window)"
    r"|context window exceed|request_too_large",
    re.IGNORECASE,
)
_NO_CREDIT: Final = re.compile(
    r"credit balance|spend(?:ing)?[ _]limit|usage limits?\b|billing", re.IGNORECASE
)


def error_of(
    status: int | None, body: Any, *, retry_after: str | None = None
) -> BackendError:
    """Return the error that an answer means, see ``api_errors.ErrorReader``."""
    error = as_object(as_object(body).get("error"))
    kind = str(error.get("type") or "")
    known = STATUSES.get(kind, 0)
    status = known if status is None else status
    code = as_object(error.get("details")).get("error_code") or ""
    words = f"{error.get('message') or ''} {code}"
    if status in {400, 413} and _TOO_LONG.search(f"{kind} {words}"):
        return too_long()
    if status in {400, 403, 429} and retry_after is None and _NO_CREDIT.search(words):
        # A limit of spending looks like one of speed, but waiting does not help.
        return no_credit()
    return error_of_status(status, retry_after_s=seconds_of(retry_after))
