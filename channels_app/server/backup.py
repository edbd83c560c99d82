"""Backups that ``prepare`` writes before it changes the tables of a database in use.

SQLite is copied with its own online backup, which is whole even while others write.
PostgreSQL is dumped when ``pg_dump`` is at hand; else dumps are the administrator's.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db.backends.base.base import BaseDatabaseWrapper

KEPT = 3
"""Backups of this kind that stay; older ones are removed."""
PREFIX = "before-migration-"


class BackupFailed(Exception):
    """No backup could be written; the text is one sentence."""


def write(connection: BaseDatabaseWrapper) -> str:
    """Write a backup of the whole database and return a sentence that says where.

    Raises:
        BackupFailed: The database must not be changed now.
    """
    folder = Path(settings.DATA_DIR) / "backups"
    name = f"{PREFIX}{datetime.now(UTC):%Y%m%d-%H%M%S-%f}"
    if connection.vendor == "sqlite":
        target = folder / f"{name}.sqlite3"
        _copy_sqlite(str(connection.settings_dict["NAME"]), target)
    else:
        program = shutil.which("pg_dump")
        if program is None:
            return (
                "pg_dump was not found, so no backup of the PostgreSQL database was "
                "written; keep dumps of your own."
            )
        target = folder / f"{name}.dump"
        _dump_postgresql(program, connection, target)
    _remove_old(folder)
    return f"A backup of the database was written to {target}."


def _copy_sqlite(source: str, target: Path) -> None:
    part = target.with_suffix(".part")
    try:
        with (
            sqlite3.connect(f"file:{source}?mode=ro", uri=True) as origin,
            sqlite3.connect(part) as copy,
        ):
            origin.backup(copy)
        origin.close()
        copy.close()
        part.chmod(0o600)
        part.replace(target)
    except (OSError, sqlite3.Error) as error:
        part.unlink(missing_ok=True)
        raise BackupFailed(
            f"The backup {target} could not be written: {error}."
        ) from None


def _dump_postgresql(
    program: str, connection: BaseDatabaseWrapper, target: Path
) -> None:
    """Run ``pg_dump``; the password goes through the environment, not the command."""
    given = connection.settings_dict
    words = [program, "--format=custom", f"--file={target}"]
    for option, key in (("host", "HOST"), ("port", "PORT"), ("username", "USER")):
        if given[key]:
            words.append(f"--{option}={given[key]}")
    words.append(str(given["NAME"]))
    environment = {**os.environ, "PGPASSWORD": str(given["PASSWORD"])}
    options: dict[str, Any] = {"capture_output": True, "text": True, "check": False}
    done = subprocess.run(words, env=environment, **options)  # noqa: S603 - no shell
    if done.returncode != 0:
        target.unlink(missing_ok=True)
        said = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise BackupFailed(f"pg_dump could not write a backup: {said}")


def _remove_old(folder: Path) -> None:
    for path in sorted(folder.glob(f"{PREFIX}*"))[:-KEPT]:
        path.unlink(missing_ok=True)
