"""Reading many tables as they were at one moment, while others go on writing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connection, transaction


@contextmanager
def one_moment() -> Iterator[None]:
    """Let everything that is read in the block be of one moment; write nothing in it.

    Nobody waits for it: PostgreSQL keeps old versions of rows, SQLite does in its
    write-ahead log. Inside of another transaction it reads as that one does.

    Source: PostgreSQL's manual, "Repeatable Read Isolation Level"; SQLite's page
    "Isolation In SQLite".
    """
    if connection.in_atomic_block:
        yield
    elif connection.vendor == "sqlite":
        with _begun_as_reader(connection):
            yield
    else:
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute(
                    "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"
                )
            yield


@contextmanager
def _begun_as_reader(sqlite: Any) -> Iterator[None]:
    """Run a transaction that does not take the turn of those who write."""
    sqlite.ensure_connection()  # connecting sets the mode
    mode, sqlite.transaction_mode = sqlite.transaction_mode, "DEFERRED"
    atomic = transaction.atomic()
    try:
        atomic.__enter__()
    finally:
        sqlite.transaction_mode = mode
    try:
        # Without a first look the moment would be that of a later one.
        with sqlite.cursor() as cursor:
            cursor.execute("SELECT 1 FROM sqlite_master LIMIT 1")
        yield
    except BaseException as error:
        atomic.__exit__(type(error), error, error.__traceback__)
        raise
    else:
        atomic.__exit__(None, None, None)
