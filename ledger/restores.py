"""The lines in ``ledger.jsonl`` that say of a restore that it was lawful.

A database that was put back to an earlier state lacks rows which the journal knows, and
may hold others. ``mark`` looks for the last row that both have and writes::

    {"event": "restore", "timestamp": "…Z", "id": 41, "hash": "…", "given_up": 56}

The database went on from row 41; what the journal said before about the 56 later rows
counts no more, and the rows that the database has instead follow. No line is taken
away, so everybody sees what was given up and when, and a tail that is cut after the
restore is noticed like any other.
"""

from __future__ import annotations

import json
from typing import Any

from django.utils import timezone

from ledger import journal
from ledger.canonical import GENESIS
from ledger.journal_reader import JournalRow, journal_rows, parse_row, restores
from ledger.models import LedgerEntry
from ledger.records import journal_record, timestamp


def mark() -> dict[str, Any]:
    """Write down that the database was lawfully put back to its present state.

    Call it after the restore and before the first new row. Returns the line.

    Raises:
        JournalFault: A line of the journal is damaged; nothing was written.
        ValueError: Its last line is; nothing was written.
        OSError: The journal cannot be written.
    """
    head = LedgerEntry.objects.order_by("-id").values_list("id", flat=True).first()
    with journal.locked() as descriptor:
        last_id = journal.last_id_in(descriptor)
        row_id, row_hash = _common_row()
        line = {
            "event": "restore",
            "timestamp": timestamp(timezone.now()),
            "id": row_id,
            "hash": row_hash,
            "given_up": max(0, last_id - row_id),
        }
        journal.write(descriptor, [line])
        journal.catch_up(descriptor, row_id, (head or 0) + 1)
    return line


def _common_row() -> tuple[int, str]:
    """Return id and hash of the last row up to which journal and database agree."""
    common = (0, GENESIS)
    stored = LedgerEntry.objects.order_by("id").iterator(journal.BATCH_ROWS)
    for line, row in zip(journal_rows(), stored, strict=False):
        if not _agree(line, row):
            break
        common = (row.id, row.hash)
    return common


def _agree(line: JournalRow, row: LedgerEntry) -> bool:
    """Say whether a line tells what the database has."""
    if (line.id, line.hash) != (row.id, row.hash):
        return False
    written = parse_row(json.dumps(journal_record(row)).encode())
    return line.values == written.values


def sentences() -> list[str]:
    """Return a sentence for each lawful restore that the journal knows.

    Raises:
        JournalFault: A line about one is damaged.
    """
    return [
        f"ledger.jsonl says: the database was restored at {each.timestamp} and went on "
        f"from row {each.id} (line {each.number})."
        for each in restores()
    ]
