"""Putting a dump in the place of what a PostgreSQL database holds.

What is there is moved into a schema of its own in one transaction; ``pg_restore`` fills
the emptied one in another. When everything is right the old schema is dropped, else it
is moved back: no right to make databases is needed, and no moment has half of both.

A worker elsewhere may connect meanwhile, and what it wrote would be lost. So nobody may
be connected before, and until the end new connections of our account can only read:
that is a default which every account may set for itself, and which stays when a restore
is cut off. Afterwards those connections are ended, so that they come back as writers.
Source: PostgreSQL documentation, "pg_restore", "ALTER TABLE" (SET SCHEMA), "pg_class",
"ALTER ROLE" (IN DATABASE … SET), "default_transaction_read_only" and "Server Signaling
Functions" (pg_terminate_backend).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from django.core.management import call_command
from django.db import Error, connection, transaction

from channels_app.care import contents, dumps, migrations
from channels_app.care.contents import Contents
from channels_app.care.errors import BadArchive, NotPutBack, RestoreRefused
from channels_app.care.pending import putting_back

WAIT_S: Final = 2.0
"""How long connections that were closed may take to be gone."""
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

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Let nobody else write to the database, and put right what a crash left.

        Raises:
            RestoreRefused: Others use it, or ``pg_restore`` is not there.
        """
        _pg_restore()
        with _writing_all_the_same():
            _refuse_others()
            with _others_only_read():
                _refuse_others()  # who connected before that took effect
                _finish_earlier()
                yield

    @contextlib.contextmanager
    def replaced(self, copy: Path, wanted: Contents) -> Iterator[int]:
        """Put the dump in place as long as the context ends well.

        Yields how many migrations the dump lacked.

        Raises:
            BadArchive: The dump cannot be restored or is not what was wanted.
            RestoreRefused: Somebody has connected since ``alone``.
        """
        schema = _present_schema()
        with transaction.atomic():
            _move_all(schema, ASIDE)
            _refuse_others()  # now that nobody can use the tables
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
            with putting_back():
                connection.close()
                _move_all(schema, FAILED)
                _move_all(ASIDE, schema)
                _drop(FAILED)
                _drop(ASIDE)
            raise
        with contextlib.suppress(Error):  # else the next restore does it
            _drop(ASIDE)


# --- others ---------------------------------------------------------------------------


@contextlib.contextmanager
def _writing_all_the_same() -> Iterator[None]:
    """Let our own connections, and those of PostgreSQL's programs, write meanwhile."""
    given = connection.settings_dict["OPTIONS"]
    words = f"{given.get('options', '')} -c default_transaction_read_only=off".strip()
    connection.close()
    connection.settings_dict["OPTIONS"] = {**given, "options": words}
    try:
        yield
    finally:
        connection.close()
        connection.settings_dict["OPTIONS"] = given


def _refuse_others() -> None:
    """Refuse when others stay connected.

    Raises:
        RestoreRefused: They do.
    """
    latest = time.monotonic() + WAIT_S
    while others := _count_others():
        if time.monotonic() > latest:
            raise RestoreRefused(
                f"{others} other connections use the database; stop everything of "
                "Cortex first, on every machine."
            )
        time.sleep(0.05)


_OTHERS = (
    "FROM pg_stat_activity WHERE datname = current_database() "
    "AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
)


def _count_others() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_clear_snapshot()")
        cursor.execute(f"SELECT count(*) {_OTHERS}")
        return int(cursor.fetchone()[0])


_DEFAULT = "ALTER ROLE CURRENT_USER IN DATABASE {} {} default_transaction_read_only"


@contextlib.contextmanager
def _others_only_read() -> Iterator[None]:
    """Let whoever connects meanwhile read only; end those connections afterwards."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp(), quote_ident(current_database())")
        since, database = cursor.fetchone()
    try:
        with connection.cursor() as cursor:
            cursor.execute(_DEFAULT.format(database, "SET") + " = on")
        yield
    finally:
        connection.close()
        try:
            with connection.cursor() as cursor:
                cursor.execute(_DEFAULT.format(database, "RESET"))
                cursor.execute(
                    "SELECT pg_terminate_backend(pid) "
                    f"{_OTHERS} AND usename = current_user AND backend_start > %s",
                    [since],
                )
        except Error as error:
            raise NotPutBack(
                "The database can only be read as long as nobody runs "
                f"{_DEFAULT.format(database, 'RESET')!r} in it: {error}"
            ) from error


# --- the change of places -------------------------------------------------------------


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
    # Not even of extensions: only who made one may say something about it.
    words += ["--no-owner", "--no-privileges", "--no-comments", str(copy)]
    if fault := dumps.run_program(words, connection):
        raise BadArchive(f"pg_restore could not restore the backup: {fault}")


def _present_schema() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_schema()")
        return str(cursor.fetchone()[0])


def _finish_earlier() -> None:
    """Put right what a restore that was cut off has left."""
    _drop(FAILED)
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
