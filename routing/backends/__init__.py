"""The back ends by host type, as the setting ``MODEL_BACKENDS`` names them."""

from __future__ import annotations

import functools

from django.conf import settings
from django.utils.module_loading import import_string

from routing.backends.base import Backend


class UnknownBackend(LookupError):
    """No back end of this type is installed."""


def backend_types() -> tuple[str, ...]:
    """Return the host types that can be called, in the order of the setting."""
    return tuple(settings.MODEL_BACKENDS)


def get_backend(host_type: str) -> Backend:
    """Return the back end for a host type.

    Raises:
        UnknownBackend: The setting ``MODEL_BACKENDS`` has no such type.
    """
    try:
        path = settings.MODEL_BACKENDS[host_type]
    except KeyError:
        raise UnknownBackend(host_type) from None
    return _load(path)


@functools.cache
def _load(path: str) -> Backend:
    backend: Backend = import_string(path)()
    return backend
