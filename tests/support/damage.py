"""A SQLite database that is damaged for a while, as by a failing disk."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django.db import connection


@contextmanager
def damaged(table: str) -> Iterator[None]:
    """Overwrite the first page of a table's tree; put it back unless it was replaced.

    The file opens all the same; only what is in that table cannot be read.
    """
    path = Path(str(connection.settings_dict["NAME"]))
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        cursor.execute("PRAGMA page_size")
        (size,) = cursor.fetchone()
        cursor.execute("SELECT rootpage FROM sqlite_master WHERE name = %s", [table])
        (page,) = cursor.fetchone()
    connection.close()
    inode = path.stat().st_ino
    with open(path, "r+b") as file:
        file.seek((page - 1) * size)
        whole = file.read(size)
        file.seek((page - 1) * size)
        file.write(b"\xa5" * size)
    try:
        yield
    finally:
        connection.close()
        if path.stat().st_ino == inode:
            with open(path, "r+b") as file:
                file.seek((page - 1) * size)
                file.write(whole)
