"""Refusals in the product's look: one clear sentence, and JSON for programs.

The pages are drawn without the request's context processors, so that they work when
the session or the database does not.
"""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string

from channels_app.api import errors
from channels_app.web.page import chosen_theme

API_PREFIXES = (
    "/chat",
    "/task",
    "/queue",
    "/status",
    "/health",
    "/ledger",
    "/metrics",
    "/orchestrate",
    "/webhook/",
    "/channels/",
    "/v1/",
)
"""Addresses that begin like this are for programs alone."""
_CODES = {
    400: "bad_request",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    409: "conflict",
    410: "turn_gone",
    413: "too_long",
    500: "internal",
}
_TITLES = {
    400: "Not understood",
    403: "Not allowed",
    404: "Nothing here",
    405: "Not this way",
    409: "Not now",
    410: "No longer here",
    413: "Too big",
    500: "Something broke",
}
_SENTENCES = {
    400: "That request could not be understood.",
    403: "You are not allowed to do that.",
    404: "There is nothing at this address, or it is not yours to see.",
    405: "This address cannot be opened or used like that.",
    409: "That is not possible at this moment.",
    410: "This is no longer here.",
    413: "That is too big: at most 25 MB fit into one request.",
    500: "Something went wrong here. It has been noted; please try again.",
}
DJANGOS_SENTENCE = "matches the given query"
"""What ``get_object_or_404`` says, with a class's name that means nothing to people."""
CSRF_SENTENCE = (
    "This form was open for too long or came from another page. "
    "Go back, reload the page and send it again."
)


def wants_json(request: HttpRequest) -> bool:
    """Say whether a program asks: by the address, or by what it accepts."""
    if request.path.startswith(API_PREFIXES):
        return True
    accepted = request.headers.get("Accept", "")
    return "application/json" in accepted and "text/html" not in accepted


def error_response(
    request: HttpRequest, status: int, sentence: str = "", code: str = ""
) -> HttpResponse:
    """Return a page, or an error as programs at this address read it."""
    message = sentence or _SENTENCES[status]
    if wants_json(request):
        return errors.error_response(
            request, code or _CODES[status], message, status=status
        )
    context = {
        "status": status,
        "title": _TITLES[status],
        "sentence": message,
        "theme": chosen_theme(request),
        "csp_nonce": getattr(request, "csp_nonce", ""),
    }
    return HttpResponse(render_to_string("error.html", context), status=status)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer 400; also for a Host header that is not ours."""
    return error_response(request, 400)


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer 403."""
    return error_response(request, 403)


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Answer 403 to a form without a valid token."""
    return error_response(request, 403, CSRF_SENTENCE)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer 404, with the sentence of the ``Http404`` where we wrote it."""
    sentence = exception.args[0] if exception.args else ""
    if not isinstance(sentence, str) or DJANGOS_SENTENCE in sentence:
        sentence = ""
    return error_response(request, 404, sentence)


def server_error(request: HttpRequest) -> HttpResponse:
    """Answer 500."""
    return error_response(request, 500)
