from __future__ import annotations

import pytest

from routing.addresses import is_public, looks_local, origin_of, parse_url
from routing.errors import BadAddress


@pytest.mark.parametrize("address", ["1.1.1.1", "93.184.216.34", "2606:4700::1111"])
def test_public_addresses_pass(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",
        "10.1.2.3",
        "100.64.0.1",
        "127.0.0.1",
        "127.255.0.9",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.8",
        "192.88.99.1",
        "192.168.1.1",
        "198.18.0.1",
        "203.0.113.5",
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::ffff:127.0.0.1",
        "::ffff:8.8.8.8",
        "::7f00:1",
        "64:ff9b::7f00:1",
        "64:ff9b:1::1",
        "100::1",
        "2001:0:7f00:1::1",
        "2001:db8::1",
        "2002:7f00:1::1",
        "3fff::1",
        "fc00::1",
        "fd12:3456::1",
        "fe80::1",
        "fe80::1%eth0",
        "fec0::1",
        "ff02::1",
        "not an address",
    ],
)
def test_other_addresses_are_refused(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.org/",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "//example.org/",
        "http://",
        "http:///path",
        "http://user@example.org/",
        "http://user:secret@example.org/",
        "http://2130706433/",
        "http://127.1/",
        "http://0x7f.0.0.1/",
        "http://0x7f000001/",
        "http://0177.0.0.1/",
        "http://127.0.0.01/",
        "http://example.org:0/",
        "http://example.org:99999/",
        "http://[::1/",
    ],
)
def test_odd_urls_are_refused(url: str) -> None:
    with pytest.raises(BadAddress):
        parse_url(url)


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("http://Box:11434/v1", "http://box:11434"),
        ("https://example.org/v1", "https://example.org:443"),
        ("https://example.org.:443", "https://example.org:443"),
        ("http://[::1]:80/", "http://[::1]:80"),
    ],
)
def test_origin_is_scheme_host_and_port(url: str, origin: str) -> None:
    assert origin_of(url) == origin


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("http://127.0.0.1:11434/v1", True),
        ("http://box:11434/v1", True),
        ("http://box.local/v1", True),
        ("https://api.example.org/v1", False),
        ("nonsense", False),
    ],
)
def test_local_addresses_are_recognised(url: str, local: bool) -> None:
    assert looks_local(url) is local
