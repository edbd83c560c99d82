"""Which addresses Cortex may call: pure checks of URLs and IP addresses, no network.

Used by ``routing.net`` before a request and again on every resolved address. Only
plain, public unicast addresses pass; everything that could lead back into the house
(private, loopback, link-local, tunnels that embed an IPv4 address) is refused, except
for origins an administrator has listed.

Source: IANA special-purpose address registries (IPv4 and IPv6).
"""

from __future__ import annotations

import ipaddress
import re

from yarl import URL

from routing.errors import BadAddress, BlockedAddress

_IPV4_DENIED = tuple(
    ipaddress.IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # carrier-grade NAT
        "127.0.0.0/8",  # loopback
        "169.254.0.0/16",  # link-local, cloud metadata
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
)
_IPV6_ALLOWED = ipaddress.IPv6Network("2000::/3")
"""Global unicast; mapped, NAT64, unique-local, link-local and multicast lie outside."""
_IPV6_DENIED = tuple(
    ipaddress.IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments, Teredo among them
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4
        "3fff::/20",  # documentation
    )
)
_NUMBERS_ONLY = re.compile(
    r"(?:0x[0-9a-f]*|[0-9]+)(?:\.(?:0x[0-9a-f]*|[0-9]*))*\.?", re.I
)


def is_public(address: str) -> bool:
    """Say whether a resolved IP address is plain public unicast."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv4Address):
        return not any(ip in network for network in _IPV4_DENIED)
    return ip in _IPV6_ALLOWED and not any(ip in network for network in _IPV6_DENIED)


def parse_url(text: str) -> URL:
    """Return the URL if it is a plain http(s) address.

    Raises:
        BadAddress: Another scheme, no host, a user name or password in it, or a host
            written as a number in an unusual form (``127.1``, ``0x7f000001``).
    """
    try:
        url = URL(text)
        host, port = url.host, url.port
    except ValueError:
        raise BadAddress("This is not a usable address.") from None
    if url.scheme not in {"http", "https"} or not host:
        raise BadAddress("The address must begin with http:// or https://.")
    if url.user is not None or url.password is not None:
        raise BadAddress("The address must not hold a user name or password.")
    if port == 0:
        raise BadAddress("The address must not name port 0.")
    if _is_odd_number(host):
        raise BadAddress("Write the numeric address in its usual form.")
    return url


def origin_of(text: str) -> str:
    """Return scheme, host and port of an address, such as ``http://box:11434``.

    Raises:
        BadAddress: See ``parse_url``.
    """
    return origin_of_url(parse_url(text))


def origin_of_url(url: URL) -> str:
    """Return the origin of a parsed address, always with its port."""
    host = (url.host or "").lower().rstrip(".")
    return f"{url.scheme}://{f'[{host}]' if ':' in host else host}:{url.port}"


def refuse_private_literal(url: URL) -> None:
    """Refuse a host that is written as a non-public IP address.

    Raises:
        BlockedAddress: The address is not public.
    """
    host = url.host or ""
    if is_literal(host) and not is_public(host):
        raise BlockedAddress


def is_literal(host: str) -> bool:
    """Say whether a host is an IP address rather than a name."""
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def looks_local(text: str) -> bool:
    """Say whether an address plainly names this machine or the local network."""
    try:
        host = parse_url(text).host or ""
    except BadAddress:
        return False
    if is_literal(host):
        return not is_public(host)
    return "." not in host or host.endswith(
        (".local", ".lan", ".internal", ".localhost")
    )


def _is_odd_number(host: str) -> bool:
    return bool(_NUMBERS_ONLY.fullmatch(host)) and not is_literal(host)
