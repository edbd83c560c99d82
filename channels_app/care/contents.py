"""What a database holds, as figures: to say it of a backup and to check a restore."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django.db import connection

from ledger.canonical import GENESIS
from ledger.triggers import TABLE as LEDGER_TABLE

_TABLES = {
    "sqlite": "SELECT name FROM sqlite_master WHERE type = 'table' "
    # The index of search repeats what stands in the table of its entries.
    "AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' "
    "AND name NOT LIKE 'personas\\_search\\_%' ESCAPE '\\' ORDER BY name",
    "postgresql": "SELECT tablename FROM pg_tables "
    "WHERE schemaname = current_schema() ORDER BY tablename",
}


@dataclass(frozen=True, slots=True)
class Contents:
    """How much is in a database, and how far it is."""

    migrations: list[str] = field(default_factory=list)
    """Applied migrations in the form ``app.name``, in order of names."""
    rows: dict[str, int] = field(default_factory=dict)
    """Table → how many rows it has."""
    ledger_head: str = GENESIS
    """Hash of the ledger's last row."""

    @property
    def ledger_rows(self) -> int:
        """How many rows the ledger has."""
        return self.rows.get(LEDGER_TABLE, 0)


def of_cursor(cursor: Any, vendor: str) -> Contents:
    """Count what a cursor sees; tables come from the database itself."""
    cursor.execute(_TABLES[vendor])
    tables = [str(row[0]) for row in cursor.fetchall()]
    rows = {}
    for table in tables:
        cursor.execute(f'SELECT count(*) FROM "{table}"')  # noqa: S608
        rows[table] = int(cursor.fetchone()[0])
    migrations = []
    if "django_migrations" in rows:
        cursor.execute("SELECT app, name FROM django_migrations ORDER BY app, name")
        migrations = [f"{app}.{name}" for app, name in cursor.fetchall()]
    return Contents(sorted(set(migrations)), rows, _head(cursor, rows))


def _head(cursor: Any, rows: dict[str, int]) -> str:
    if not rows.get(LEDGER_TABLE):
        return GENESIS
    cursor.execute(
        f"SELECT hash FROM {LEDGER_TABLE} ORDER BY id DESC LIMIT 1"  # noqa: S608
    )
    return str(cursor.fetchone()[0])


def of_sqlite(path: Path) -> Contents:
    """Count what a SQLite file holds.

    Raises:
        sqlite3.Error: It cannot be read.
    """
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as base:
        return of_cursor(base.cursor(), "sqlite")


def is_sound(path: Path) -> bool:
    """Say whether SQLite finds nothing wrong with a file.

    Source: SQLite documentation, "PRAGMA quick_check".
    """
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as base:
            found: tuple[str] = base.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.Error:
        return False
    return found == ("ok",)


def of_database() -> Contents:
    """Count what the installation's database holds."""
    with connection.cursor() as cursor:
        return of_cursor(cursor, connection.vendor)


@contextmanager
def postgresql_snapshot() -> Iterator[tuple[str, Contents]]:
    """Export a snapshot and count what it holds; it lasts as long as the context.

    Source: PostgreSQL documentation, "Snapshot Synchronization Functions".
    """
    own = connection.copy()
    try:
        with own.cursor() as cursor:
            cursor.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            cursor.execute("SELECT pg_export_snapshot()")
            name = str(cursor.fetchone()[0])
            yield name, of_cursor(cursor, "postgresql")
            cursor.execute("ROLLBACK")
    finally:
        own.close()
