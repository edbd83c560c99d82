"""Putting a dump in the place of what a PostgreSQL database holds.

What is there is moved into a schema of its own in one transaction; ``pg_restore`` fills
the emptied one in another. When everything is right the old schema is dropped, else it
is moved back: no right to make databases is needed, and no moment has half of both.
Source: PostgreSQL documentation, "pg_restore", "ALTER TABLE" (SET SCHEMA), "pg_class".
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from django.core.management import call_command
from django.db import connection, transaction

from channels_app.care import contents, dumps, migrations
from channels_app.care.contents import Contents
from channels_app.care.errors import BadArchive, RestoreRefused

ASIDE: Final = "cortex_before_restore"
FAILED: Final = "cortex_not_restored"

_OF_EXTENSIONS = """NOT EXISTS (
    SELECT 1 FROM pg_depend d WHERE d.objid = o.oid AND d.deptype = 'e')"""
# Sequences of columns and tables' own types follow their tables.
_ALTERATIONS = f"""
SELECT format('ALTER TABLE %%I.%%I', n.nspname, o.relname)
FROM pg_class o JOIN pg_namespace n ON n.oid = o.relnamespace
WHERE n.nspname = %(schema)s AND o.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
  AND {_OF_EXTENSIONS} AND NOT (o.relkind = 'S' AND EXISTS (
    SELECT 1 FROM pg_depend d WHERE d.objid = o.oid AND d.deptype IN ('a', 'i')))
UNION ALL
SELECT format('ALTER ROUTINE %%I.%%I(%%s)', n.nspname, o.proname,
              pg_get_function_identity_arguments(o.oid))
FROM pg_proc o JOIN pg_namespace n ON n.oid = o.pronamespace
WHERE n.nspname = %(schema)s AND {_OF_EXTENSIONS}
UNION ALL
SELECT format('ALTER TYPE %%I.%%I', n.nspname, o.typname)
FROM pg_type o JOIN pg_namespace n ON n.oid = o.typnamespace
LEFT JOIN pg_class c ON c.oid = o.typrelid
WHERE n.nspname = %(schema)s AND {_OF_EXTENSIONS}
  AND (o.typtype = 'e' OR (o.typtype = 'c' AND c.relkind = 'c'))
"""  # noqa: S608 - only constants


class Engine:
    """The database of an installation on PostgreSQL."""

    def files(self) -> list[Path]:
        """Return nothing: what PostgreSQL keeps is no business of ours."""
        return []

    def refuse_others(self) -> None:
        """Refuse while another process uses the database.

        Raises:
            RestoreRefused: One does, or ``pg_restore`` is not there.
        """
        _pg_restore()
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid() "
                "AND backend_type = 'client backend'"
            )
            others = cursor.fetchone()[0]
        if others:
            raise RestoreRefused(
                f"{others} other connections use the database; stop everything of "
                "Cortex first."
            )
        _finish_earlier()

    @contextlib.contextmanager
    def replaced(self, copy: Path, wanted: Contents) -> Iterator[int]:
        """Put the dump in place as long as the context ends well.

        Yields how many migrations the dump lacked.

        Raises:
            BadArchive: The dump cannot be restored or is not what was wanted.
        """
        schema = _move_all(_present_schema(), ASIDE)
        try:
            _fill(copy)
            if contents.of_database() != wanted:
                raise BadArchive(
                    "The database in the backup is not what its manifest says."
                )
            count = migrations.pending()
            if count:
                call_command("migrate", interactive=False, verbosity=0)
            yield count
        except BaseException:
            connection.close()
            _move_all(schema, FAILED)
            _move_all(ASIDE, schema)
            _drop(FAILED)
            _drop(ASIDE)
            raise
        _drop(ASIDE)


def _pg_restore() -> str:
    program = dumps.find_program("pg_restore")
    if program is None:
        raise RestoreRefused(
            "pg_restore was not found; install PostgreSQL's client programs (on Debian "
            "and Ubuntu: apt install postgresql-client)."
        )
    return program


def _fill(copy: Path) -> None:
    connection.close()
    words = [_pg_restore(), "--single-transaction", "--exit-on-error"]
    words += ["--no-owner", "--no-privileges", str(copy)]
    if fault := dumps.run_program(words, connection):
        raise BadArchive(f"pg_restore could not restore the backup: {fault}")


def _present_schema() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_schema()")
        return str(cursor.fetchone()[0])


def _finish_earlier() -> None:
    """Put right what a restore that was cut off has left."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", [ASIDE])
        if cursor.fetchone() is None:
            return
    if not _alterations(_present_schema()):
        _move_all(ASIDE, _present_schema())
    _drop(ASIDE)


def _alterations(schema: str) -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(_ALTERATIONS, {"schema": schema})
        return [str(row[0]) for row in cursor.fetchall()]


def _move_all(source: str, target: str) -> str:
    """Move everything from one schema to another, all or nothing; return the first."""
    with transaction.atomic(), connection.cursor() as cursor:
        _execute(cursor, f'CREATE SCHEMA IF NOT EXISTS "{target}"')
        for alteration in _alterations(source):
            _execute(cursor, f'{alteration} SET SCHEMA "{target}"')
    return source


def _drop(schema: str) -> None:
    with connection.cursor() as cursor:
        _execute(cursor, f'DROP SCHEMA IF EXISTS "{schema}" CASCADE')


def _execute(cursor: Any, statement: str) -> None:
    cursor.execute(statement)
