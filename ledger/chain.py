"""The hash chain: the one way to append a row.

``previous_hash`` is the hash of the row before, 64 zeros for the first. Ids count
from 1 without gaps. Writers take turns: on SQLite by the immediate transaction, on
PostgreSQL by an advisory lock that is taken before the head is read and held until the
outermost transaction ends. So append last, in a short transaction.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from django.db import Error, connection, models, transaction
from django.utils import timezone

from accounts.inserts import Batch, insert
from ledger import journal
from ledger.canonical import (
    ALL_FIELDS,
    GENESIS,
    canonical_values,
    hash_entry,
    hash_values,
)
from ledger.models import LedgerEntry
from ledger.triggers import LOCK_KEY, TABLE

log = logging.getLogger(__name__)
_TEXT_FIELDS = [
    field
    for field in LedgerEntry._meta.concrete_fields
    if isinstance(field, models.CharField)
]
_PLACES = {name: at for at, name in enumerate(ALL_FIELDS)}
_HEAD = f"SELECT id, hash FROM {TABLE} ORDER BY id DESC LIMIT 1"  # noqa: S608


def lock() -> None:
    """Make other writers wait until the current transaction ends.

    SQLite needs no statement: the transaction was begun as an immediate one.
    """
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK_KEY])


def head() -> tuple[int, str]:
    """Return id and hash of the last row; ``(0, GENESIS)`` when there is none."""
    with connection.cursor() as cursor:
        cursor.execute(_HEAD)
        return cursor.fetchone() or (0, GENESIS)


def _storable(entry: LedgerEntry) -> None:
    """Cut texts to what every database takes, so that money is never lost to a name.

    PostgreSQL refuses texts that are too long, NUL characters and lone surrogates.
    """
    for field in _TEXT_FIELDS:
        value = getattr(entry, field.name)
        if value is None:
            continue
        clean = str(value).replace("\0", "").encode("utf-8", "replace").decode("utf-8")
        setattr(entry, field.name, clean[: field.max_length])


def append(entry: LedgerEntry) -> LedgerEntry:
    """Link the unsaved row to the head and insert it; the journal follows the commit.

    Runs in the caller's transaction, or in one of its own. Nobody else can append
    until that transaction ends.
    """
    _storable(entry)
    with transaction.atomic(savepoint=False):
        lock()
        last_id, last_hash = head()
        entry.id = last_id + 1
        entry.previous_hash = last_hash
        entry.created_at = timezone.now()
        entry.hash = hash_entry(entry)
        insert(entry)
        transaction.on_commit(lambda: journal.append(entry))
    return entry


class History:
    """Rows that tell of the past, ready to be appended; they keep their own times.

    Making it does what takes time: do it before ``lock``.
    """

    def __init__(self, entries: Sequence[LedgerEntry]) -> None:
        for entry in entries:
            _storable(entry)
        self._batch = Batch(entries)
        self._values = [canonical_values(entry) for entry in entries]

    def append(self) -> None:
        """Link the rows to the head and insert them; the journal follows the commit.

        Call it once, in a transaction and after ``lock``: nobody else can append until
        that ends.
        """
        last_id, last_hash = head()
        for at, values in enumerate(self._values):
            last_id += 1
            link = {"id": last_id, "previous_hash": last_hash}
            for name, value in link.items():
                values[_PLACES[name]] = value
            last_hash = hash_values(values)
            self._batch.change(at, link | {"hash": last_hash})
        self._batch.insert()
        transaction.on_commit(_journal_history)


def _journal_history() -> None:
    """Write the new rows to the journal; where that fails, the tick catches up."""
    try:
        journal.fill_gaps()
    except (OSError, ValueError, KeyError, TypeError, Error) as error:
        log.error("Imported rows are not yet in %s: %s", journal.FILE_NAME, error)
