"""``GET /health``: says that this process answers. No sign-in, no query, no redirect.

Stands before the middleware that redirects to https, so that the supervisor and a load
balancer can ask by plain http. Probes often know only an address, so any IP address is
taken for a Host besides the allowed names; a foreign name is refused as everywhere.
"""

from __future__ import annotations

import ipaddress
from typing import cast

from asgiref.sync import iscoroutinefunction
from django.core.exceptions import DisallowedHost
from django.http import HttpRequest, HttpResponseBase, JsonResponse
from django.http.request import split_domain_port
from django.utils.decorators import sync_and_async_middleware

from channels_app.web.middleware import AsyncGetResponse, GetResponse, SyncGetResponse

PATH = "/health"


@sync_and_async_middleware
def health_middleware(get_response: GetResponse) -> GetResponse:
    """Answer ``/health`` here and pass every other request on."""
    if iscoroutinefunction(get_response):

        async def async_middleware(request: HttpRequest) -> HttpResponseBase:
            if request.path == PATH:
                return health(request)
            return await cast("AsyncGetResponse", get_response)(request)

        return async_middleware

    def middleware(request: HttpRequest) -> HttpResponseBase:
        if request.path == PATH:
            return health(request)
        return cast("SyncGetResponse", get_response)(request)

    return middleware


def health(request: HttpRequest) -> JsonResponse:
    """Return the state of this process; 400 for a foreign Host, 405 for a POST."""
    if not _host_is_ours(request):
        return _error("bad_request", "This is not the address of Cortex.", 400)
    if request.method not in {"GET", "HEAD"}:
        response = _error("bad_request", "Only GET is possible here.", 405)
        response.headers["Allow"] = "GET, HEAD"
        return response
    response = JsonResponse({"runtime": "python/django", "status": "ok"})
    response.headers["Cache-Control"] = "no-store"
    response.headers["Content-Length"] = str(len(response.content))
    return response


def _error(code: str, message: str, status: int) -> JsonResponse:
    return JsonResponse({"error": {"code": code, "message": message}}, status=status)


def _host_is_ours(request: HttpRequest) -> bool:
    try:
        request.get_host()
    except DisallowedHost:
        name = split_domain_port(request.META.get("HTTP_HOST", ""))[0]
        try:
            ipaddress.ip_address(name.strip("[]"))
        except ValueError:
            return False
    return True
