"""The triggers that make the ledger append-only, as statements for each database.

They refuse UPDATE, DELETE and (PostgreSQL) TRUNCATE, and guard INSERT: a row must
continue the chain and must not meet an existing row in any unique column. The guard is
what stops SQLite's ``REPLACE INTO``, which deletes the rows it meets without firing a
delete trigger. A refusal is an ``IntegrityError``.

SQLite drops a table's triggers whenever a migration rebuilds the table, without a
message: end every later migration of the ledger with ``remove`` and ``install``.
``missing`` tells; ``manage.py ledger verify`` asks it.
"""

from __future__ import annotations

from django.db.backends.base.base import BaseDatabaseWrapper

from ledger.canonical import GENESIS

TABLE = "ledger_ledgerentry"
REFUSED = "The ledger is append-only."
NOT_THE_HEAD = "The ledger takes only a new row that follows its head."
LOCK_KEY = 4_858_273_921_006_417
"""Key of the advisory lock on PostgreSQL under which rows are appended."""
_CLOSINGS = "('settle', 'release')"

# Only constants of this package enter the statements below.
_TAKEN = f"""EXISTS (
    SELECT 1 FROM {TABLE}
    WHERE id = NEW.id OR hash = NEW.hash OR previous_hash = NEW.previous_hash
       OR (attempt_id = NEW.attempt_id AND kind = 'reserve' AND NEW.kind = 'reserve')
       OR (attempt_id = NEW.attempt_id AND kind = 'grant' AND NEW.kind = 'grant')
       OR (attempt_id = NEW.attempt_id AND kind IN {_CLOSINGS}
           AND NEW.kind IN {_CLOSINGS})
)"""  # noqa: S608
_HEAD_ID = f"SELECT id FROM {TABLE} ORDER BY id DESC LIMIT 1"  # noqa: S608
_HEAD_HASH = f"SELECT hash FROM {TABLE} ORDER BY id DESC LIMIT 1"  # noqa: S608

SQLITE = {
    "ledger_no_update": f"""CREATE TRIGGER ledger_no_update
BEFORE UPDATE ON {TABLE}
BEGIN SELECT RAISE(ABORT, '{REFUSED}'); END""",
    "ledger_no_delete": f"""CREATE TRIGGER ledger_no_delete
BEFORE DELETE ON {TABLE}
BEGIN SELECT RAISE(ABORT, '{REFUSED}'); END""",
    "ledger_insert_guard": f"""CREATE TRIGGER ledger_insert_guard
BEFORE INSERT ON {TABLE}
WHEN NEW.id IS NOT COALESCE(({_HEAD_ID}), 0) + 1
  OR NEW.previous_hash IS NOT COALESCE(({_HEAD_HASH}), '{GENESIS}')
  OR {_TAKEN}
BEGIN SELECT RAISE(ABORT, '{NOT_THE_HEAD}'); END""",
}

_REFUSE_BODY = f"""
BEGIN
    RAISE EXCEPTION '{REFUSED}' USING ERRCODE = 'restrict_violation';
END
"""
_GUARD_BODY = f"""
BEGIN
    PERFORM pg_advisory_xact_lock({LOCK_KEY});
    IF NEW.id IS DISTINCT FROM COALESCE(({_HEAD_ID}), 0) + 1
       OR NEW.previous_hash IS DISTINCT FROM COALESCE(({_HEAD_HASH}), '{GENESIS}')
       OR {_TAKEN}
    THEN
        RAISE EXCEPTION '{NOT_THE_HEAD}' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END
"""
POSTGRES_FUNCTIONS = {"ledger_refuse": _REFUSE_BODY, "ledger_guard": _GUARD_BODY}
POSTGRES_TRIGGERS = {
    "ledger_no_update": ("BEFORE UPDATE", "ROW", "ledger_refuse"),
    "ledger_no_delete": ("BEFORE DELETE", "ROW", "ledger_refuse"),
    "ledger_no_truncate": ("BEFORE TRUNCATE", "STATEMENT", "ledger_refuse"),
    "ledger_insert_guard": ("BEFORE INSERT", "ROW", "ledger_guard"),
}


def install_statements(vendor: str) -> list[str]:
    """Return the statements that create functions and triggers, in order."""
    if vendor == "sqlite":
        return list(SQLITE.values())
    functions = [
        f"CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql "
        f"AS $ledger${body}$ledger$"
        for name, body in POSTGRES_FUNCTIONS.items()
    ]
    triggers = [
        f"CREATE TRIGGER {name} {when} ON {TABLE} "
        f"FOR EACH {level} EXECUTE FUNCTION {function}()"
        for name, (when, level, function) in POSTGRES_TRIGGERS.items()
    ]
    return functions + triggers


def remove_statements(vendor: str) -> list[str]:
    """Return the statements that drop what ``install_statements`` creates."""
    if vendor == "sqlite":
        return [f"DROP TRIGGER IF EXISTS {name}" for name in SQLITE]
    triggers = [
        f"DROP TRIGGER IF EXISTS {name} ON {TABLE}" for name in POSTGRES_TRIGGERS
    ]
    functions = [f"DROP FUNCTION IF EXISTS {name}()" for name in POSTGRES_FUNCTIONS]
    return triggers + functions


def install(connection: BaseDatabaseWrapper) -> None:
    """Create the triggers; fails when they exist."""
    with connection.cursor() as cursor:
        for statement in install_statements(connection.vendor):
            cursor.execute(statement)


def remove(connection: BaseDatabaseWrapper) -> None:
    """Drop the triggers where they exist."""
    with connection.cursor() as cursor:
        for statement in remove_statements(connection.vendor):
            cursor.execute(statement)


def missing(connection: BaseDatabaseWrapper) -> list[str]:
    """Return the names of triggers that are absent, switched off or not ours."""
    if connection.vendor == "sqlite":
        found = _sqlite_triggers(connection)
        return [name for name, text in SQLITE.items() if found.get(name) != text]
    bodies = _postgres_triggers(connection)
    return [
        name
        for name, (_, _, function) in POSTGRES_TRIGGERS.items()
        if bodies.get(name) != POSTGRES_FUNCTIONS[function]
    ]


def _sqlite_triggers(connection: BaseDatabaseWrapper) -> dict[str, str]:
    """Return the text of each trigger of the table."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT name, sql FROM sqlite_master "
            "WHERE type = 'trigger' AND tbl_name = %s",
            [TABLE],
        )
        return dict(cursor.fetchall())


def _postgres_triggers(connection: BaseDatabaseWrapper) -> dict[str, str]:
    """Return the function body of each trigger of the table that is switched on."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT t.tgname, p.prosrc FROM pg_trigger t "
            "JOIN pg_proc p ON p.oid = t.tgfoid "
            "WHERE t.tgrelid = to_regclass(%s) AND t.tgenabled IN ('O', 'A')",
            [TABLE],
        )
        return dict(cursor.fetchall())
