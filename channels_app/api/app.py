"""The API of programs: every route, and JSON for whatever goes wrong.

Mounted last at the root, so that no page ever shares an address with it. Routes are
asynchronous, recognise their caller with ``auth.Auth`` and do their database work in
the pool, because they are answered past the layers that pages need.
"""

from __future__ import annotations

import json
import logging
from typing import Any

from django.core.exceptions import RequestDataTooBig
from django.http import Http404, HttpRequest, HttpResponse
from ninja import NinjaAPI
from ninja.errors import HttpError, ValidationError
from ninja.parser import Parser

from channels_app.api import (
    chat,
    ledger,
    metrics,
    openai_completions,
    openai_models,
    queue,
    status,
    task,
)
from channels_app.api.complaints import sentence_of
from channels_app.api.errors import (
    OPENAI_PREFIX,
    error_response,
    turn_error_response,
)
from channels_app.errors import TurnError, internal_error

logger = logging.getLogger(__name__)

NOT_FOUND = "There is nothing at this address, or it is not yours to see."


MAX_BODY_BYTES = 512 * 1024
"""One message, however it is escaped, fits with room to spare."""
MAX_CONVERSATION_BYTES = 4 * 1024 * 1024
"""What clients of OpenAI's API may bring; reading more would hold up everybody else."""


class StrictParser(Parser):
    """Reads JSON whatever the content type says; numbers that are none are refused."""

    def parse_body(self, request: HttpRequest) -> Any:
        """Return the decoded body; anything that is not JSON raises ``ValueError``.

        Raises:
            TurnError: ``too_long``. The framework wraps it into an ``HttpError``.
        """
        brings_all = request.path.startswith(OPENAI_PREFIX)
        limit = MAX_CONVERSATION_BYTES if brings_all else MAX_BODY_BYTES
        if len(request.body) > limit:
            raise TurnError(
                "too_long", f"At most {limit // 1024:,} KB fit into this request."
            )
        return json.loads(request.body, parse_constant=_refuse_constant)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


api = NinjaAPI(
    title="Cortex",
    urls_namespace="api",
    openapi_url=None,
    docs_url=None,
    parser=StrictParser(),
)
api.add_router("", chat.router)
api.add_router("", task.router)
api.add_router("", queue.router)
api.add_router("", ledger.router)
api.add_router("", status.router)
api.add_router("", metrics.router)
api.add_router("", openai_models.router)
api.add_router("", openai_completions.router)


@api.exception_handler(TurnError)
def _on_turn_error(request: HttpRequest, error: TurnError) -> HttpResponse:
    return turn_error_response(request, error)


@api.exception_handler(ValidationError)
def _on_wrong_fields(request: HttpRequest, error: ValidationError) -> HttpResponse:
    complaint = sentence_of(error.errors)
    return error_response(
        request, complaint.code, complaint.message, status=complaint.status
    )


@api.exception_handler(HttpError)
def _on_http_error(request: HttpRequest, error: HttpError) -> HttpResponse:
    """Answer for a body that could not be read: too large, or not JSON."""
    if isinstance(error.__cause__, TurnError):
        return turn_error_response(request, error.__cause__)
    return error_response(request, "bad_request", "The body is not valid JSON.")


@api.exception_handler(RequestDataTooBig)
def _on_too_big(request: HttpRequest, error: RequestDataTooBig) -> HttpResponse:
    return error_response(request, "too_long", "At most 25 MB fit into one request.")


@api.exception_handler(Http404)
def _on_not_found(request: HttpRequest, error: Http404) -> HttpResponse:
    sentence = error.args[0] if error.args else ""
    message = sentence if isinstance(sentence, str) and sentence else NOT_FOUND
    return error_response(request, "not_found", message)


@api.exception_handler(Exception)
def _on_failure(request: HttpRequest, error: Exception) -> HttpResponse:
    """Answer a fault of our own with one sentence; its cause stands in the log."""
    logger.error("A request of the API failed: %s", request.path, exc_info=error)
    return turn_error_response(request, internal_error())
