"""Refuses addresses that no database can look up."""

from __future__ import annotations

from typing import Final, cast

from asgiref.sync import iscoroutinefunction
from django.http import Http404, HttpRequest, HttpResponseBase
from django.utils.decorators import sync_and_async_middleware

from channels_app.web.middleware import AsyncGetResponse, GetResponse, SyncGetResponse

TAKE_ANY_QUERY: Final = frozenset({"/search/"})
"""Pages that clean what is asked of them."""


@sync_and_async_middleware
def refuse_null_characters(get_response: GetResponse) -> GetResponse:
    """Answer 404 to an address with a NUL in its path or its query.

    PostgreSQL refuses NUL in texts, so that a look-up by a part of the address would
    be a server error there. Forms refuse it themselves, and the search, into which
    people paste anything, takes it for a blank.
    """
    if iscoroutinefunction(get_response):

        async def async_middleware(request: HttpRequest) -> HttpResponseBase:
            _check(request)
            return await cast("AsyncGetResponse", get_response)(request)

        return async_middleware

    def middleware(request: HttpRequest) -> HttpResponseBase:
        _check(request)
        return cast("SyncGetResponse", get_response)(request)

    return middleware


def _check(request: HttpRequest) -> None:
    query = request.META.get("QUERY_STRING", "")
    if "\0" in request.path_info:
        raise Http404
    if ("%00" in query or "\0" in query) and request.path_info not in TAKE_ANY_QUERY:
        raise Http404
