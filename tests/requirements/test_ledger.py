"""R17–R21: the ledger cannot be rewritten, cannot fork, and cannot be overspent."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from django.conf import settings
from django.db import DataError, IntegrityError, connection, transaction
from django.db.models import Sum
from django.test import Client

from accounts.models import User
from ledger import chain, entries, journal, triggers
from ledger.errors import AlreadyClosed, BudgetExceeded
from ledger.models import Budget, LedgerEntry
from ledger.types import Settlement
from ledger.verify import verify
from tests.support.environment import clean_environment
from tests.support.ledger import book, make_reservation

ROOT = Path(__file__).resolve().parents[2]
TABLE = triggers.TABLE
COLUMNS = [str(each.column) for each in LedgerEntry._meta.concrete_fields]
PROCESSES = 4
APPENDS = 1000


def execute(statement: str, values: Any = None) -> None:
    """Run a statement as somebody with the database's password would."""
    with connection.cursor() as cursor:
        cursor.execute(statement, values)


def contents() -> list[dict[str, Any]]:
    """Return everything that the ledger holds."""
    return list(LedgerEntry.objects.order_by("id").values())


@contextmanager
def nothing_changes() -> Iterator[None]:
    """Expect the database to refuse and the ledger to stay as it is."""
    before = contents()
    with pytest.raises(IntegrityError), transaction.atomic():
        yield
    assert contents() == before


def stored_row(row_id: int, **changes: Any) -> tuple[str, list[Any]]:
    """Return columns and values of a stored row as text for an INSERT."""
    row = LedgerEntry.objects.get(id=row_id)
    for name, value in changes.items():
        setattr(row, name, value)
    fields = LedgerEntry._meta.concrete_fields
    values = [
        each.get_db_prep_save(getattr(row, each.attname), connection) for each in fields
    ]
    marks = ", ".join(["%s"] * len(values))
    return f"INTO {TABLE} ({', '.join(COLUMNS)}) VALUES ({marks})", values


def by_queryset() -> None:
    LedgerEntry.objects.filter(id=2).update(cost_nano_usd=0)


def by_save() -> None:
    row = LedgerEntry.objects.get(id=2)
    row.cost_nano_usd = 0
    row.save()


def by_bulk_update() -> None:
    row = LedgerEntry.objects.get(id=2)
    row.cost_nano_usd = 0
    LedgerEntry.objects.bulk_update([row], ["cost_nano_usd"])


def by_update_or_create() -> None:
    LedgerEntry.objects.update_or_create(id=2, defaults={"cost_nano_usd": 0})


def by_delete() -> None:
    LedgerEntry.objects.get(id=2).delete()


def by_queryset_delete() -> None:
    LedgerEntry.objects.all().delete()


def by_raw_update() -> None:
    execute(f"UPDATE {TABLE} SET cost_nano_usd = 0")


def by_raw_delete() -> None:
    execute(f"DELETE FROM {TABLE} WHERE id = 2")


def by_orm_upsert() -> None:
    row = LedgerEntry.objects.get(id=2)
    row.cost_nano_usd = 0
    LedgerEntry.objects.bulk_create(
        [row],
        update_conflicts=True,
        unique_fields=["id"],
        update_fields=["cost_nano_usd"],
    )


def by_raw_upsert() -> None:
    statement, values = stored_row(2, cost_nano_usd=0)
    tail = " ON CONFLICT (id) DO UPDATE SET cost_nano_usd = 0"
    execute(f"INSERT {statement}{tail}", values)


def by_upsert_on_the_hash() -> None:
    statement, values = stored_row(2, id=4, previous_hash=chain.head()[1])
    tail = " ON CONFLICT (hash) DO UPDATE SET cost_nano_usd = 0"
    execute(f"INSERT {statement}{tail}", values)


EVERYWHERE = [
    by_queryset,
    by_save,
    by_bulk_update,
    by_update_or_create,
    by_delete,
    by_queryset_delete,
    by_raw_update,
    by_raw_delete,
    by_orm_upsert,
    by_raw_upsert,
    by_upsert_on_the_hash,
]


@pytest.mark.django_db
@pytest.mark.parametrize("way", EVERYWHERE, ids=lambda way: way.__name__)
def test_r17_no_way_to_change_or_delete_a_row(way: Callable[[], None]) -> None:
    book()
    entries.reserve(make_reservation())
    with nothing_changes():
        way()


@pytest.mark.django_db
@pytest.mark.parametrize("verb", ["REPLACE", "INSERT OR REPLACE"])
@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="same row"),
        pytest.param({"hash": "a" * 64}, id="same id"),
        pytest.param({"id": 4, "previous_hash": "head"}, id="same hash"),
        pytest.param({"id": 4, "hash": "a" * 64}, id="same previous hash"),
        pytest.param(
            {"id": 4, "previous_hash": "head", "hash": "a" * 64}, id="same attempt"
        ),
    ],
)
@pytest.mark.parametrize("row_id", [1, 2])
def test_r17_replace_into_is_refused(
    verb: str, changes: dict[str, Any], row_id: int
) -> None:
    if connection.vendor != "sqlite":
        pytest.skip("Only SQLite knows REPLACE.")
    book()
    entries.reserve(make_reservation())
    if changes.get("previous_hash") == "head":
        changes = {**changes, "previous_hash": chain.head()[1]}
    statement, values = stored_row(row_id, cost_nano_usd=0, **changes)
    with nothing_changes():
        execute(f"{verb} {statement}", values)


@pytest.mark.django_db
@pytest.mark.parametrize("statement", ["TRUNCATE {}", "TRUNCATE {} CASCADE"])
def test_r17_truncate_is_refused(statement: str) -> None:
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has no TRUNCATE.")
    book()
    with nothing_changes():
        execute(statement.format(TABLE))


@pytest.mark.django_db
def test_r17_the_admin_shows_rows_and_changes_none(
    admin_user: User, client_for: Callable[[User], Client]
) -> None:
    book()
    before = contents()
    client = client_for(admin_user)
    base = "/admin/ledger/ledgerentry/"
    page = client.get(base)
    assert page.status_code == 200
    assert b"delete_selected" not in page.content
    assert client.get(f"{base}2/change/").status_code == 200
    assert client.get(f"{base}add/").status_code == 403
    assert client.get(f"{base}2/delete/").status_code == 403
    assert client.post(f"{base}add/", {"kind": "settle"}).status_code == 403
    assert client.post(f"{base}2/delete/", {"post": "yes"}).status_code == 403
    assert client.post(f"{base}2/change/", {"cost_nano_usd": "0"}).status_code == 403
    action = {
        "action": "delete_selected",
        "_selected_action": ["1", "2"],
        "post": "yes",
    }
    client.post(base, action)
    assert contents() == before


# --- R18 -------------------------------------------------------------------------


@contextmanager
def tampered(*statements: tuple[str, list[Any]]) -> Iterator[None]:
    """Change the ledger past its triggers for a moment."""
    with transaction.atomic():
        triggers.remove(connection)
        for statement, values in statements:
            execute(statement, values)
        triggers.install(connection)
        yield
        transaction.set_rollback(True)


def flips(value: Any) -> Iterator[Any]:
    """Yield the value with one bit of one byte turned, for each of its bytes."""
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, int):
        yield value ^ 64
    elif isinstance(value, datetime):
        yield value + timedelta(microseconds=1)
    elif isinstance(value, str):
        for position, letter in enumerate(value):
            yield value[:position] + chr(ord(letter) ^ 1) + value[position + 1 :]


@pytest.mark.django_db
def test_r18_each_flipped_byte_is_reported() -> None:
    book()
    book()
    assert verify().ok
    tried = 0
    for column in COLUMNS:
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT {column} FROM {TABLE} WHERE id = 2")
            (value,) = cursor.fetchone()
        text = value.hex if isinstance(value, uuid.UUID) else value
        for wrong in flips(text):
            update = f"UPDATE {TABLE} SET {column} = %s WHERE id = 2"
            try:
                with tampered((update, [wrong])):
                    result = verify()
            except DataError:
                continue  # the column cannot even hold such a value
            assert not result.ok, (column, wrong)
            assert result.rows <= 3
            tried += 1
    assert tried > 200
    assert verify().ok


@pytest.mark.django_db(transaction=True)
def test_r18_deleted_swapped_and_cut_rows_are_reported() -> None:
    for _ in range(3):
        book()
    delete = f"DELETE FROM {TABLE} WHERE id >= %s AND id <= %s"
    move = f"UPDATE {TABLE} SET id = %s WHERE id = %s"
    for statements, words in (
        ([(delete, [3, 3])], "Row 3 is missing"),
        ([(delete, [1, 1])], "Row 1 is missing"),
        ([(delete, [6, 6])], "The ledger was cut"),
        ([(delete, [1, 6])], "The ledger was cut"),
        ([(move, [9, 3]), (move, [3, 5]), (move, [5, 9])], "Row 3 was changed"),
    ):
        with tampered(*statements):
            fault = verify().fault
        assert fault is not None
        assert words in fault
    assert verify().ok


# --- R19 -------------------------------------------------------------------------


def database_url() -> str:
    """Return the address of this test's database for another process."""
    values = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"sqlite:///{values['NAME']}"
    login = f"{quote(values['USER'])}:{quote(values['PASSWORD'])}"
    address = f"{quote(values['HOST'], safe='')}:{values['PORT']}"
    return f"postgres://{login}@{address}/{values['NAME']}"


@pytest.mark.timeout(180)
@pytest.mark.django_db(transaction=True)
def test_r19_processes_append_without_a_fork_or_a_gap() -> None:
    environment = clean_environment(settings.DATA_DIR, DATABASE_URL=database_url())
    module = [sys.executable, "-m", "tests.support.ledger_writer"]
    writers = [
        subprocess.Popen(
            [*module, str(APPENDS // 2), str(number * 10_000)],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
        )
        for number in range(PROCESSES)
    ]
    booked = [int(each.communicate()[0]) for each in writers]
    assert [each.returncode for each in writers] == [0] * PROCESSES
    count = PROCESSES * APPENDS
    ids = list(LedgerEntry.objects.order_by("id").values_list("id", flat=True))
    assert ids == list(range(1, count + 1))
    cost = LedgerEntry.objects.aggregate(sum=Sum("cost_nano_usd"))["sum"]
    assert cost == sum(booked)
    result = verify()
    assert (result.ok, result.rows) == (True, count), result.fault
    lines = journal.path().read_text().splitlines()
    assert [json.loads(line)["id"] for line in lines] == ids


# --- R20, R21 --------------------------------------------------------------------


def at_once(work: Callable[[int], Any], count: int) -> list[Any]:
    """Run ``work`` in as many threads, each with a connection of its own."""

    def run(number: int) -> Any:
        try:
            return work(number)
        finally:
            connection.close()

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


@pytest.mark.django_db(transaction=True)
def test_r20_an_attempt_is_closed_once_whoever_races() -> None:
    reservation = make_reservation()
    entries.reserve(reservation)

    def close(number: int) -> bool:
        try:
            if number % 2:
                entries.release(reservation.attempt_id)
            else:
                entries.settle(reservation.attempt_id, Settlement("complete", 1))
        except AlreadyClosed:
            return False
        return True

    assert sum(at_once(close, 10)) == 1
    assert LedgerEntry.objects.count() == 2
    assert verify().ok


@pytest.mark.django_db
def test_r20_what_the_host_counted_is_booked_to_the_token() -> None:
    reservation = make_reservation()
    entries.reserve(reservation)
    counted = Settlement(
        "interrupted",
        elapsed_ms=1,
        input_tokens=123_457,
        output_tokens=89,
        cache_read_tokens=100_000,
        cache_write_tokens=3,
    )
    entries.settle(reservation.attempt_id, counted)
    row = LedgerEntry.objects.get(kind="settle")
    assert (row.input_tokens, row.output_tokens) == (123_457, 89)
    assert (row.cache_read_tokens, row.cache_write_tokens) == (100_000, 3)
    assert not row.estimated


@pytest.mark.django_db(transaction=True)
def test_r21_parallel_calls_cannot_overspend(alice: User) -> None:
    one = make_reservation(alice)
    entries.reserve(one)
    price = LedgerEntry.objects.get().reserved_nano_usd
    assert price is not None
    entries.release(one.attempt_id)
    limit = 10 * price + price // 2
    Budget.objects.create(user=alice, period="month", limit_nano_usd=limit)

    def call(number: int) -> bool:
        try:
            entries.reserve(make_reservation(alice))
        except BudgetExceeded:
            return False
        return True

    assert sum(at_once(call, 50)) == 10
    rows = LedgerEntry.objects.filter(kind="reserve").exclude(attempt_id=one.attempt_id)
    assert rows.count() == 10
    assert verify().ok
