"""The hash chain: the form in which a row is hashed, and the one way to append a row.

**Canonical form.** A row's ``hash`` is the SHA-256, in lower-case hexadecimal, of a
JSON array in ASCII without spaces: the word ``cortex-ledger-1``, then the values of
``FIELDS`` in that order. NULL is ``null`` and differs from the empty string; numbers
are decimal integers; truth values ``true`` and ``false``; UUIDs 32 lower-case
hexadecimal digits; times ``YYYY-MM-DD HH:MM:SS.ffffff`` in UTC. Characters outside
ASCII are escaped as ``\\uXXXX``. A field that a later version adds joins the array as
its name and value, and only where it is not NULL, so that earlier rows keep their
hashes.

**Chain.** ``previous_hash`` is the hash of the row before, 64 zeros for the first. Ids
count from 1 without gaps. Writers take turns: on SQLite by the immediate transaction,
on PostgreSQL by an advisory lock that is taken before the head is read and held until
the outermost transaction ends. So append last, in a short transaction.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from django.db import connection, models, transaction
from django.utils import timezone

from ledger import journal
from ledger.models import LedgerEntry

VERSION = "cortex-ledger-1"
GENESIS = "0" * 64
"""What the first row names as the hash before it."""
LOCK_KEY = 4_858_273_921_006_417
"""Key of the advisory lock on PostgreSQL; the insert guard takes the same one."""
FIELDS = (
    "id",
    "kind",
    "attempt_id",
    "created_at",
    "user_id",
    "user_name",
    "persona_id",
    "persona_name",
    "channel",
    "turn_id",
    "role",
    "host_type",
    "model_id",
    "model_name",
    "tier",
    "attempt_number",
    "outcome",
    "error_code",
    "elapsed_ms",
    "first_token_ms",
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "estimated",
    "billing",
    "input_price_nano_usd_per_mtok",
    "output_price_nano_usd_per_mtok",
    "cache_read_price_nano_usd_per_mtok",
    "cache_write_price_nano_usd_per_mtok",
    "reserved_nano_usd",
    "cost_nano_usd",
    "note",
    "previous_hash",
)
_ALL_FIELDS = LedgerEntry._meta.concrete_fields
_TEXT_FIELDS = [each for each in _ALL_FIELDS if isinstance(each, models.CharField)]
_TABLE = LedgerEntry._meta.db_table
_HEAD = f"SELECT id, hash FROM {_TABLE} ORDER BY id DESC LIMIT 1"  # noqa: S608
_COLUMNS = ", ".join(str(each.column) for each in _ALL_FIELDS)
_MARKS = ", ".join(["%s"] * len(_ALL_FIELDS))
_INSERT = f"INSERT INTO {_TABLE} ({_COLUMNS}) VALUES ({_MARKS})"  # noqa: S608
_encode = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


def canonical_time(value: datetime) -> str:
    """Write a time in UTC with all six digits of the microseconds."""
    return value.astimezone(UTC).isoformat(" ", "microseconds")[:26]


def canonical_value(value: Any) -> Any:
    """Turn one value into what the canonical form writes."""
    if isinstance(value, datetime):
        return canonical_time(value)
    if isinstance(value, uuid.UUID):
        return value.hex
    return value


def hash_values(values: Sequence[Any]) -> str:
    """Return the hash of canonical values that stand in the order of ``FIELDS``."""
    return hashlib.sha256(_encode([VERSION, *values]).encode("ascii")).hexdigest()


def hash_entry(entry: LedgerEntry) -> str:
    """Return the hash that the row must carry."""
    return hash_values([canonical_value(getattr(entry, name)) for name in FIELDS])


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
        value = str(getattr(entry, field.name))
        clean = value.replace("\0", "").encode("utf-8", "replace").decode("utf-8")
        setattr(entry, field.name, clean[: field.max_length])


def _insert(entry: LedgerEntry) -> None:
    """Insert the row by its own statement: it stands before every first token.

    The query compiler would take three times as long.
    """
    values = [
        field.get_db_prep_save(getattr(entry, field.attname), connection)
        for field in _ALL_FIELDS
    ]
    with connection.cursor() as cursor:
        cursor.execute(_INSERT, values)
    entry._state.adding = False
    entry._state.db = connection.alias


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
        _insert(entry)
        transaction.on_commit(lambda: journal.append(entry))
    return entry
