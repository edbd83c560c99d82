"""Attempts that were reserved and are not closed yet."""

from __future__ import annotations

import uuid
from datetime import datetime

from django.db.models import Exists, OuterRef, QuerySet

from ledger.models import LedgerEntry

CLOSINGS = (LedgerEntry.Kind.SETTLE, LedgerEntry.Kind.RELEASE)

_closed_up_to: tuple[int, str] = (0, "")
"""Id and hash of a row up to which this process has seen every attempt closed."""


def open_reserves() -> QuerySet[LedgerEntry]:
    """Return the ``reserve`` rows without a closing row."""
    closing = LedgerEntry.objects.filter(
        attempt_id=OuterRef("attempt_id"), kind__in=CLOSINGS
    )
    return LedgerEntry.objects.filter(~Exists(closing), kind=LedgerEntry.Kind.RESERVE)


def open_attempts(turn_id: uuid.UUID) -> list[LedgerEntry]:
    """Return the open ``reserve`` rows of a turn, oldest first.

    Whoever finds an answer that its process left behind settles these with what the
    kept text tells, before ``release_stale`` books them as unknown.
    """
    return list(open_reserves().filter(turn_id=turn_id).order_by("id"))


def older_than(moment: datetime) -> list[LedgerEntry]:
    """Return the open ``reserve`` rows written before ``moment``, oldest first.

    The ledger only grows and a closed attempt stays closed, so each process remembers
    how far everything is closed and looks only at the rows after that.
    """
    global _closed_up_to
    known_id, known_hash = _closed_up_to
    if not LedgerEntry.objects.filter(id=known_id, hash=known_hash).exists():
        known_id = 0
    head = LedgerEntry.objects.order_by("-id").values_list("id", "hash").first()
    rows = list(open_reserves().filter(id__gt=known_id).order_by("id"))
    if not rows:
        _closed_up_to = head or (0, "")
    else:
        before = LedgerEntry.objects.filter(id=rows[0].id - 1)
        _closed_up_to = before.values_list("id", "hash").first() or (0, "")
    return [row for row in rows if row.created_at < moment]
