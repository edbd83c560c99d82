"""System checks: settings that cannot work are refused before anything is served."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error

REDIS_SCHEMES = frozenset({"redis", "rediss", "unix"})
ROLE_NAME = re.compile(r"\A[a-z_][a-z0-9_-]{0,31}\Z")


def check_settings(
    app_configs: Sequence[AppConfig] | None, **kwargs: Any
) -> list[CheckMessage]:
    """Return an error for each value of the environment that cannot be used."""
    return [*_redis(), *_roles()]


def _redis() -> Iterator[CheckMessage]:
    url = settings.REDIS_URL
    if url and urlsplit(url).scheme not in REDIS_SCHEMES:
        yield Error(
            "REDIS_URL must begin with redis://, rediss:// or unix://.",
            id="channels_app.E002",
        )


def _roles() -> Iterator[CheckMessage]:
    for role in settings.CORTEX_ROLES:
        if not ROLE_NAME.match(role):
            yield Error(
                f"CORTEX_ROLES holds {role!r}; a role has up to 32 small letters, "
                "digits, dashes and underscores.",
                id="channels_app.E003",
            )
