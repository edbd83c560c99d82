"""``ledger.jsonl``: the ledger's second home, outside the database.

Each row is appended after its commit, one JSON object a line, in the order of the ids.
The file makes a cut tail of the database visible: ``manage.py ledger verify`` compares
the two. It holds amounts and names of people, models and personas, but no text.

Writers take turns by ``flock``. Whoever writes row N first writes the rows between the
last line and N that others have committed but not yet written, so the file has neither
gaps nor doubles. A failure to write never fails the call that is being booked: it is
logged, and the next append or ``fill_gaps`` (the worker's tick) catches up. A line that
was cut by a crash is taken off before the next one is written.

A lawful restore of an older database leaves a line of its own
(``ledger.restores.mark``), after which later lines replace earlier ones.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import Error

from ledger.models import LedgerEntry
from ledger.records import journal_record

FILE_NAME = "ledger.jsonl"
BATCH_ROWS = 1000
_TAIL_BYTES = 8192
_encode = json.JSONEncoder(separators=(",", ":")).encode
log = logging.getLogger(__name__)


def path() -> Path:
    """Return where the journal stands."""
    return Path(settings.DATA_DIR) / FILE_NAME


@contextmanager
def locked() -> Iterator[int]:
    """Open the journal for this writer alone and yield its descriptor."""
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
    descriptor = os.open(path(), flags, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


def _last_line(descriptor: int) -> bytes:
    """Return the last complete line; take off what a crash left behind it."""
    line, end = _tail(descriptor)
    if end < os.fstat(descriptor).st_size:
        os.ftruncate(descriptor, end)
    return line


def _tail(descriptor: int) -> tuple[bytes, int]:
    """Return the last complete line and where it ends."""
    size = os.fstat(descriptor).st_size
    wanted = _TAIL_BYTES
    while True:
        start = max(0, size - wanted)
        tail = os.pread(descriptor, size - start, start)
        end = tail.rfind(b"\n") + 1
        begin = tail.rfind(b"\n", 0, max(0, end - 1)) + 1
        if (begin and end) or start == 0:
            return tail[begin:end], start + end
        wanted *= 8


def last() -> tuple[int, str]:
    """Return id and hash of the row that the journal ends with; changes nothing.

    An empty or missing file ends with row 0, which has no hash.

    Raises:
        OSError: It cannot be read.
        ValueError: Its last line is damaged.
    """
    try:
        descriptor = os.open(path(), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return 0, ""
    try:
        line, _ = _tail(descriptor)
    finally:
        os.close(descriptor)
    return _row_of(line)


def _row_of(line: bytes) -> tuple[int, str]:
    if not line.strip():
        return 0, ""
    try:
        found = json.loads(line)
        return int(found["id"]), str(found["hash"])
    except (KeyError, TypeError, ValueError):
        raise ValueError(f"The last line of {FILE_NAME} cannot be read.") from None


def last_id_in(descriptor: int) -> int:
    """Return the id of the row that the journal ends with; 0 when it is empty.

    Raises:
        OSError: It cannot be read.
        ValueError: Its last line is damaged.
    """
    return _row_of(_last_line(descriptor))[0]


def write(descriptor: int, records: Iterable[dict[str, Any]]) -> None:
    """Append the records as lines, all of them."""
    data = memoryview(b"".join(_encode(each).encode() + b"\n" for each in records))
    while data:
        data = data[os.write(descriptor, data) :]


def _rows_between(after: int, before: int) -> Iterator[LedgerEntry]:
    rows = LedgerEntry.objects.filter(id__gt=after, id__lt=before).order_by("id")
    return rows.iterator(chunk_size=BATCH_ROWS)


def append(entry: LedgerEntry) -> None:
    """Write the committed row, after the earlier ones that are not there yet.

    Never raises for want of a disk or of the database, which is asked for rows that
    others left out: this row is committed, and the next append or the tick catches up.
    """
    try:
        with locked() as descriptor:
            last = last_id_in(descriptor)
            if last >= entry.id:
                return
            if last + 1 < entry.id:
                catch_up(descriptor, last, entry.id)
            write(descriptor, [journal_record(entry)])
    except (OSError, ValueError, Error) as error:
        log.error("Row %d is not yet in %s: %s", entry.id, FILE_NAME, error)


def catch_up(descriptor: int, last: int, before: int) -> int:
    """Write the rows between, in batches; return how many."""
    written = 0
    batch: list[dict[str, Any]] = []
    for row in _rows_between(last, before):
        batch.append(journal_record(row))
        if len(batch) == BATCH_ROWS:
            write(descriptor, batch)
            written += len(batch)
            batch = []
    write(descriptor, batch)
    return written + len(batch)


def fill_gaps() -> int:
    """Write the rows that the journal lacks at its end; return how many.

    Idempotent, and cheap when nothing is missing.

    Raises:
        OSError: The file cannot be written.
        ValueError: Its last line is damaged.
    """
    head_id = LedgerEntry.objects.order_by("-id").values_list("id", flat=True).first()
    if not head_id:
        return 0
    with locked() as descriptor:
        last = last_id_in(descriptor)
        return catch_up(descriptor, last, head_id + 1) if last < head_id else 0
