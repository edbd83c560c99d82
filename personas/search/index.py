"""Chooses the full text index of the database in use, and keeps it there."""

from __future__ import annotations

from typing import Final

from django.db import connection, transaction

from personas.search.index_base import TextIndex
from personas.search.index_postgresql import PostgreSQLIndex
from personas.search.index_sqlite import SQLiteIndex

INDEXES: Final[dict[str, TextIndex]] = {
    "sqlite": SQLiteIndex(),
    "postgresql": PostgreSQLIndex(),
}


def text_index(vendor: str = "") -> TextIndex:
    """Return the index for a kind of database; without one, for the one in use."""
    return INDEXES[vendor or connection.vendor]


def missing() -> list[str]:
    """Return the names of parts of the index that are not there."""
    return text_index().missing(connection)


def repair() -> list[str]:
    """Build anew what is missing; return its names, mostly none.

    On SQLite a migration that builds the table of entries anew drops its triggers.
    """
    if not (gone := missing()):
        return []
    with transaction.atomic():
        text_index().install(connection)
    return gone
