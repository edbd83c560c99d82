"""Which migrations this version of Cortex knows, and which a database still needs."""

from __future__ import annotations

from collections.abc import Iterable

from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.loader import MigrationLoader


def unknown(applied: Iterable[str]) -> list[str]:
    """Return the migrations (``app.name``) of our apps that this version lacks, sorted.

    Those of an app that is not installed any more are no matter.
    """
    loader = MigrationLoader(None)
    known = set(loader.disk_migrations or ())
    for migration in loader.replacements.values():
        known |= set(migration.replaces)
    apps = {app for app, _ in known}
    names = {f"{app}.{name}" for app, name in known}
    return sorted(
        name for name in applied if name.partition(".")[0] in apps and name not in names
    )


def applied() -> list[str]:
    """Return the migrations (``app.name``) that the database has, sorted."""
    loader = MigrationExecutor(connection).loader
    return sorted(f"{app}.{name}" for app, name in loader.applied_migrations)


def pending() -> int:
    """Return how many migrations the database still needs."""
    executor = MigrationExecutor(connection)
    return len(executor.migration_plan(executor.loader.graph.leaf_nodes()))
