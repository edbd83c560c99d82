"""Backups that ``prepare`` writes before it changes the tables of a database in use.

Only the database, in its own form; ``channels_app.care.backup`` writes whole backups.
PostgreSQL is dumped when ``pg_dump`` is at hand; else dumps are the administrator's.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from django.conf import settings
from django.db.backends.base.base import BaseDatabaseWrapper

from channels_app.care import dumps

KEPT = 3
"""Backups of this kind that stay; older ones are removed."""
PREFIX = "before-migration-"


def write(connection: BaseDatabaseWrapper) -> str:
    """Write a backup of the whole database and return a sentence that says where.

    Raises:
        dumps.BackupFailed: The database must not be changed now.
    """
    folder = Path(settings.DATA_DIR) / "backups"
    name = f"{PREFIX}{datetime.now(UTC):%Y%m%d-%H%M%S-%f}"
    if connection.vendor == "sqlite":
        target = folder / f"{name}.sqlite3"
        dumps.copy_sqlite(str(connection.settings_dict["NAME"]), target)
    else:
        program = dumps.find_program("pg_dump")
        if program is None:
            return (
                "pg_dump was not found, so no backup of the PostgreSQL database was "
                "written; keep dumps of your own."
            )
        target = folder / f"{name}.dump"
        dumps.dump_postgresql(program, connection, target)
    _remove_old(folder)
    return f"A backup of the database was written to {target}."


def _remove_old(folder: Path) -> None:
    for path in sorted(folder.glob(f"{PREFIX}*"))[:-KEPT]:
        path.unlink(missing_ok=True)
