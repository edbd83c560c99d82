"""The keys of hosts: decrypted for one call, sent in one form."""

from __future__ import annotations

from accounts import secrets
from routing.backends.base import AuthenticationFailed
from routing.catalogue import HostInfo
from routing.models import Host


def key_of(host: HostInfo | Host) -> str:
    """Return a host's key, empty if it has none.

    Raises:
        AuthenticationFailed: The stored key cannot be read.
    """
    if not host.key_encrypted:
        return ""
    try:
        return secrets.decrypt("host_key", host.key_encrypted)
    except secrets.Undecryptable:
        raise AuthenticationFailed(
            "The host's stored key cannot be read; enter it again."
        ) from None
