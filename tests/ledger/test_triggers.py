"""The database itself refuses to change what is booked."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.core.management import call_command
from django.db import IntegrityError, connection, transaction

from ledger import canonical, chain, triggers
from ledger.models import LedgerEntry
from tests.support.ledger import book

pytestmark = pytest.mark.django_db


def test_nothing_is_missing_after_the_migrations() -> None:
    assert triggers.missing(connection) == []


def test_missing_notices_a_trigger_that_does_nothing() -> None:
    name = "ledger_no_delete"
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(
                "CREATE OR REPLACE FUNCTION ledger_refuse() RETURNS trigger "
                "LANGUAGE plpgsql AS $$ BEGIN RETURN OLD; END $$"
            )
        else:
            cursor.execute(f"DROP TRIGGER {name}")
            cursor.execute(
                f"CREATE TRIGGER {name} BEFORE DELETE ON {triggers.TABLE} "
                "BEGIN SELECT 1; END"
            )
    assert name in triggers.missing(connection)


def test_missing_notices_a_trigger_that_is_switched_off() -> None:
    if connection.vendor == "sqlite":
        pytest.skip("SQLite has no such switch.")
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {triggers.TABLE} DISABLE TRIGGER ledger_no_update")
    assert triggers.missing(connection) == ["ledger_no_update"]


@pytest.mark.django_db(transaction=True)
def test_migration_goes_back_and_forth() -> None:
    vendor = connection.vendor
    own = triggers.SQLITE if vendor == "sqlite" else triggers.POSTGRES_TRIGGERS
    call_command("migrate", "ledger", "0001", verbosity=0, skip_checks=True)
    try:
        assert set(triggers.missing(connection)) == set(own)
    finally:
        call_command("migrate", "ledger", verbosity=0, skip_checks=True)
    assert triggers.missing(connection) == []


def next_row(**changes: object) -> LedgerEntry:
    """Return an unsaved row that would continue the chain but for ``changes``."""
    last_id, last_hash = chain.head()
    values: dict[str, object] = {
        "id": last_id + 1,
        "kind": "adjust",
        "attempt_id": "00000000-0000-0000-0000-000000000001",
        "previous_hash": last_hash,
        "hash": "a" * 64,
    }
    return LedgerEntry(**{**values, **changes})


def test_guard_accepts_the_next_row() -> None:
    book()
    next_row().save(force_insert=True)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: next_row(previous_hash="b" * 64),
        lambda: next_row(previous_hash=canonical.GENESIS),
        lambda: next_row(id=4),
        lambda: next_row(id=2),
        lambda: next_row(id=None),
        lambda: next_row(hash=LedgerEntry.objects.get(id=1).hash),
    ],
)
def test_guard_refuses_what_does_not_follow_the_head(
    wrong: Callable[[], LedgerEntry],
) -> None:
    book()
    with pytest.raises(IntegrityError), transaction.atomic():
        wrong().save(force_insert=True)
    assert LedgerEntry.objects.count() == 2


def test_rebuilding_the_table_on_sqlite_is_noticed() -> None:
    if connection.vendor == "postgresql":
        pytest.skip("PostgreSQL keeps its triggers.")
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {triggers.TABLE} RENAME TO old_ledger")
        cursor.execute(f"CREATE TABLE {triggers.TABLE} AS SELECT * FROM old_ledger")
    assert set(triggers.missing(connection)) == set(triggers.SQLITE)
