"""``verify`` names the first fault."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from ledger import canonical, chain, entries, journal, restores, triggers
from ledger.journal_reader import JournalFault
from ledger.models import LedgerEntry
from ledger.verify import VerifyResult, verify
from tests.support.ledger import book, make_reservation

pytestmark = pytest.mark.django_db(transaction=True)

Tampering = Callable[[], AbstractContextManager[Callable[..., None]]]
TABLE = triggers.TABLE


def rewrite(result_of: Callable[[list[str]], list[str]]) -> None:
    """Replace the lines of the journal."""
    lines = journal.path().read_text().splitlines(keepends=True)
    journal.path().write_text("".join(result_of(lines)))


def assert_fault(result: VerifyResult, *words: str) -> None:
    """Check that a fault was found and that its sentence has these words."""
    assert not result.ok
    assert result.fault is not None
    for word in words:
        assert word in result.fault
    assert result.summary == result.fault


def test_verify_accepts_an_empty_ledger() -> None:
    assert verify() == VerifyResult(True, 0, canonical.GENESIS, None)


def test_verify_accepts_every_kind_of_row() -> None:
    attempt = book()
    entries.adjust(attempt, note="Überweisung", cost_nano_usd=-3)
    released = make_reservation()
    entries.reserve(released)
    entries.release(released.attempt_id)
    entries.reserve(make_reservation())
    head = LedgerEntry.objects.latest("id")
    assert verify() == VerifyResult(True, 6, head.hash, None)
    assert verify().summary == f"ok 6 rows head {head.hash}"


def test_verify_accepts_a_time_without_microseconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = chain.timezone.now().replace(microsecond=0)
    monkeypatch.setattr(chain.timezone, "now", lambda: whole)
    book()
    assert verify().ok


CHANGES: dict[str, Any] = {
    "attempt_id": "00000000000000000000000000000001",
    "created_at": "2001-01-01 00:00:00.000001+00:00",
    "user_id": 8,
    "user_name": "alicf",
    "persona_id": None,
    "persona_name": "",
    "channel": "api",
    "turn_id": None,
    "role": "Chat",
    "host_type": "x",
    "model_id": "haiku ",
    "model_name": "",
    "tier": 1,
    "attempt_number": 2,
    "outcome": "failed",
    "error_code": "x",
    "elapsed_ms": 1501,
    "first_token_ms": None,
    "input_tokens": 0,
    "output_tokens": None,
    "cache_read_tokens": 0,
    "cache_write_tokens": 0,
    "estimated": True,
    "billing": "local",
    "input_price_nano_usd_per_mtok": None,
    "output_price_nano_usd_per_mtok": 1,
    "cache_read_price_nano_usd_per_mtok": 1,
    "cache_write_price_nano_usd_per_mtok": 1,
    "reserved_nano_usd": 0,
    "cost_nano_usd": 0,
    "note": "x",
    "background": True,
    "budget": "",
    "granted_nano_usd": 0,
    "hash": "f" * 64,
}


def test_every_column_is_covered_by_the_hash() -> None:
    columns = {field.name for field in LedgerEntry._meta.concrete_fields}
    assert columns == {*canonical.ALL_FIELDS, "hash"}
    assert columns == {*CHANGES, "id", "kind", "previous_hash"}


@pytest.mark.parametrize("column", CHANGES)
def test_verify_reports_a_changed_value(column: str, tampering: Tampering) -> None:
    book()
    with tampering() as execute:
        execute(f"UPDATE {TABLE} SET {column} = %s WHERE id = 2", [CHANGES[column]])
    assert_fault(verify(), "Row 2 ")


@pytest.mark.skipif("connection.vendor != 'sqlite'", reason="storage types of SQLite")
@pytest.mark.parametrize(
    "change",
    [
        "estimated = 2",
        "attempt_id = upper(attempt_id)",
        "created_at = replace(created_at, ' ', 'T')",
        "model_id = CAST(model_id AS BLOB)",
        "elapsed_ms = 1500.5",
        "user_name = CAST(x'616c69ff65' AS TEXT)",
    ],
)
def test_verify_reports_a_byte_that_a_conversion_forgives(
    change: str, tampering: Tampering
) -> None:
    book()
    with tampering() as execute:
        execute(f"UPDATE {TABLE} SET {change} WHERE id = 2")
    assert_fault(verify(), "after row 0" if "616c" in change else "Row 2 was")


def test_verify_reports_a_deleted_row(tampering: Tampering) -> None:
    book()
    book()
    with tampering() as execute:
        execute(f"DELETE FROM {TABLE} WHERE id = 2")
    assert_fault(verify(), "Row 2 is missing")


def test_verify_reports_swapped_rows(tampering: Tampering) -> None:
    book()
    book()
    with tampering() as execute:
        for old, new in ((2, 99), (3, 2), (99, 3)):
            execute(f"UPDATE {TABLE} SET id = %s WHERE id = %s", [new, old])
    assert_fault(verify(), "Row 2 was changed")


def test_verify_reports_a_row_that_was_rehashed_in_place(tampering: Tampering) -> None:
    book()
    book()
    row = LedgerEntry.objects.get(id=2)
    row.cost_nano_usd = 1
    with tampering() as execute:
        execute(
            f"UPDATE {TABLE} SET cost_nano_usd = 1, hash = %s WHERE id = 2",
            [canonical.hash_entry(row)],
        )
    assert_fault(verify(), "Row 2 is not the one that ledger.jsonl has")
    journal.path().unlink()
    assert_fault(verify(), "Row 3 does not follow row 2")


def test_verify_reports_a_cut_tail(tampering: Tampering) -> None:
    book()
    book()
    with tampering() as execute:
        execute(f"DELETE FROM {TABLE} WHERE id > 3")
    assert_fault(verify(), "cut", "row 4", "ends with row 3")


def test_verify_reports_an_emptied_ledger(tampering: Tampering) -> None:
    book()
    with tampering() as execute:
        execute(f"DELETE FROM {TABLE}")
    assert_fault(verify(), "cut", "ends with row 0")


def test_verify_reports_a_missing_trigger() -> None:
    book()
    name = "ledger_no_update"
    on_table = f" ON {TABLE}" if connection.vendor == "postgresql" else ""
    with connection.cursor() as cursor:
        cursor.execute(f"DROP TRIGGER {name}{on_table}")
    try:
        assert_fault(verify(), "trigger", name)
    finally:
        triggers.remove(connection)
        triggers.install(connection)
    assert verify().ok


def test_verify_reports_a_closing_without_a_reservation() -> None:
    attempt = make_reservation().attempt_id
    chain.append(LedgerEntry(kind="settle", attempt_id=attempt, cost_nano_usd=5))
    assert_fault(verify(), "Row 1 closes an attempt that is not open")


def test_verify_reports_a_changed_journal(data_dir: Path) -> None:
    book()
    rewrite(
        lambda lines: [lines[0], lines[1].replace('"elapsed_ms":15', '"elapsed_ms":25')]
    )
    assert_fault(verify(), "Line 2 of ledger.jsonl was changed")


@pytest.mark.parametrize("junk", ["{}\n", "nonsense\n", "[1]\n", '{"event":"x"}\n'])
def test_verify_reports_an_unreadable_journal(junk: str) -> None:
    book()
    rewrite(lambda lines: [lines[0], junk, lines[1]])
    assert_fault(verify(), "Line 2 of ledger.jsonl cannot be read")


def test_verify_reports_swapped_lines_in_the_journal() -> None:
    book()
    rewrite(lambda lines: [lines[1], lines[0]])
    assert_fault(verify(), "ledger.jsonl has row 2 where row 1 should stand")


def test_verify_forgives_rows_that_the_journal_lacks_at_its_end() -> None:
    book()
    book()
    rewrite(lambda lines: [*lines[:2], lines[2][:100]])
    assert verify().ok
    assert journal.fill_gaps() == 2
    assert verify().ok


def test_verify_understands_a_lawful_restore(tampering: Tampering) -> None:
    book()
    book()
    with tampering() as execute:
        execute(f"DELETE FROM {TABLE} WHERE id > 2")
    assert not verify().ok
    line = restores.mark()
    assert json.loads(journal.path().read_text().splitlines()[-1]) == line
    assert (line["event"], line["id"]) == ("restore", 2)
    assert verify().ok
    book()
    book()
    assert verify().rows == 6
    with tampering() as execute:
        execute(f"DELETE FROM {TABLE} WHERE id > 1")
    restores.mark()
    assert verify().rows == 1
    with tampering() as execute:
        execute(f"DELETE FROM {TABLE}")
    assert_fault(verify(), "cut", "knows row 1")


def test_verify_reads_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ledger.verify.BATCH_ROWS", 2)
    for _ in range(3):
        book()
    assert verify().rows == 6


def test_restore_to_rows_that_were_given_up_before_verifies(
    tampering: Tampering,
) -> None:
    book()
    book()
    old_rows = list(LedgerEntry.objects.filter(id__gt=2).order_by("id"))
    with tampering() as execute:
        execute(f"DELETE FROM {TABLE} WHERE id > 2")
    assert restores.mark()["given_up"] == 2
    for _ in range(3):
        book()
    assert verify().ok
    # Now back to the rows that the first restore gave up.
    with tampering() as execute:
        execute(f"DELETE FROM {TABLE} WHERE id > 2")
    LedgerEntry.objects.bulk_create(old_rows)
    assert_fault(verify(), "Row 3 is not the one that ledger.jsonl has")
    line = restores.mark()
    assert (line["id"], line["given_up"]) == (2, 6)
    assert verify().rows == 4
    assert journal.last() == (4, old_rows[-1].hash)
    with tampering() as execute:
        execute(f"DELETE FROM {TABLE} WHERE id > 3")
    assert_fault(verify(), "cut", "knows row 4")


def test_restore_of_a_foreign_ledger_keeps_the_lines_before(
    tampering: Tampering,
) -> None:
    book()
    before = journal.path().read_text()
    with tampering() as execute:
        execute(f"DELETE FROM {TABLE}")
    journal.path().write_text("")
    book()
    journal.path().write_text(before)
    assert not verify().ok
    assert restores.mark()["id"] == 0
    assert journal.path().read_text().startswith(before)
    assert verify().rows == 2


def test_verify_reports_a_restore_line_about_another_row() -> None:
    book()
    restores.mark()
    book()
    assert verify().ok
    head = LedgerEntry.objects.get(id=2).hash
    rewrite(
        lambda lines: [
            line.replace(head, "f" * 64) if "event" in line else line for line in lines
        ]
    )
    assert_fault(verify(), "Line 3 of ledger.jsonl says that a restore went on from")


def test_restore_is_not_marked_in_a_damaged_journal() -> None:
    book()
    rewrite(lambda lines: [lines[0], "nonsense\n", lines[1]])
    before = journal.path().read_bytes()
    with pytest.raises(JournalFault, match="Line 2"):
        restores.mark()
    assert journal.path().read_bytes() == before


def test_end_of_the_journal_is_read_without_repairing_it() -> None:
    assert journal.last() == (0, "")
    book()
    with open(journal.path(), "a") as file:
        file.write('{"half')
    before = journal.path().read_bytes()
    assert journal.last() == (2, LedgerEntry.objects.get(id=2).hash)
    assert journal.path().read_bytes() == before
    journal.path().write_text("[]\n")
    with pytest.raises(ValueError, match="last line"):
        journal.last()
