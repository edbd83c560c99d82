from __future__ import annotations

from typing import Any

import pytest
from django.http import HttpRequest, HttpResponse
from django.test import AsyncRequestFactory
from django.utils import timezone, translation

from accounts import preferences, proxies
from accounts.models import User


async def show(request: HttpRequest) -> HttpResponse:
    zone = timezone.get_current_timezone_name()
    forwarded = request.headers.get("x-forwarded-proto", "")
    return HttpResponse(f"{translation.get_language()} {zone} {forwarded}")


@pytest.mark.django_db(transaction=True)
async def test_asynchronous_views_get_the_same_treatment(settings: Any) -> None:
    settings.LANGUAGES = [("en", "English"), ("de", "Deutsch")]
    person = await User.objects.acreate(
        username="eve", language="de", time_zone="Europe/Berlin"
    )
    request = AsyncRequestFactory().get("/", headers={"x-forwarded-proto": "https"})
    request.COOKIES["sessionid"] = "x"

    async def auser() -> User:
        return person

    request.auser = auser
    handler = proxies.trusted_proxy_middleware(preferences.preferences_middleware(show))

    answer = await handler(request)

    assert answer.content == b"de Europe/Berlin "
    assert answer.headers["Content-Language"] == "de"
    await person.arefresh_from_db()
    assert person.last_seen_at is not None


async def test_without_a_session_nothing_is_asked() -> None:
    request = AsyncRequestFactory().get("/")

    answer = await preferences.preferences_middleware(show)(request)

    assert answer.content == b"en UTC "
