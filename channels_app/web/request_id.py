"""Gives each request an id: in every log line, and in the header ``X-Request-ID``.

The server has usually set one already (it needs it for its access log); under another
server, or in a test, this middleware makes it. What a client or a proxy sends as
``X-Request-ID`` is not read, so that nobody chooses what the log says.
"""

from __future__ import annotations

from contextvars import Token
from typing import cast

from asgiref.sync import iscoroutinefunction
from django.http import HttpRequest, HttpResponseBase
from django.utils.decorators import sync_and_async_middleware

from channels_app.request_ids import new_request_id, request_id
from channels_app.web.middleware import AsyncGetResponse, GetResponse, SyncGetResponse

HEADER = "X-Request-ID"


@sync_and_async_middleware
def request_id_middleware(get_response: GetResponse) -> GetResponse:
    """Set the request id for the code behind and name it in the response."""
    if iscoroutinefunction(get_response):

        async def async_middleware(request: HttpRequest) -> HttpResponseBase:
            token = _enter()
            try:
                response = await cast("AsyncGetResponse", get_response)(request)
                response.headers[HEADER] = request_id.get()
                return response
            finally:
                request_id.reset(token)

        return async_middleware

    def middleware(request: HttpRequest) -> HttpResponseBase:
        token = _enter()
        try:
            response = cast("SyncGetResponse", get_response)(request)
            response.headers[HEADER] = request_id.get()
            return response
        finally:
            request_id.reset(token)

    return middleware


def _enter() -> Token[str]:
    return request_id.set(request_id.get() or new_request_id())
