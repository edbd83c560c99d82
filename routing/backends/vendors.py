"""Where hosts of each type are reached, and whether that address is trusted.

A vendor's host has no address of its own: it is the vendor's fixed one, which only
the owner of the installation can change, by a setting. Because it comes from the
environment, it is trusted even where it leads to this machine.
"""

from __future__ import annotations

from typing import Final

from django.conf import settings

from routing.addresses import origin_of
from routing.backends.base import AuthenticationFailed, Target

VENDOR_SETTINGS: Final = {
    "anthropic_api": "CORTEX_ANTHROPIC_URL",
    "gemini_api": "CORTEX_GEMINI_URL",
}
_VERSIONS: Final = {"anthropic_api": "/v1", "gemini_api": "/v1beta"}
"""What people add to the address though each call's path begins with it."""


def address_of(host_type: str, base_url: str) -> str:
    """Return the address before each call's path, without a slash at its end."""
    if not base_url and host_type in VENDOR_SETTINGS:
        base_url = getattr(settings, VENDOR_SETTINGS[host_type])
    version = _VERSIONS.get(host_type, "")
    return base_url.rstrip("/").removesuffix(version).rstrip("/")


def origins_trusted_for(
    host_type: str, base_url: str, *, trusted: bool
) -> frozenset[str]:
    """Return the address's own origin if it is trusted.

    ``trusted`` says that an administrator saved the typed address.

    Raises:
        BadAddress: It is none.
    """
    fixed = not base_url and host_type in VENDOR_SETTINGS
    if not (fixed or trusted):
        return frozenset()
    return frozenset({origin_of(address_of(host_type, base_url))})


def target_address(target: Target) -> tuple[str, frozenset[str]]:
    """Return address and trusted origins of a call's target.

    Raises:
        BadAddress: It is none.
    """
    origins = origins_trusted_for(
        target.host_type, target.base_url, trusted=target.trusted_origin
    )
    return address_of(target.host_type, target.base_url), origins


def require_key(host_type: str, base_url: str, api_key: str) -> None:
    """Refuse a call that the vendor would refuse for want of a key.

    Raises:
        AuthenticationFailed: There is no key; at a typed address none may be needed.
    """
    if not api_key and not base_url and host_type in VENDOR_SETTINGS:
        raise AuthenticationFailed("The host has no key; enter one.")
