"""Errors as clients of OpenAI's API know them, with the codes that they look for.

Source: OpenAI, "Error codes"; openai-python, ``_exceptions.py``.
"""

from __future__ import annotations

import re
from typing import Any

from django.http import HttpRequest, HttpResponse
from ninja import Schema

from accounts.names import NAME_PATTERN
from channels_app.api.errors import error_body, error_response, turn_error_response
from channels_app.errors import TurnError


class UnknownModel(TurnError):
    """The caller has no persona of that name."""

    def __init__(self) -> None:
        super().__init__("not_found", "You have no persona of this name.")


def checked_name(model: str) -> str:
    """Return what a client calls a model; raises ``UnknownModel`` where none can be.

    Names are asked of the database, which does not take every character.
    """
    if not re.match(NAME_PATTERN, model):
        raise UnknownModel
    return model


class OpenAIFault(Schema):
    """What went wrong."""

    message: str
    type: str
    param: str | None
    code: str


class OpenAIErrorOut(Schema):
    """The body of every error below /v1/."""

    error: OpenAIFault


def failing(*statuses: int, ok: Any = None) -> dict[int, Any]:
    """Return the responses of a route for its document; ``None`` = it has no shape."""
    errors = sorted({*statuses, 401, 403, 429, 500})
    return {200: ok} | dict.fromkeys(errors, OpenAIErrorOut)


def refusal(request: HttpRequest, error: TurnError) -> HttpResponse:
    """Return the answer to a request that failed before its first word."""
    code, status = _code_and_status(error)
    if code == error.code:
        return turn_error_response(request, error)
    return error_response(request, code, error.message, status=status)


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
