"""The short way for programs: webhooks and the API, past everything that pages need.

A page's request passes a dozen layers for session, language, messages and sign-in, most
of which cost a change of thread each. A bot's event has neither cookie nor page, and
hundreds may come at once, so this middleware answers those addresses itself. What
still applies to them: request id, proxies, security headers, the check of the host,
the redirect to https. Views behind it are asynchronous, use neither ``request.user``
nor ``request.session``, and check who calls by themselves.
"""

from __future__ import annotations

from typing import cast

from asgiref.sync import async_to_sync, iscoroutinefunction
from django.core.handlers.exception import convert_exception_to_response
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.middleware.security import SecurityMiddleware
from django.urls import resolve
from django.utils.decorators import sync_and_async_middleware

from channels_app.web.error_pages import API_PREFIXES, error_response
from channels_app.web.middleware import AsyncGetResponse, GetResponse, SyncGetResponse


def is_for_programs(path: str) -> bool:
    """Say whether an address takes the short way."""
    return path.startswith(API_PREFIXES)


@sync_and_async_middleware
def programs_middleware(get_response: GetResponse) -> GetResponse:
    """Answer what is for programs here and pass every other request on."""
    security = SecurityMiddleware(lambda request: HttpResponse())
    answer = cast("AsyncGetResponse", convert_exception_to_response(_answer))

    if iscoroutinefunction(get_response):

        async def async_middleware(request: HttpRequest) -> HttpResponseBase:
            if not is_for_programs(request.path):
                return await cast("AsyncGetResponse", get_response)(request)
            return await _secured(security, answer, request)

        return async_middleware

    def middleware(request: HttpRequest) -> HttpResponseBase:
        if not is_for_programs(request.path):
            return cast("SyncGetResponse", get_response)(request)
        return async_to_sync(_secured)(security, answer, request)

    return middleware


async def _secured(
    security: SecurityMiddleware, answer: AsyncGetResponse, request: HttpRequest
) -> HttpResponseBase:
    # Neither half of the middleware waits for anything, so no thread is needed.
    response = security.process_request(request) or await answer(request)
    secured: HttpResponseBase = security.process_response(
        request, cast("HttpResponse", response)
    )
    # What a program is answered is for its person alone, and no cache's to keep.
    secured.headers.setdefault("Cache-Control", "no-store")
    return secured


async def _answer(request: HttpRequest) -> HttpResponseBase:
    """Call the view behind the address; its exceptions become answers."""
    request.get_host()  # refuses a foreign name
    match = resolve(request.path_info)
    request.resolver_match = match
    view = cast("AsyncGetResponse", match.func)
    response = await view(request, *match.args, **match.kwargs)
    if response.status_code == 405 and not isinstance(response, JsonResponse):
        page = error_response(request, 405)
        page["Allow"] = response["Allow"]
        return page
    return response
