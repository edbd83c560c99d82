"""R17–R21, S36: the ledger cannot be rewritten, forked or overspent."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.db import DataError, IntegrityError, connection, transaction
from django.db.models import Sum
from django.test import Client

from accounts.models import AuditEvent, User
from ledger import (
    budget_requests,
    budget_settings,
    budgets,
    chain,
    entries,
    journal,
    triggers,
)
from ledger.errors import AlreadyClosed, BudgetExceeded
from ledger.models import Budget, BudgetNotice, LedgerEntry
from ledger.types import Prices, Settlement
from ledger.verify import verify
from tests.support.databases import database_url
from tests.support.environment import clean_environment
from tests.support.ledger import PRICES, book, left_nano_usd, make_reservation

ROOT = Path(__file__).resolve().parents[2]
TABLE = triggers.TABLE
COLUMNS = [str(each.column) for each in LedgerEntry._meta.concrete_fields]
PROCESSES = 4
APPENDS = 1000


def execute(statement: str, values: Any = None) -> None:
    """Run a statement as somebody with the database's password would."""
    with connection.cursor() as cursor:
        cursor.execute(statement, values)


def granted() -> None:
    """Write a grant that no budget needs."""
    chain.append(
        LedgerEntry(
            kind="grant",
            attempt_id=uuid.uuid4(),
            user_id=7,
            user_name="alice",
            budget="person:day",
            granted_nano_usd=5,
        )
    )


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
    last_id, last_hash = chain.head()
    statement, values = stored_row(2, id=last_id + 1, previous_hash=last_hash)
    tail = " ON CONFLICT (hash) DO UPDATE SET cost_nano_usd = 0"
    execute(f"INSERT {statement}{tail}", values)


def by_a_second_row_for_a_grant() -> None:
    row = LedgerEntry.objects.get(kind="grant")
    row.pk, (last_id, row.previous_hash) = None, chain.head()
    row.id, row.hash, row.granted_nano_usd = last_id + 1, "a" * 64, 10**12
    row.save(force_insert=True)


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
    by_a_second_row_for_a_grant,
]


@pytest.mark.django_db
@pytest.mark.parametrize("way", EVERYWHERE, ids=lambda way: way.__name__)
def test_r17_no_way_to_change_or_delete_a_row(way: Callable[[], None]) -> None:
    book()
    entries.reserve(make_reservation())
    granted()
    with nothing_changes():
        way()


@pytest.mark.django_db
@pytest.mark.parametrize("verb", ["REPLACE", "INSERT OR REPLACE"])
@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, id="same row"),
        pytest.param({"hash": "a" * 64}, id="same id"),
        pytest.param({"id": 5, "previous_hash": "head"}, id="same hash"),
        pytest.param({"id": 5, "hash": "a" * 64}, id="same previous hash"),
        pytest.param(
            {"id": 5, "previous_hash": "head", "hash": "a" * 64}, id="same attempt"
        ),
    ],
)
@pytest.mark.parametrize("row_id", [1, 2, 4])
def test_r17_replace_into_is_refused(
    verb: str, changes: dict[str, Any], row_id: int
) -> None:
    if connection.vendor != "sqlite":
        pytest.skip("Only SQLite knows REPLACE.")
    book()
    entries.reserve(make_reservation())
    granted()
    if changes.get("previous_hash") == "head":
        changes = {**changes, "previous_hash": chain.head()[1]}
    money = "granted_nano_usd" if row_id == 4 else "cost_nano_usd"
    statement, values = stored_row(row_id, **{money: 10**12}, **changes)
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
    book(background=True)
    granted()
    assert verify().ok
    for row_id in (2, 4, 5):
        assert flip_each_byte(row_id) > 150
    assert verify().ok


def flip_each_byte(row_id: int) -> int:
    """Expect ``verify`` to notice each flip in a row; return how many were tried."""
    tried = 0
    for column in COLUMNS:
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT {column} FROM {TABLE} WHERE id = %s", [row_id])
            (value,) = cursor.fetchone()
        text = value.hex if isinstance(value, uuid.UUID) else value
        for wrong in flips(text):
            update = f"UPDATE {TABLE} SET {column} = %s WHERE id = %s"
            try:
                with tampered((update, [wrong, row_id])):
                    result = verify()
            except DataError:
                continue  # the column cannot even hold such a value
            assert not result.ok, (column, wrong)
            assert result.rows <= row_id
            tried += 1
    return tried


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


def parallel_calls(people: list[User], **more: Any) -> int:
    """Reserve 50 equal calls at once, spread over people; return how many fitted."""

    def call(number: int) -> bool:
        user = people[number % len(people)]
        try:
            entries.reserve(make_reservation(user, **more))
        except BudgetExceeded:
            return False
        return True

    return sum(at_once(call, 50))


CALL = 1000 * 3000 + 100 * 15_000
"""What ``make_reservation`` reserves, in nano-dollars."""


@pytest.mark.parametrize("period", ["day", "week", "month"])
@pytest.mark.django_db(transaction=True)
def test_r21_parallel_calls_of_several_people_cannot_overspend_what_they_share(
    alice: User, bob: User, charlie: User, period: str
) -> None:
    limit = 10 * CALL + CALL // 2
    Budget.objects.create(scope="shared", period=period, limit_nano_usd=limit)
    assert parallel_calls([alice, bob, charlie]) == 10
    assert LedgerEntry.objects.filter(kind="reserve").count() == 10
    assert verify().ok


@pytest.mark.django_db(transaction=True)
def test_r21_parallel_background_work_cannot_overspend_its_cap(
    alice: User, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    cap = Decimal(7 * CALL + 1) / 10**9
    monkeypatch.setattr(settings, "CORTEX_BACKGROUND_DAILY_USD", cap)
    assert parallel_calls([alice, bob], background=True) == 14


@pytest.mark.django_db(transaction=True)
def test_r21_parallel_calls_of_unknown_price_cannot_overspend(alice: User) -> None:
    Budget.objects.create(user=alice, period="day", limit_nano_usd=5 * CALL)
    assert parallel_calls([alice], prices=Prices(), stand_in_prices=PRICES) == 5


@pytest.mark.django_db(transaction=True)
def test_r21_calls_that_close_while_others_open_cannot_overspend(alice: User) -> None:
    limit = 6 * CALL
    Budget.objects.create(user=alice, period="day", limit_nano_usd=limit)

    def call(number: int) -> None:
        for _ in range(3):
            reservation = make_reservation(alice)
            try:
                entries.reserve(reservation)
            except BudgetExceeded:
                continue
            if number % 3 == 0:
                entries.release(reservation.attempt_id)
                continue
            used = Settlement("complete", 1, input_tokens=1000, output_tokens=100)
            entries.settle(reservation.attempt_id, used)

    def cost() -> int:
        return LedgerEntry.objects.aggregate(sum=Sum("cost_nano_usd"))["sum"]

    at_once(call, 20)
    assert 0 < cost() <= limit
    # What was given back is there again, and not a call more.
    for _ in range(3):
        call(1)
    assert cost() == limit
    assert left_nano_usd(alice) == 0
    assert verify().ok


@pytest.mark.django_db(transaction=True)
def test_r21_a_request_is_granted_once_whoever_races(
    alice: User, admin_user: User
) -> None:
    Budget.objects.create(user=alice, period="day", limit_nano_usd=0)
    request = budget_requests.ask(alice, 3 * CALL)
    rows = at_once(lambda number: budgets.grant(request, None, admin_user).id, 10)
    assert len(set(rows)) == 1
    assert AuditEvent.objects.filter(event="budget.granted").count() == 1
    assert parallel_calls([alice]) == 3
    assert verify().ok


@pytest.mark.django_db
def test_s36_every_change_of_a_budget_is_audited(alice: User, admin_user: User) -> None:
    terms = budget_settings.Terms(CALL)
    budget = budget_settings.set_budget(
        "person", "day", terms, user=alice, actor=admin_user
    )
    request = budget_requests.ask(alice, CALL, "for something secret")
    budgets.grant(request, None, admin_user)
    budget_requests.decline(budget_requests.ask(alice, CALL), admin_user)
    budget_settings.remove_budget(budget, actor=admin_user)
    events = AuditEvent.objects.filter(event__startswith="budget.").order_by("id")
    assert [(each.event, each.actor_name, each.subject) for each in events] == [
        ("budget.set", "dora", "alice"),
        ("budget.requested", "alice", "alice"),
        ("budget.granted", "dora", "alice"),
        ("budget.requested", "alice", "alice"),
        ("budget.declined", "dora", "alice"),
        ("budget.removed", "dora", "alice"),
    ]
    assert "secret" not in str([each.detail for each in events])


@pytest.mark.django_db(transaction=True)
def test_r21_a_threshold_is_told_once_whoever_races(alice: User) -> None:
    Budget.objects.create(user=alice, period="day", limit_nano_usd=60_000)
    book(alice, prices=Prices(5_000, 0), input_tokens=10 * 10**6)
    told = at_once(lambda number: len(budgets.warnings_due(alice)), 10)
    assert sum(told) == 1
    assert BudgetNotice.objects.count() == 2
