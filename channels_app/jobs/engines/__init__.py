"""What brings tasks to workers: one engine for each kind of database.

An engine is named by its dotted path, so that only the one in use is loaded.
"""

from __future__ import annotations

import functools
from typing import cast

from django.db import connection
from django.utils.module_loading import import_string

from channels_app.jobs.engines.base import Engine

ENGINES: dict[str, str] = {
    "sqlite": "channels_app.jobs.engines.sqlite_loop.SqliteLoop",
    "postgresql": "channels_app.jobs.engines.procrastinate.ProcrastinateEngine",
}
"""By the vendor's name that Django gives a database."""


def engine() -> Engine:
    """Return the engine of this installation's database."""
    return _engine(connection.vendor)


@functools.cache
def _engine(vendor: str) -> Engine:
    return cast(Engine, import_string(ENGINES[vendor])())


def sweep() -> int:
    """Announce tasks that wait and were never announced; for the worker's tick."""
    return engine().sweep()
