"""Makes two kinds of bare refusals useful: "sign in first" and "not with this method".

Somebody whose session ended presses a button. The sign-in page must not appear inside
the part of a page that the button was for, and afterwards they must come back to the
page that they saw, not to the address of the button.
"""

from __future__ import annotations

from typing import cast
from urllib.parse import urlencode, urlsplit

from asgiref.sync import iscoroutinefunction
from django.conf import settings
from django.contrib.auth import REDIRECT_FIELD_NAME
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import resolve_url
from django.utils.decorators import sync_and_async_middleware
from django.utils.http import url_has_allowed_host_and_scheme

from channels_app.web.error_pages import error_response
from channels_app.web.middleware import AsyncGetResponse, GetResponse, SyncGetResponse

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


@sync_and_async_middleware
def refusals_middleware(get_response: GetResponse) -> GetResponse:
    """Replace redirects to the sign-in page and empty answers 405 where they help not.

    The sign-in page: htmx gets ``HX-Redirect`` for what a person did, and 204 for what
    it fetches by itself (the page then says that one was signed out and keeps what was
    typed); a form gets a redirect whose ``next`` is the page that it stood on.
    """
    if iscoroutinefunction(get_response):

        async def async_middleware(request: HttpRequest) -> HttpResponseBase:
            response = await cast("AsyncGetResponse", get_response)(request)
            return _useful(request, response)

        return async_middleware

    def middleware(request: HttpRequest) -> HttpResponseBase:
        return _useful(request, cast("SyncGetResponse", get_response)(request))

    return middleware


def _useful(request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
    if response.status_code == 405 and not getattr(response, "content", b""):
        page = error_response(request, 405)
        page["Allow"] = response["Allow"]
        return page
    if not _asks_to_sign_in(response):
        return response
    shown = request.headers.get("HX-Current-URL")
    if "HX-Request" in request.headers:
        if request.method in SAFE_METHODS:
            return HttpResponse(status=204)
        return HttpResponse(headers={"HX-Redirect": _sign_in(request, shown)})
    if request.method not in SAFE_METHODS:
        response["Location"] = _sign_in(request, request.headers.get("Referer"))
    return response


def _asks_to_sign_in(response: HttpResponseBase) -> bool:
    if response.status_code != 302:
        return False
    return urlsplit(response["Location"]).path == resolve_url(settings.LOGIN_URL)


def _sign_in(request: HttpRequest, shown: str | None) -> str:
    """Return the address of the sign-in page that leads back to ``shown``."""
    target = "/"
    if url_has_allowed_host_and_scheme(shown, allowed_hosts={request.get_host()}):
        parts = urlsplit(shown or "")
        query = f"?{parts.query}" if parts.query else ""
        target = "/" + parts.path.lstrip("/") + query
    query = urlencode({REDIRECT_FIELD_NAME: target})
    return f"{resolve_url(settings.LOGIN_URL)}?{query}"
