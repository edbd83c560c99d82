"""Answers of the API that are no success: JSON with one code and one sentence.

Doors of other makers have shapes of their own: below ``/v1/`` the error is written as
OpenAI's clients read it, and a header tells them whether the same request is worth
another try; without it they ask again after every status from 500 on.
Source: OpenAI, API reference, "Error codes"; openai-python, ``_should_retry`` in
``_base_client.py``.
"""

from __future__ import annotations

import math
from typing import Any

from django.http import HttpRequest, JsonResponse

from channels_app.errors import CODES, RETRYABLE, TurnError

OPENAI_PREFIX = "/v1/"
RETRY_AFTER_S = 1
"""What a caller waits after ``too_many`` where nobody knows better, in seconds."""
_OPENAI_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}


class TooMany(TurnError):
    """The caller asked too often; ``retry_after_s`` says when to come again."""

    def __init__(self, message: str, *, retry_after_s: float) -> None:
        super().__init__("too_many", message)
        self.retry_after_s = retry_after_s


def error_body(request: HttpRequest, status: int, code: str, message: str) -> Any:
    """Return the body of an error in the shape of the door that was used."""
    if not request.path.startswith(OPENAI_PREFIX):
        return {"error": {"code": code, "message": message}}
    kind = "server_error" if status >= 500 else "invalid_request_error"
    return {
        "error": {
            "message": message,
            "type": _OPENAI_TYPES.get(status, kind),
            "param": None,
            "code": code,
        }
    }


def error_response(
    request: HttpRequest,
    code: str,
    message: str,
    *,
    status: int | None = None,
    retryable: bool | None = None,
) -> JsonResponse:
    """Return an error as JSON; unless given, status and more follow from the code."""
    status = status or CODES[code]
    if retryable is None:
        retryable = code in RETRYABLE
    response = JsonResponse(error_body(request, status, code, message), status=status)
    response.headers["Cache-Control"] = "no-store"
    if status >= 500 and code != "internal":
        # A model that is missing or silent is an ordinary answer. Django logs every
        # response from 500 on as an error of this program, unless it is marked as
        # logged already.
        # Source: django.utils.log, log_response.
        response._has_been_logged = True  # type: ignore[attr-defined]
    if status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    if request.path.startswith(OPENAI_PREFIX):
        response.headers["X-Should-Retry"] = "true" if retryable else "false"
    return response


def turn_error_response(request: HttpRequest, error: TurnError) -> JsonResponse:
    """Return the answer to a request that started nothing."""
    response = error_response(
        request, error.code, error.message, retryable=error.retryable
    )
    if error.status == 429:
        wait_s = getattr(error, "retry_after_s", RETRY_AFTER_S)
        response.headers["Retry-After"] = str(max(1, math.ceil(wait_s)))
    return response
