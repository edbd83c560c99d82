"""The calls that were booked for one answer, as the ledger has them."""

from __future__ import annotations

import uuid

from accounts.models import User
from ledger.models import LedgerEntry
from ledger.open_attempts import CLOSINGS


def attempts_of_turn(user: User, turn_id: uuid.UUID) -> list[LedgerEntry]:
    """Return one row for each of the person's calls for a turn, in their order.

    It is the row that closed the call, or its ``reserve`` row while none has. Calls
    that prepared the turn, as those of the classifier, are among them.
    """
    rows = LedgerEntry.objects.filter(
        user_id=user.pk,
        turn_id=turn_id,
        kind__in=(LedgerEntry.Kind.RESERVE, *CLOSINGS),
    )
    # A closing row comes after the row that it closes and takes its place.
    latest = {row.attempt_id: row for row in rows.order_by("id")}
    return list(latest.values())
