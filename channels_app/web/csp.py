"""The response headers that bound what a page may do, on every response.

The policy allows nothing inline but what carries the request's nonce, no foreign
origin at all, and no framing. The middleware stands first, so that error pages, the
admin, sign-in and static files carry it too.
"""

from __future__ import annotations

import secrets
from typing import cast

from asgiref.sync import iscoroutinefunction
from django.http import HttpRequest, HttpResponseBase
from django.utils.decorators import sync_and_async_middleware

from channels_app.web.middleware import AsyncGetResponse, GetResponse, SyncGetResponse

POLICY = (
    "default-src 'none'; script-src 'self' 'nonce-{nonce}'; "
    "style-src 'self' 'nonce-{nonce}'; style-src-attr 'none'; "
    "img-src 'self' blob:; font-src 'self'; connect-src 'self'; "
    "worker-src 'self'; manifest-src 'self'; media-src 'self' blob:; "
    "frame-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)
OTHER_HEADERS = {
    "Permissions-Policy": (
        "accelerometer=(), camera=(), display-capture=(), geolocation=(), "
        "gyroscope=(), magnetometer=(), microphone=(), midi=(), payment=(), usb=()"
    ),
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
}


def new_nonce() -> str:
    """Return 128 random bits in URL-safe base64 (22 characters)."""
    return secrets.token_urlsafe(16)


def security_headers(nonce: str) -> dict[str, str]:
    """Return the headers of one response; ``nonce`` is the one in its page."""
    return {
        "Content-Security-Policy": POLICY.replace("{nonce}", nonce),
        **OTHER_HEADERS,
    }


@sync_and_async_middleware
def content_security_policy(get_response: GetResponse) -> GetResponse:
    """Give each request its ``csp_nonce`` and each response its security headers."""
    if iscoroutinefunction(get_response):

        async def async_middleware(request: HttpRequest) -> HttpResponseBase:
            nonce = _remember_nonce(request)
            response = await cast("AsyncGetResponse", get_response)(request)
            return _with_headers(response, nonce)

        return async_middleware

    def middleware(request: HttpRequest) -> HttpResponseBase:
        nonce = _remember_nonce(request)
        response = cast("SyncGetResponse", get_response)(request)
        return _with_headers(response, nonce)

    return middleware


def _remember_nonce(request: HttpRequest) -> str:
    nonce = new_nonce()
    request.csp_nonce = nonce  # type: ignore[attr-defined]
    return nonce


def _with_headers(response: HttpResponseBase, nonce: str) -> HttpResponseBase:
    for name, value in security_headers(nonce).items():
        response.headers[name] = value
    return response
