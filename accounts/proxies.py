"""Which computer a request came from, when proxies stand in between.

A proxy's words count only when the connection itself comes from an address listed in
``CORTEX_TRUSTED_PROXIES``; everybody else's ``X-Forwarded-*`` headers are removed
before anything reads them, so a forged one neither resets a rate limit nor passes for
https.
"""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Awaitable, Callable
from typing import cast

from asgiref.sync import iscoroutinefunction
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.decorators import sync_and_async_middleware

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_FORWARDED = (
    "HTTP_X_FORWARDED_FOR",
    "HTTP_X_FORWARDED_PROTO",
    "HTTP_X_FORWARDED_HOST",
    "HTTP_X_FORWARDED_PORT",
    "HTTP_FORWARDED",
)
NOWHERE = "0.0.0.0"  # noqa: S104 - what is recorded when a connection has no address

GetResponse = Callable[[HttpRequest], HttpResponseBase | Awaitable[HttpResponseBase]]


@sync_and_async_middleware
def trusted_proxy_middleware(get_response: GetResponse) -> GetResponse:
    """Forget what proxies claim, unless a listed proxy claims it."""
    if iscoroutinefunction(get_response):

        async def async_middleware(request: HttpRequest) -> HttpResponseBase:
            forget_untrusted(request)
            return await cast(Awaitable[HttpResponseBase], get_response(request))

        return async_middleware

    def middleware(request: HttpRequest) -> HttpResponseBase:
        forget_untrusted(request)
        return cast(HttpResponseBase, get_response(request))

    return middleware


def forget_untrusted(request: HttpRequest) -> None:
    """Remove forwarding headers that did not come from a listed proxy."""
    if not _is_trusted(request.META.get("REMOTE_ADDR", "")):
        for name in _FORWARDED:
            request.META.pop(name, None)


def client_ip(request: HttpRequest) -> str:
    """Return the address of the nearest computer that is not a listed proxy.

    ``X-Forwarded-For`` is read from its end, because only the entries that listed
    proxies appended can be believed.
    """
    address = _clean(request.META.get("REMOTE_ADDR", ""))
    if not _is_trusted(address):
        return address or NOWHERE
    for entry in reversed(request.META.get("HTTP_X_FORWARDED_FOR", "").split(",")):
        candidate = _clean(entry)
        if not candidate:
            break
        address = candidate
        if not _is_trusted(candidate):
            break
    return address or NOWHERE


def _is_trusted(address: str) -> bool:
    cleaned = _clean(address)
    if not cleaned:
        return False
    ip = ipaddress.ip_address(cleaned)
    return any(ip in network for network in trusted_networks())


def trusted_networks() -> tuple[Network, ...]:
    """Return the listed proxies; raises ``ImproperlyConfigured`` on nonsense."""
    return _parse(tuple(settings.CORTEX_TRUSTED_PROXIES))


@functools.lru_cache(maxsize=8)
def _parse(listed: tuple[str, ...]) -> tuple[Network, ...]:
    return tuple(_network(entry) for entry in listed)


def _network(entry: str) -> Network:
    try:
        return ipaddress.ip_network(entry, strict=False)
    except ValueError:
        raise ImproperlyConfigured(
            f"CORTEX_TRUSTED_PROXIES holds {entry!r}, which is neither an address "
            "(10.0.0.5) nor a network (10.0.0.0/24)."
        ) from None


def _clean(text: str) -> str:
    """Return a plain address, without port, brackets and IPv4-in-IPv6, or ``""``."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        ip = ipaddress.ip_address(text)
    except ValueError:
        return ""
    mapped = getattr(ip, "ipv4_mapped", None)
    return str(mapped or ip)
