"""Whole copies of the database, made while others read and write.

SQLite is copied with its own online backup. PostgreSQL is dumped by ``pg_dump``, whose
password goes through the environment, never through the command line.
Source: SQLite documentation, "SQLite Backup API"; PostgreSQL documentation, "pg_dump"
and "Environment Variables" (libpq).
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from django.db.backends.base.base import BaseDatabaseWrapper

from channels_app.care.errors import BackupFailed

_VARIABLES: Final = {
    "options": "PGOPTIONS",
    "passfile": "PGPASSFILE",
    "service": "PGSERVICE",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
    "sslmode": "PGSSLMODE",
    "sslrootcert": "PGSSLROOTCERT",
}
"""Options of ``DATABASE_URL`` that PostgreSQL's programs need too."""


def copy_sqlite(source: str, target: Path) -> None:
    """Write a whole copy of a SQLite file, for its owner alone.

    Raises:
        BackupFailed: It cannot be read or written; nothing is left behind.
    """
    part = target.with_name(f"{target.name}.part")
    try:
        with (
            closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True)) as origin,
            closing(sqlite3.connect(part)) as copy,
        ):
            part.chmod(0o600)
            origin.backup(copy)
        part.replace(target)
    except (OSError, sqlite3.Error) as error:
        part.unlink(missing_ok=True)
        raise BackupFailed(
            f"The backup {target} could not be written: {error}."
        ) from None


def dump_postgresql(
    program: str, connection: BaseDatabaseWrapper, target: Path, snapshot: str = ""
) -> None:
    """Write a dump in ``pg_dump``'s custom format, for its owner alone.

    Args:
        program: Where ``pg_dump`` is.
        connection: Which database is meant.
        target: The file to write.
        snapshot: An exported snapshot to see the database as it was.

    Raises:
        BackupFailed: ``pg_dump`` says why; nothing is left behind.
    """
    words = [program, "--format=custom", "--no-owner", "--no-privileges"]
    words += [f"--snapshot={snapshot}"] if snapshot else []
    target.unlink(missing_ok=True)
    target.touch(mode=0o600)
    fault = run_program([*words, f"--file={target}"], connection)
    if fault:
        target.unlink(missing_ok=True)
        raise BackupFailed(f"pg_dump could not write a backup: {fault}")


def run_program(words: Sequence[str], connection: BaseDatabaseWrapper) -> str:
    """Run a program of PostgreSQL on a database; return its last words if it fails."""
    done = subprocess.run(  # noqa: S603 - no shell, and nobody's words
        [*words, *_address(connection.settings_dict)],
        env=_environment(connection.settings_dict),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 0:
        return ""
    return (done.stderr.strip().splitlines() or ["no reason given"])[-1]


def find_program(name: str) -> str | None:
    """Return where a program of PostgreSQL is."""
    return shutil.which(name)


def _address(given: Mapping[str, Any]) -> list[str]:
    words = [
        f"--{option}={given[key]}"
        for option, key in (("host", "HOST"), ("port", "PORT"), ("username", "USER"))
        if given[key]
    ]
    return [*words, "--no-password", f"--dbname={given['NAME']}"]


def _environment(given: Mapping[str, Any]) -> dict[str, str]:
    environment = dict(os.environ)
    if given["PASSWORD"]:
        environment["PGPASSWORD"] = str(given["PASSWORD"])
    options = given.get("OPTIONS") or {}
    for option, variable in _VARIABLES.items():
        if option in options:
            environment[variable] = str(options[option])
    return environment
