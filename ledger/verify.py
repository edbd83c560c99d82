"""Recompute the whole ledger and name the first thing that is wrong with it.

Checked are, in this order: that ids count up without gaps, that each row follows the
one before, that its content gives its hash, that only reserved attempts are closed and
only once, that ``ledger.jsonl`` agrees and knows of no row that is gone (a cut tail),
and that the append-only triggers are in place.

Values are taken as the database stores them, not as Django reads them, so that a byte
which a conversion would forgive is noticed too. Memory does not grow with the ledger.
Rows that the journal does not have yet are no fault: the next append writes them.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db import DatabaseError, connection

from ledger import triggers
from ledger.canonical import ALL_FIELDS, FIELDS, GENESIS, canonical_time, hash_values
from ledger.journal_reader import JournalFault, JournalRow, journal_rows

BATCH_ROWS = 2000
_COLUMNS = (*ALL_FIELDS, "hash")
_ID = FIELDS.index("id")
_KIND = FIELDS.index("kind")
_ATTEMPT = FIELDS.index("attempt_id")
_TIME = FIELDS.index("created_at")
_TURN = FIELDS.index("turn_id")
_TRUTHS = [ALL_FIELDS.index(name) for name in ("estimated", "background")]
_PREVIOUS = FIELDS.index("previous_hash")
_TRUTH = {0: False, 1: True}


@dataclass(frozen=True, slots=True)
class VerifyResult:
    """What ``verify`` found."""

    ok: bool
    rows: int
    """Rows that were checked and found right, of every kind."""
    head: str
    """Hash of the last right row."""
    fault: str | None
    """The first fault in one sentence."""

    @property
    def summary(self) -> str:
        """Return the last line that ``ledger verify`` prints."""
        if self.fault is not None:
            return self.fault
        return f"ok {self.rows} rows head {self.head}"


class Fault(Exception):
    """Something does not hold; the text is one sentence."""


@dataclass
class _Walk:
    """Where the check stands."""

    journal: Iterator[JournalRow]
    rows: int = 0
    head: str = GENESIS
    open_attempts: set[str] = field(default_factory=set)
    next_line: JournalRow | None = None


def verify() -> VerifyResult:
    """Check rows, journal and triggers; never raises for what it finds."""
    # The journal's end is fixed first: every row it knows by then is committed.
    walk = _Walk(iter(()))
    try:
        walk.journal = journal_rows()
        walk.next_line = next(walk.journal, None)
        for row in _stored_rows():
            _check_row(walk, row)
            _check_journal(walk, row)
        _check_end(walk)
        if absent := triggers.missing(connection):
            raise Fault(
                f"The trigger {absent[0]} that keeps the ledger append-only is missing "
                "or changed."
            )
    except (Fault, JournalFault) as fault:
        return VerifyResult(False, walk.rows, walk.head, str(fault))
    except (DatabaseError, UnicodeDecodeError) as error:
        sentence = f"A row after row {walk.rows} cannot be read: {error}"
        return VerifyResult(False, walk.rows, walk.head, sentence)
    return VerifyResult(True, walk.rows, walk.head, None)


def _stored_rows() -> Iterator[list[Any]]:
    """Yield every row in the order of the ids as canonical values, then its hash."""
    is_sqlite = connection.vendor == "sqlite"
    convert = _from_sqlite if is_sqlite else _from_postgres
    # The plus keeps Python's converters for declared column types out on SQLite.
    columns = ", ".join(f"+{name}" if is_sqlite else name for name in _COLUMNS)
    query = (  # only constants of this package enter the text
        f"SELECT {columns} FROM {triggers.TABLE} "  # noqa: S608
        f"WHERE id > %s ORDER BY id LIMIT {BATCH_ROWS}"
    )
    last_id = -(2**63)
    while True:
        with connection.cursor() as cursor:
            cursor.execute(query, [last_id])
            batch = cursor.fetchall()
        for stored in batch:
            row = list(stored)
            convert(row)
            yield row
        if len(batch) < BATCH_ROWS:
            return
        last_id = batch[-1][_ID]


def _from_sqlite(row: list[Any]) -> None:
    """Spell stored values canonically; SQLite leaves out ``.000000`` and knows no bool.

    A value of a type that the column should not hold stays recognisably wrong.
    """
    moment = row[_TIME]
    if isinstance(moment, str) and len(moment) == 19:
        row[_TIME] = f"{moment}.000000"
    for position in _TRUTHS:
        row[position] = _TRUTH.get(row[position], row[position])
    for position, value in enumerate(row):
        if isinstance(value, bytes):
            row[position] = ["blob", value.hex()]


def _from_postgres(row: list[Any]) -> None:
    """Spell values canonically that PostgreSQL hands over as objects."""
    for position in (_ATTEMPT, _TURN):
        if isinstance(row[position], uuid.UUID):
            row[position] = row[position].hex
    if isinstance(row[_TIME], datetime):
        row[_TIME] = canonical_time(row[_TIME])


def _check_row(walk: _Walk, row: list[Any]) -> None:
    """Check one row against the one before and against itself."""
    row_id, stored_hash = row[_ID], row.pop()
    if row_id != walk.rows + 1:
        raise Fault(f"Row {walk.rows + 1} is missing: row {row_id} comes next.")
    if hash_values(row) != stored_hash:
        raise Fault(f"Row {row_id} was changed: its content does not give its hash.")
    if row[_PREVIOUS] != walk.head:
        raise Fault(f"Row {row_id} does not follow row {row_id - 1}.")
    attempt, kind = row[_ATTEMPT], row[_KIND]
    if kind == "reserve":
        if attempt in walk.open_attempts:
            raise Fault(f"Row {row_id} reserves an attempt that is already open.")
        walk.open_attempts.add(attempt)
    elif kind not in ("adjust", "grant"):
        if attempt not in walk.open_attempts:
            raise Fault(f"Row {row_id} closes an attempt that is not open.")
        walk.open_attempts.remove(attempt)
    walk.rows, walk.head = row_id, stored_hash


def _check_journal(walk: _Walk, row: list[Any]) -> None:
    """Check the journal's line about the row that was just found right."""
    line = walk.next_line
    if line is None:
        return
    if line.id != walk.rows:
        raise Fault(
            f"ledger.jsonl has row {line.id} where row {walk.rows} should stand "
            f"(line {line.number})."
        )
    if line.hash == walk.head and line.values != row:
        raise Fault(
            f"Line {line.number} of ledger.jsonl was changed: row {walk.rows} says "
            "something else."
        )
    if line.hash != walk.head:
        raise Fault(
            f"Row {walk.rows} is not the one that ledger.jsonl has "
            f"(line {line.number})."
        )
    walk.next_line = next(walk.journal, None)


def _check_end(walk: _Walk) -> None:
    """Check that the database did not lose its last rows."""
    line = walk.next_line
    if line is not None:
        raise Fault(
            f"The ledger was cut: ledger.jsonl knows row {line.id} "
            f"(line {line.number}), the database ends with row {walk.rows}."
        )
