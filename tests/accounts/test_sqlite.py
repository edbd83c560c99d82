"""Writers of one process take turns, and nobody waits longer than the limit."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import OperationalError, connection, transaction

from accounts.models import AuditEvent
from accounts.sqlite import base

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(
        connection.vendor != "sqlite", reason="PostgreSQL needs no turns"
    ),
]


def in_threads(count: int, work: Callable[[], object]) -> list[BaseException | None]:
    """Run something in threads of their own; return what each raised."""

    def run() -> None:
        try:
            work()
        finally:
            connection.close()

    with ThreadPoolExecutor(count) as pool:
        return [task.exception() for task in [pool.submit(run) for _ in range(count)]]


def write(pause_s: float = 0.0) -> None:
    with transaction.atomic():
        AuditEvent.objects.create(event="test")
        time.sleep(pause_s)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[float]:
    """Let new connections wait for less long."""
    limit_s = 0.5
    monkeypatch.setitem(connection.settings_dict["OPTIONS"], "timeout", limit_s)
    connection.close()
    yield limit_s
    connection.close()


@pytest.mark.usefixtures("impatient")
def test_of_many_writers_none_is_passed_over() -> None:
    """Each holds the database for a moment; together they stay below the limit."""
    assert in_threads(12, lambda: [write(0.002) for _ in range(8)]) == [None] * 12
    assert AuditEvent.objects.filter(event="test").count() == 96


def test_whoever_waits_too_long_is_told(impatient: float) -> None:
    begun, done = threading.Event(), threading.Event()

    def hold() -> None:
        with transaction.atomic():
            begun.set()
            done.wait(10)
        connection.close()

    holder = threading.Thread(target=hold)
    holder.start()
    begun.wait(10)
    try:
        with pytest.raises(OperationalError, match=base.LOCKED):
            write()
    finally:
        done.set()
        holder.join()
    write()


def test_both_waits_share_one_limit(
    impatient: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was waited for a turn is not waited for another process again."""
    limits: list[float] = []
    wait = base.DatabaseWrapper._wait_at_most

    def noting(self: base.DatabaseWrapper, seconds: float) -> None:
        limits.append(seconds)
        wait(self, seconds)

    monkeypatch.setattr(base.DatabaseWrapper, "_wait_at_most", noting)
    assert in_threads(2, lambda: write(0.2)) == [None, None]
    first, second = limits
    assert 0 < first < impatient - 0.1
    assert second == impatient


def test_another_process_is_waited_for_at_the_limit(impatient: float) -> None:
    other = sqlite3.connect(connection.settings_dict["NAME"], isolation_level=None)
    try:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(OperationalError, match=base.LOCKED):
            write()
        other.execute("ROLLBACK")
        write()  # the turn was given back
    finally:
        other.close()


def fail() -> None:
    with transaction.atomic():
        AuditEvent.objects.create(event="lost")
        raise ValueError


def leave_open() -> None:
    with transaction.atomic():
        AuditEvent.objects.create(event="lost")
        connection.close()


@pytest.mark.parametrize("end", [fail, leave_open])
def test_a_turn_ends_with_its_transaction(end: Callable[[], None]) -> None:
    (error,) = in_threads(1, end)
    assert error is not None or end is leave_open
    assert in_threads(1, write) == [None]
    assert not AuditEvent.objects.filter(event="lost").exists()
