from __future__ import annotations

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.test import RequestFactory

from accounts import proxies


@pytest.mark.parametrize(
    ("remote", "forwarded", "trusted", "expected"),
    [
        ("198.51.100.7", "", [], "198.51.100.7"),
        ("198.51.100.7", "203.0.113.9", [], "198.51.100.7"),
        ("198.51.100.7", "203.0.113.9", ["127.0.0.1"], "198.51.100.7"),
        ("127.0.0.1", "203.0.113.9", ["127.0.0.1"], "203.0.113.9"),
        ("127.0.0.1", "6.6.6.6, 203.0.113.9", ["127.0.0.1"], "203.0.113.9"),
        ("10.0.0.2", "6.6.6.6, 203.0.113.9, 10.9.9.9", ["10.0.0.0/8"], "203.0.113.9"),
        ("127.0.0.1", "203.0.113.9, nonsense", ["127.0.0.1"], "127.0.0.1"),
        ("127.0.0.1", "", ["127.0.0.1"], "127.0.0.1"),
        ("127.0.0.1", "203.0.113.9:4711", ["127.0.0.1"], "203.0.113.9"),
        ("::1", "[2001:db8::5]:443", ["::1"], "2001:db8::5"),
        ("::ffff:127.0.0.1", "203.0.113.9", ["127.0.0.1"], "203.0.113.9"),
        ("", "203.0.113.9", ["127.0.0.1"], proxies.NOWHERE),
    ],
)
def test_client_ip(
    settings, remote: str, forwarded: str, trusted: list[str], expected: str
) -> None:
    settings.CORTEX_TRUSTED_PROXIES = trusted
    request = RequestFactory().get("/", headers={"x-forwarded-for": forwarded})
    request.META["REMOTE_ADDR"] = remote

    assert proxies.client_ip(request) == expected


def test_what_strangers_claim_is_forgotten(settings) -> None:
    settings.CORTEX_TRUSTED_PROXIES = ["127.0.0.1"]
    headers = {"x-forwarded-for": "1.2.3.4", "x-forwarded-proto": "https"}
    stranger = RequestFactory(REMOTE_ADDR="198.51.100.7").get("/", headers=headers)
    proxy = RequestFactory(REMOTE_ADDR="127.0.0.1").get("/", headers=headers)

    proxies.forget_untrusted(stranger)
    proxies.forget_untrusted(proxy)

    assert "HTTP_X_FORWARDED_PROTO" not in stranger.META
    assert "HTTP_X_FORWARDED_FOR" not in stranger.META
    assert proxy.META["HTTP_X_FORWARDED_PROTO"] == "https"


def test_nonsense_in_the_setting_is_named(settings) -> None:
    settings.CORTEX_TRUSTED_PROXIES = ["nginx"]
    request = RequestFactory().get("/")

    with pytest.raises(ImproperlyConfigured, match="CORTEX_TRUSTED_PROXIES"):
        proxies.client_ip(request)
