"""``ledger.jsonl``."""

from __future__ import annotations

import json
import logging
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError, transaction

from ledger import entries, journal
from ledger.models import LedgerEntry
from tests.support.ledger import book, make_reservation

pytestmark = pytest.mark.django_db(transaction=True)


def lines() -> list[dict[str, Any]]:
    """Return the journal's lines."""
    return [json.loads(line) for line in journal.path().read_text().splitlines()]


def ids() -> list[int]:
    """Return the ids in the journal."""
    return [line["id"] for line in lines()]


def test_append_writes_symbionts_fields_first_and_no_text() -> None:
    attempt = book(preview="A secret question", outcome="incomplete")
    row = LedgerEntry.objects.get(kind="settle")
    line = lines()[1]
    assert list(line)[:8] == [
        "timestamp",
        "model",
        "success",
        "elapsed_seconds",
        "input_tokens",
        "output_tokens",
        "estimated_cost_usd",
        "id",
    ]
    assert line["timestamp"].endswith("Z")
    assert (line["model"], line["success"]) == ("haiku", False)
    assert (line["elapsed_seconds"], line["estimated_cost_usd"]) == (1.5, 0.00006)
    assert (line["kind"], line["attempt_id"]) == ("settle", str(attempt))
    assert (line["hash"], line["previous_hash"]) == (row.hash, row.previous_hash)
    assert "prompt_preview" not in line
    assert "secret" not in journal.path().read_text()


def test_append_keeps_unknown_apart_from_zero() -> None:
    book(output_tokens=None)
    line = lines()[1]
    assert line["output_tokens"] is line["estimated_cost_usd"] is None


def test_append_waits_for_the_commit() -> None:
    with transaction.atomic():
        book()
        assert not journal.path().exists()
    assert ids() == [1, 2]
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        book()
        raise ZeroDivisionError
    assert ids() == [1, 2]


def test_file_is_for_its_owner_alone() -> None:
    book()
    assert stat.S_IMODE(os.stat(journal.path()).st_mode) == 0o600


def test_append_writes_first_what_others_have_committed() -> None:
    book()
    everything = journal.path().read_bytes()
    book()
    last = LedgerEntry.objects.get(id=4)
    journal.path().write_bytes(everything.splitlines(keepends=True)[0])
    journal.append(last)
    assert ids() == [1, 2, 3, 4]
    journal.append(LedgerEntry.objects.get(id=3))
    assert ids() == [1, 2, 3, 4]


@pytest.mark.parametrize("kept_bytes", [0, 10, 900])
def test_fill_gaps_repairs_a_cut_file_and_is_idempotent(kept_bytes: int) -> None:
    for _ in range(3):
        book()
    whole = journal.path().read_bytes()
    journal.path().write_bytes(whole[:kept_bytes])
    assert journal.fill_gaps() > 0
    assert journal.path().read_bytes() == whole
    assert journal.fill_gaps() == 0
    assert journal.path().read_bytes() == whole


def test_fill_gaps_recreates_a_lost_file_in_batches(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert journal.fill_gaps() == 0
    monkeypatch.setattr(journal, "BATCH_ROWS", 2)
    for _ in range(3):
        book()
    whole = journal.path().read_bytes()
    journal.path().unlink()
    assert journal.fill_gaps() == 6
    assert journal.path().read_bytes() == whole


def test_lines_longer_than_the_first_look_are_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(journal, "_TAIL_BYTES", 16)
    book()
    book()
    assert ids() == [1, 2, 3, 4]


def test_a_full_disk_does_not_fail_the_call(
    data_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    journal.path().mkdir()
    with caplog.at_level(logging.ERROR, "ledger.journal"):
        book()
    assert LedgerEntry.objects.count() == 2
    assert "Row 2 is not yet in ledger.jsonl" in caplog.text
    journal.path().rmdir()
    assert journal.fill_gaps() == 2


def test_a_busy_database_does_not_fail_the_call_while_catching_up(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    book()
    journal.path().unlink()

    def locked(after: int, before: int) -> Any:
        raise OperationalError("database is locked")

    with monkeypatch.context() as patch, caplog.at_level(logging.ERROR):
        patch.setattr(journal, "_rows_between", locked)
        entries.reserve(make_reservation())
    assert "Row 3 is not yet in ledger.jsonl: database is locked" in caplog.text
    assert journal.fill_gaps() == 3


def test_an_unreadable_last_line_does_not_fail_the_call(
    caplog: pytest.LogCaptureFixture,
) -> None:
    journal.path().write_text("nonsense\n")
    with caplog.at_level(logging.ERROR, "ledger.journal"):
        entries.reserve(make_reservation())
    assert LedgerEntry.objects.count() == 1
    assert "Row 1 is not yet" in caplog.text
