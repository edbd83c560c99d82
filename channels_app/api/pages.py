"""The document of the API for programs, and the page to read and try it."""

from __future__ import annotations

import functools

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from accounts.requests import AuthenticatedHttpRequest
from channels_app.api.document import INTRODUCTION, openapi_document, openapi_text
from channels_app.api.reference import Call, calls_of, paragraphs


@require_safe
def document(request: HttpRequest) -> HttpResponse:
    """Return the OpenAPI document; it says nothing about who uses Cortex."""
    return HttpResponse(openapi_text(), content_type="application/json")


@never_cache
@login_required
@require_safe
def reference(request: AuthenticatedHttpRequest) -> HttpResponse:
    """Show every call with its fields and a form to try it."""
    context = {
        "sections": _sections(),
        "introduction": paragraphs(INTRODUCTION),
        "tab": "api",
    }
    return render(request, "api/reference.html", context)


@functools.cache
def _sections() -> dict[str, list[Call]]:
    return calls_of(openapi_document())
