"""The short way for programs keeps what must hold everywhere."""

from __future__ import annotations

from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.http import Http404, HttpRequest, HttpResponse
from django.test import AsyncClient, Client
from django.urls import path
from django.views.decorators.http import require_POST

from channels_app.web.programs import is_for_programs


async def echo(request: HttpRequest, word: str) -> HttpResponse:
    """Answer with a word, or fail as a view can."""
    if word == "missing":
        raise Http404("There is no such bot.")
    if word == "broken":
        raise RuntimeError("inside")
    return HttpResponse(f"{word} {hasattr(request, 'session')}")


handler404 = "channels_app.web.error_pages.not_found"
handler500 = "channels_app.web.error_pages.server_error"
handler400 = "channels_app.web.error_pages.bad_request"
urlpatterns = [
    path("webhook/<str:word>", require_POST(echo)),
    path("personas/<str:word>", echo),
]


@pytest.fixture(autouse=True)
def these_addresses(settings: Any) -> None:
    settings.ROOT_URLCONF = __name__


async def ask(way: str, address: str, **options: Any) -> Any:
    """Post through the asynchronous or the synchronous handler."""
    if way == "async":
        client = AsyncClient(raise_request_exception=False)
        return await client.post(address, **options)
    client = Client(raise_request_exception=False)
    return await sync_to_async(client.post)(address, **options)


WAYS = pytest.mark.parametrize("way", ["async", "sync"])


@WAYS
async def test_a_program_is_answered_without_what_pages_need(way: str) -> None:
    response = await ask(way, "/webhook/hello")
    assert response.content == b"hello False"
    assert "default-src 'none'" in response.headers["Content-Security-Policy"]
    assert response.headers["X-Request-ID"]


@WAYS
@pytest.mark.parametrize(
    ("address", "status", "code"),
    [
        ("/webhook/missing", 404, "not_found"),
        ("/webhook/a/b", 404, "not_found"),
        ("/webhook/broken", 500, "internal"),
    ],
)
async def test_failures_are_json_of_one_sentence(
    way: str, address: str, status: int, code: str
) -> None:
    response = await ask(way, address)
    assert response.status_code == status
    assert response.json()["error"]["code"] == code
    assert "inside" not in response.content.decode()


async def test_another_method_is_told_which_is_meant() -> None:
    response = await AsyncClient().get("/webhook/hello")
    assert (response.status_code, response["Allow"]) == (405, "POST")
    assert response.json()["error"]["code"] == "method_not_allowed"


@WAYS
async def test_a_foreign_host_is_refused(way: str) -> None:
    response = await ask(way, "/webhook/hello", headers={"host": "evil.example"})
    assert response.status_code == 400


async def test_plain_http_is_sent_to_https(settings: Any) -> None:
    settings.SECURE_SSL_REDIRECT = True
    response = await AsyncClient().post("/webhook/hello")
    assert (response.status_code, response["Location"][:8]) == (301, "https://")


def test_pages_take_the_long_way() -> None:
    assert not any(map(is_for_programs, ("/", "/settings/channels/", "/webhooks")))
