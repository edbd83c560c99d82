"""Each person's language and time zone for the pages they look at.

Also notes when a person was last seen, at most once in five minutes.
"""

from __future__ import annotations

import datetime
from collections.abc import Awaitable, Callable
from typing import cast

from asgiref.sync import iscoroutinefunction, sync_to_async
from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils import timezone, translation
from django.utils.decorators import sync_and_async_middleware

from accounts.models import User
from accounts.zones import zone_of

SEEN_EVERY = datetime.timedelta(minutes=5)
GetResponse = Callable[[HttpRequest], HttpResponseBase | Awaitable[HttpResponseBase]]


@sync_and_async_middleware
def preferences_middleware(get_response: GetResponse) -> GetResponse:
    """Answer in the person's language and time zone.

    A request without a session cookie is passed on without a query.
    """
    if iscoroutinefunction(get_response):

        async def async_middleware(request: HttpRequest) -> HttpResponseBase:
            if settings.SESSION_COOKIE_NAME not in request.COOKIES:
                return await cast(Awaitable[HttpResponseBase], get_response(request))
            user = await request.auser()
            if isinstance(user, User):
                if _is_seen_again(user):
                    await sync_to_async(note_seen)(user)
                with timezone.override(zone_of(user)), _language(request, user):
                    return _marked(
                        await cast(Awaitable[HttpResponseBase], get_response(request))
                    )
            return await cast(Awaitable[HttpResponseBase], get_response(request))

        return async_middleware

    def middleware(request: HttpRequest) -> HttpResponseBase:
        has_session = settings.SESSION_COOKIE_NAME in request.COOKIES
        if has_session and isinstance(request.user, User):
            note_seen(request.user)
            zone, language = zone_of(request.user), _language(request, request.user)
            with timezone.override(zone), language:
                return _marked(cast(HttpResponseBase, get_response(request)))
        return cast(HttpResponseBase, get_response(request))

    return middleware


def note_seen(user: User) -> None:
    """Remember that the person was here; writes at most once in five minutes."""
    if _is_seen_again(user):
        User.objects.filter(pk=user.pk).update(last_seen_at=timezone.now())


def _is_seen_again(user: User) -> bool:
    last = user.last_seen_at
    return last is None or last < timezone.now() - SEEN_EVERY


def _marked(response: HttpResponseBase) -> HttpResponseBase:
    """Name the page's language; the outer middleware only knows the browser's."""
    response.headers.setdefault("Content-Language", translation.get_language())
    return response


def _language(request: HttpRequest, user: User) -> translation.override:
    language = user.language if user.language in dict(settings.LANGUAGES) else "en"
    request.LANGUAGE_CODE = language
    return translation.override(language)
