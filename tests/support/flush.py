"""Empties the tables between tests that use real transactions, quickly.

Django's own way would be refused by the append-only ledger, creates all permissions
anew each time, and on PostgreSQL truncates forty tables for a few rows. Here the
ledger's triggers are lifted for the one list of statements that empties the tables
(they are active inside every test), permissions and content types stay, and PostgreSQL
deletes rows instead. Nothing of the kind exists outside the tests.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.core.management.commands import flush
from django.db.backends.base.operations import BaseDatabaseOperations

from ledger import triggers

KEPT = {"auth_permission", "django_content_type"}
"""Tables that are filled when the database is made and never by a test."""
QUEUE = ("procrastinate_events", "procrastinate_jobs", "procrastinate_workers")
"""Tables of PostgreSQL's queue, which Django does not manage and so does not name."""


def statements(vendor: str, sql_list: list[str]) -> list[str]:
    """Return what empties the tables that Django's statements name."""
    if vendor == "postgresql":
        tables = [name for sql in sql_list for name in re.findall(r'"(\w+)"', sql)]
        tables += QUEUE
        # A replica fires neither our triggers nor those of foreign keys.
        return [
            "SET LOCAL session_replication_role = replica",
            *(f'DELETE FROM "{name}"' for name in tables if name not in KEPT),
        ]
    kept = [sql for sql in sql_list if not any(f'"{name}"' in sql for name in KEPT)]
    return [
        *triggers.remove_statements(vendor),
        *kept,
        *triggers.install_statements(vendor),
    ]


def _quick(original: Callable[..., Any]) -> Callable[..., Any]:
    def execute_sql_flush(self: BaseDatabaseOperations, sql_list: list[str]) -> None:
        original(self, statements(self.connection.vendor, sql_list))

    return execute_sql_flush


@contextmanager
def quick_flush() -> Iterator[None]:
    """Empty tables this way as long as the context is open."""
    execute = BaseDatabaseOperations.execute_sql_flush
    command: Any = flush
    emit = command.emit_post_migrate_signal
    BaseDatabaseOperations.execute_sql_flush = _quick(execute)  # type: ignore[method-assign]
    command.emit_post_migrate_signal = lambda *args, **options: None
    try:
        yield
    finally:
        BaseDatabaseOperations.execute_sql_flush = execute  # type: ignore[method-assign]
        command.emit_post_migrate_signal = emit
