"""Read ``ledger.jsonl`` back, a line at a time, as ``verify`` needs it.

After a lawful restore the lines of rows that were given up stay in the file; a line
about the restore (``ledger.restores``) says up to which row the earlier ones still
count.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from ledger import journal
from ledger.canonical import ADDED_FIELDS, FIELDS, GENESIS
from ledger.records import NAMES

_MARKER = b'{"event":'
_NO_LIMIT = 2**63
_TIME, _ATTEMPT, _TURN = map(FIELDS.index, ("created_at", "attempt_id", "turn_id"))


class JournalFault(Exception):
    """A line cannot be right; the text is one sentence."""


@dataclass(frozen=True, slots=True)
class JournalRow:
    """What a line says about a row that still counts."""

    id: int
    hash: str
    number: int
    """The line's number in the file, from 1."""
    values: list[Any]
    """The row's canonical values in the order of ``ALL_FIELDS``."""


@dataclass(frozen=True, slots=True)
class Restore:
    """What a line says about a lawful restore."""

    number: int
    """The line's number in the file, from 1."""
    timestamp: str
    id: int
    """The row from which the database went on; 0 = from none."""
    hash: str


def journal_rows() -> Iterator[JournalRow]:
    """Return the rows of the journal as it is now, in file order.

    The file's length is taken at once, not at the first row. A missing file has no
    rows. Iterating raises ``JournalFault`` at a line that is damaged.
    """
    try:
        size = journal.path().stat().st_size
    except FileNotFoundError:
        return iter(())
    return _rows(size)


def _rows(size: int) -> Iterator[JournalRow]:
    with open(journal.path(), "rb") as file:
        limits = _limits(file, size)
    with open(journal.path(), "rb") as file:
        limit = limits.pop(0)
        last = (0, GENESIS)
        for number, line in _lines(file, size):
            if line.startswith(_MARKER):
                limit = limits.pop(0)
                _check_restore(_parse_restore(line, number), limit, last)
                continue
            row = parse_row(line, number)
            if row.id <= limit:
                last = (row.id, row.hash)
                yield row


def _check_restore(restore: Restore, limit: int, last: tuple[int, str]) -> None:
    """Check that a restore which still counts went on from the row before it."""
    if restore.id <= limit and (restore.id, restore.hash) != last:
        raise JournalFault(
            f"Line {restore.number} of ledger.jsonl says that a restore went on from "
            f"row {restore.id}, which is not the row before it."
        )


def restores() -> list[Restore]:
    """Return what the journal says about lawful restores, oldest first.

    Raises:
        JournalFault: A line about one is damaged.
    """
    try:
        size = journal.path().stat().st_size
        with open(journal.path(), "rb") as file:
            return _restores(file, size)
    except FileNotFoundError:
        return []


def _restores(file: BinaryIO, size: int) -> list[Restore]:
    return [
        _parse_restore(line, number)
        for number, line in _lines(file, size)
        if line.startswith(_MARKER)
    ]


def _lines(file: BinaryIO, size: int) -> Iterator[tuple[int, bytes]]:
    """Yield the complete lines among the first ``size`` bytes with their numbers."""
    position = 0
    for number, line in enumerate(file, start=1):
        position += len(line)
        if position > size or not line.endswith(b"\n"):
            return
        yield number, line


def _limits(file: BinaryIO, size: int) -> list[int]:
    """Return, for each stretch between restore lines, the last row that counts."""
    limits = [_NO_LIMIT]
    for restore in reversed(_restores(file, size)):
        limits.append(min(restore.id, limits[-1]))
    return limits[::-1]


def _load(line: bytes, number: int) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise JournalFault(f"Line {number} of ledger.jsonl cannot be read.")
    return found


def _parse_restore(line: bytes, number: int) -> Restore:
    found = _load(line, number)
    row_id, row_hash = found.get("id"), found.get("hash")
    if found.get("event") != "restore" or not isinstance(row_id, int):
        raise JournalFault(f"Line {number} of ledger.jsonl cannot be read.")
    return Restore(number, str(found.get("timestamp", "")), row_id, str(row_hash))


def parse_row(line: bytes, number: int = 0) -> JournalRow:
    """Read a row's line.

    Raises:
        JournalFault: It cannot be right.
    """
    found = _load(line, number)
    try:
        values = [found[name] for name in NAMES.values()]
        values += [found.get(name) for name in ADDED_FIELDS]
        values[_TIME] = values[_TIME].replace("T", " ", 1).removesuffix("Z")
        values[_ATTEMPT] = values[_ATTEMPT].replace("-", "")
        if values[_TURN] is not None:
            values[_TURN] = values[_TURN].replace("-", "")
        return JournalRow(found["id"], found["hash"], number, values)
    except (KeyError, TypeError, AttributeError):
        raise JournalFault(f"Line {number} of ledger.jsonl cannot be read.") from None
