"""System checks: the settings of routing are refused before the first call."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.core import checks

from accounts.names import NAME_PATTERN
from routing.backends import backend_types, get_backend
from routing.models import Host


@checks.register
def check_routing_settings(
    app_configs: Sequence[Any] | None, **options: Any
) -> list[checks.CheckMessage]:
    """Check that each back end can be loaded and each role has a usable name."""
    return [*_check_backends(), *_check_roles()]


def _check_backends() -> list[checks.CheckMessage]:
    found: list[checks.CheckMessage] = []
    for name in backend_types():
        if name not in Host.Type.values:
            text = f"MODEL_BACKENDS has the type {name!r}, which no host can have."
            found.append(checks.Error(text, id="routing.E001"))
            continue
        try:
            backend = get_backend(name)
        except ImportError as error:
            text = f"The back end {name!r} of MODEL_BACKENDS cannot be loaded: {error}."
            found.append(checks.Error(text, id="routing.E002"))
            continue
        if backend.type != name:
            text = (
                f"The back end {name!r} of MODEL_BACKENDS is of type {backend.type!r}."
            )
            found.append(checks.Error(text, id="routing.E003"))
    return found


def _check_roles() -> list[checks.CheckMessage]:
    return [
        checks.Error(
            f"CORTEX_ROLES has the role {role!r}: use 1 to 32 lower-case letters, "
            "digits, “_” or “-”.",
            id="routing.E004",
        )
        for role in settings.MODEL_ROLES
        if not re.match(NAME_PATTERN, role)
    ]
