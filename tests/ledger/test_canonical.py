"""The canonical form and the hash."""

from __future__ import annotations

import hashlib
import uuid
from datetime import UTC, datetime, timedelta, timezone

import pytest

from ledger import canonical
from ledger.models import LedgerEntry
from tests.support.ledger import book


def known_row() -> LedgerEntry:
    """Return an unsaved row whose every kind of value is known."""
    return LedgerEntry(
        id=1,
        kind="settle",
        attempt_id=uuid.UUID(int=0xAB),
        created_at=datetime(2026, 1, 31, 12, 0, tzinfo=timezone(timedelta(hours=1))),
        user_id=7,
        user_name="alice",
        persona_name="",
        role="chat",
        host_type="builtin",
        model_id="Größe",
        model_name="m",
        outcome="complete",
        estimated=True,
        cost_nano_usd=5,
        previous_hash=canonical.GENESIS,
    )


CANONICAL = (
    '["cortex-ledger-1",1,"settle","000000000000000000000000000000ab",'
    '"2026-01-31 11:00:00.000000",7,"alice",null,"","",null,"chat","builtin",'
    '"Gr\\u00f6\\u00dfe","m",null,1,"complete","",null,null,null,null,null,null,true,'
    '"metered",null,null,null,null,null,5,"","' + "0" * 64 + '"]'
)


def test_hash_follows_the_documented_form() -> None:
    expected = hashlib.sha256(CANONICAL.encode("ascii")).hexdigest()
    assert canonical.hash_entry(known_row()) == expected


def test_null_and_empty_differ() -> None:
    assert canonical.hash_values([None]) != canonical.hash_values([""])
    assert canonical.hash_values([0]) != canonical.hash_values([False])


def test_time_is_the_same_in_every_zone() -> None:
    moment = datetime(2026, 1, 31, 12, 0, 0, 7, tzinfo=UTC)
    east = moment.astimezone(timezone(timedelta(hours=9)))
    assert canonical.canonical_time(moment) == "2026-01-31 12:00:00.000007"
    assert canonical.canonical_time(east) == canonical.canonical_time(moment)


@pytest.mark.django_db
def test_hash_of_a_stored_row_is_that_of_the_row_before_it_was_stored() -> None:
    book()
    for row in LedgerEntry.objects.all():
        assert canonical.hash_entry(row) == row.hash
