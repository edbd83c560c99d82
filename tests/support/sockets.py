"""The guard that keeps tests on this machine."""

from __future__ import annotations

import ipaddress
import socket
from typing import Any

import pytest


class OutsideConnection(AssertionError):
    """A test tried to reach another machine."""


def is_local(address: Any) -> bool:
    """Say whether a socket address is a Unix path or a loopback address."""
    if not isinstance(address, tuple):
        return True
    host = str(address[0]).partition("%")[0]
    if host in {"", "localhost"}:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_number(host: Any) -> bool:
    text = host.decode("ascii", "replace") if isinstance(host, bytes) else host
    try:
        ipaddress.ip_address(str(text).partition("%")[0])
    except ValueError:
        return False
    return True


def refuse_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make connections elsewhere fail the test and look-ups of names fail."""
    connect, connect_ex = socket.socket.connect, socket.socket.connect_ex
    getaddrinfo = socket.getaddrinfo

    def guarded_connect(self: socket.socket, address: Any) -> None:
        if not is_local(address):
            raise OutsideConnection(f"A test tried to connect to {address!r}.")
        connect(self, address)

    def guarded_connect_ex(self: socket.socket, address: Any) -> int:
        if not is_local(address):
            raise OutsideConnection(f"A test tried to connect to {address!r}.")
        return connect_ex(self, address)

    def guarded_getaddrinfo(host: Any, *args: Any, **options: Any) -> Any:
        if host in {None, "", b"", "localhost", b"localhost"} or _is_number(host):
            return getaddrinfo(host, *args, **options)
        raise socket.gaierror(
            socket.EAI_NONAME, f"Tests look up no outside names ({host!r})."
        )

    monkeypatch.setattr(socket.socket, "connect", guarded_connect)
    monkeypatch.setattr(socket.socket, "connect_ex", guarded_connect_ex)
    monkeypatch.setattr(socket, "getaddrinfo", guarded_getaddrinfo)
