"""Read ``ledger.jsonl`` back, a line at a time, as ``verify`` needs it.

After a lawful restore the lines of rows that were given up stay in the file; the
``restore`` line says up to which row the earlier ones still count.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from ledger import journal
from ledger.canonical import ADDED_FIELDS, FIELDS
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
        for number, line in _lines(file, size):
            if line.startswith(_MARKER):
                limit = limits.pop(0)
                continue
            row = _parse(line, number)
            if row.id <= limit:
                yield row


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
    restored: list[int] = []
    for number, line in _lines(file, size):
        if line.startswith(_MARKER):
            restored.append(_restored_id(line, number))
    limits = [_NO_LIMIT]
    for row_id in reversed(restored):
        limits.insert(0, min(row_id, limits[0]))
    return limits


def _load(line: bytes, number: int) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise JournalFault(f"Line {number} of ledger.jsonl cannot be read.")
    return found


def _restored_id(line: bytes, number: int) -> int:
    found = _load(line, number)
    row_id = found.get("id")
    if found.get("event") != "restore" or not isinstance(row_id, int):
        raise JournalFault(f"Line {number} of ledger.jsonl cannot be read.")
    return row_id


def _parse(line: bytes, number: int) -> JournalRow:
    """Read a row's line."""
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
