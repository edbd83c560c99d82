"""Errors as clients of OpenAI's API know them, with the codes that they look for.

Source: OpenAI, "Error codes"; openai-python, ``_exceptions.py``, and ``_should_retry``
in ``_base_client.py``.
"""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from ninja import Schema

from channels_app.api.errors import error_body, error_response, turn_error_response
from channels_app.errors import TurnError


class UnknownModel(TurnError):
    """The caller has no persona of that name."""

    def __init__(self) -> None:
        super().__init__("not_found", "You have no persona of this name.")


class OpenAIFault(Schema):
    """What went wrong."""

    message: str
    type: str
    param: str | None
    code: str


class OpenAIErrorOut(Schema):
    """The body of every error below /v1/."""

    error: OpenAIFault


def failing(*statuses: int) -> dict[int, Any]:
    """Return the responses of a route for its document; the success has no shape."""
    errors = sorted({*statuses, 401, 403, 429, 500})
    return {200: None} | dict.fromkeys(errors, OpenAIErrorOut)


def refusal(request: HttpRequest, error: TurnError) -> HttpResponse:
    """Return the answer to a request that failed before its first word.

    A header tells clients what is worth another try; without it they ask again after
    every status from 500 on.
    """
    code, status = _code_and_status(error)
    if code == error.code:
        response = turn_error_response(request, error)
    else:
        response = error_response(request, code, error.message, status=status)
    response.headers["X-Should-Retry"] = "true" if error.retryable else "false"
    return response


def body_of(request: HttpRequest, error: TurnError) -> Any:
    """Return the body of an error inside a stream."""
    code, status = _code_and_status(error)
    return error_body(request, status, code, error.message)


def _code_and_status(error: TurnError) -> tuple[str, int]:
    if isinstance(error, UnknownModel):
        return "model_not_found", 404
    if error.code == "too_long":
        return "context_length_exceeded", 400
    return error.code, error.status
