"""The canonical form of a row, and its hash.

A row's ``hash`` is the SHA-256, in lower-case hexadecimal, of a JSON array in ASCII
without spaces: the word ``cortex-ledger-1``, then the values of ``FIELDS`` in that
order. NULL is ``null`` and differs from the empty string; numbers are decimal integers;
truth values ``true`` and ``false``; UUIDs 32 lower-case hexadecimal digits; times
``YYYY-MM-DD HH:MM:SS.ffffff`` in UTC. Characters outside ASCII are escaped as
``\\uXXXX``. A field that a later version adds joins the array as its name and value,
and only where it is not NULL, so that earlier rows keep their hashes.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from ledger.models import LedgerEntry

VERSION = "cortex-ledger-1"
GENESIS = "0" * 64
"""What the first row names as the hash before it."""
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
"""The columns that every row hashes, in this order."""
ADDED_FIELDS = ("background", "budget", "granted_nano_usd")
"""Columns of later versions; only those that are not NULL are hashed."""
ALL_FIELDS = FIELDS + ADDED_FIELDS
"""Every column but ``hash``."""
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
    """Return the hash of canonical values that stand in the order of ``ALL_FIELDS``."""
    added = zip(ADDED_FIELDS, values[len(FIELDS) :], strict=False)
    pairs = [pair for pair in added if pair[1] is not None]
    form = [VERSION, *values[: len(FIELDS)], *itertools.chain(*pairs)]
    return hashlib.sha256(_encode(form).encode("ascii")).hexdigest()


def canonical_values(entry: LedgerEntry) -> list[Any]:
    """Return the row's canonical values in the order of ``ALL_FIELDS``."""
    return [canonical_value(getattr(entry, name)) for name in ALL_FIELDS]


def hash_entry(entry: LedgerEntry) -> str:
    """Return the hash that the row must carry."""
    return hash_values(canonical_values(entry))
