"""Cortex's settings under test: a clean environment, then only what saves time."""

from __future__ import annotations

from tests.support.environment import scrub

scrub()

from cortex_site.settings import *  # noqa: E402, F403
from cortex_site.settings import DATABASES, SQLITE_OPTIONS  # noqa: E402

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    # A test database need not survive a power cut.
    DATABASES["default"]["OPTIONS"] = {
        **SQLITE_OPTIONS,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF;",
    }
