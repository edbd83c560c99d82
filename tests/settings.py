"""Cortex's settings under test: a clean environment, then only what saves time."""

from __future__ import annotations

from tests.support.environment import scrub

scrub()

from cortex_site.settings import *  # noqa: E402, F403
from cortex_site.settings import (  # noqa: E402
    DATABASES,
    MODEL_BACKENDS,
    SQLITE_OPTIONS,
)

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

MODEL_BACKENDS = {**MODEL_BACKENDS, "scripted": "routing.backends.scripted.Scripted"}

# Static files come from their sources; nothing has collected them.
WHITENOISE_AUTOREFRESH = WHITENOISE_USE_FINDERS = True

if DATABASES["default"]["ENGINE"] == "accounts.sqlite":
    # A test database need not survive a power cut.
    DATABASES["default"]["OPTIONS"] = {
        **SQLITE_OPTIONS,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF;",
    }
