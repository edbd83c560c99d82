"""Rows that an earlier version wrote stay right when columns are added."""

from __future__ import annotations

import hashlib
import json
import uuid
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection

from accounts.models import User
from ledger import budgets, journal, triggers
from ledger.models import Budget, LedgerEntry
from ledger.verify import verify
from tests.support.ledger import book

OLD_COLUMNS = [
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
]
"""What the first version hashed; written out here, so that no change reaches it."""


def old_row(row_id: int, kind: str, previous_hash: str) -> dict[str, Any]:
    """Return a row as the first version made it."""
    closed = kind == "settle"
    return {
        "id": row_id,
        "kind": kind,
        "attempt_id": uuid.UUID(int=(row_id + 1) // 2).hex,
        "created_at": f"2026-01-31 12:00:0{row_id}.000000",
        "user_id": 7,
        "user_name": "alice",
        "persona_id": None,
        "persona_name": "",
        "channel": "web",
        "turn_id": uuid.UUID(int=99).hex,
        "role": "chat",
        "host_type": "anthropic_api",
        "model_id": "Größe",
        "model_name": "claude-haiku-4-5",
        "tier": 1,
        "attempt_number": 1,
        "outcome": "complete" if closed else "",
        "error_code": "",
        "elapsed_ms": 1500 if closed else None,
        "first_token_ms": None,
        "input_tokens": 10 if closed else None,
        "output_tokens": 2 if closed else None,
        "cache_read_tokens": None,
        "cache_write_tokens": None,
        "estimated": closed,
        "billing": "metered",
        "input_price_nano_usd_per_mtok": 3_000_000_000,
        "output_price_nano_usd_per_mtok": 15_000_000_000,
        "cache_read_price_nano_usd_per_mtok": None,
        "cache_write_price_nano_usd_per_mtok": None,
        "reserved_nano_usd": 4_500_000,
        "cost_nano_usd": 60_000 if closed else None,
        "note": "",
        "previous_hash": previous_hash,
    }


def old_hash(row: dict[str, Any]) -> str:
    """Hash a row as the first version did."""
    form = ["cortex-ledger-1", *(row[name] for name in OLD_COLUMNS)]
    text = json.dumps(form, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def insert_old_rows() -> list[str]:
    """Write two calls as the first version did; return their hashes."""
    hashes = ["0" * 64]
    names = [*OLD_COLUMNS, "hash"]
    marks = ", ".join(["%s"] * len(names))
    for row_id, kind in enumerate(("reserve", "settle") * 2, start=1):
        row = old_row(row_id, kind, hashes[-1])
        hashes.append(old_hash(row))
        values = [*row.values(), hashes[-1]]
        if connection.vendor == "postgresql":
            values[names.index("created_at")] += "+00:00"
        with connection.cursor() as cursor:
            cursor.execute(
                f"INSERT INTO {triggers.TABLE} ({', '.join(names)}) VALUES ({marks})",
                values,
            )
    return hashes[1:]


@pytest.mark.django_db(transaction=True)
def test_a_chain_of_the_first_version_verifies_and_goes_on(alice: User) -> None:
    call_command("migrate", "ledger", "0002", verbosity=0, skip_checks=True)
    try:
        assert triggers.missing(connection) == []
        hashes = insert_old_rows()
    finally:
        call_command("migrate", "ledger", verbosity=0, skip_checks=True)
    assert triggers.missing(connection) == []
    stored = LedgerEntry.objects.order_by("id").values_list("hash", flat=True)
    assert list(stored) == hashes
    assert (verify().rows, verify().fault) == (4, None)
    assert journal.fill_gaps() == 4
    Budget.objects.create(user=alice, period="day", limit_nano_usd=10**9)
    book(alice)
    book(alice, background=True)
    budgets.grant(alice, 5)
    result = verify()
    assert (result.rows, result.fault) == (9, None)
    first, *_, last = journal.path().read_text().splitlines()
    assert "background" not in first  # a line of the first version has no such field
    assert '"granted_nano_usd":5' in last
