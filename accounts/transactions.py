"""Transactions that do not wait for the disk."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection, transaction

_NORMAL = 1
"""SQLite's level that syncs at checkpoints only; 2 is FULL."""


@contextmanager
def quick_transaction() -> Iterator[None]:
    """Commit without waiting for the disk; the next usual commit makes it durable.

    For what another commit follows at once, or what nobody misses after a power cut; a
    crash of the process loses nothing. Inside another transaction it is a part of that
    one.

    Source: SQLite's page on ``PRAGMA synchronous``; PostgreSQL's on
    ``synchronous_commit``.
    """
    if connection.in_atomic_block:
        with transaction.atomic():
            yield
        return
    sqlite = connection.vendor == "sqlite"
    level = _synchronous() if sqlite else 0
    if level > _NORMAL:
        _set_synchronous(_NORMAL)
    try:
        with transaction.atomic():
            if connection.vendor == "postgresql":
                with connection.cursor() as cursor:
                    cursor.execute("SET LOCAL synchronous_commit TO off")
            yield
    finally:
        if level > _NORMAL:
            _set_synchronous(level)


def _synchronous() -> int:
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA synchronous")
        return int(cursor.fetchone()[0])


def _set_synchronous(level: int) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"PRAGMA synchronous={level}")
