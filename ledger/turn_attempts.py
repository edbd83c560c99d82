"""The calls that were booked for one answer, as the ledger has them."""

from __future__ import annotations

import uuid
from collections.abc import Collection

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


def cost_of_turns(turns: Collection[uuid.UUID]) -> int | None:
    """Return what all calls of these turns cost together, in nano-dollars.

    ``None`` while one of them is open, or when the cost of one is unknown.
    """
    rows = LedgerEntry.objects.filter(turn_id__in=turns)
    is_open: dict[uuid.UUID, bool] = {}
    total = 0
    columns = ("attempt_id", "kind", "cost_nano_usd")
    for attempt, kind, cost in rows.order_by("id").values_list(*columns):
        is_open[attempt] = kind == LedgerEntry.Kind.RESERVE
        if not is_open[attempt]:
            if cost is None:
                return None
            total += cost  # an adjustment holds the difference
    return None if any(is_open.values()) else total


def charged_to_turns(turns: Collection[uuid.UUID]) -> int | None:
    """Return what calls of these turns have cost that are paid one by one.

    In nano-dollars. One that is open counts with what was reserved for it, which is
    the most that it may cost. ``None`` when the cost of one is unknown.
    """
    rows = LedgerEntry.objects.filter(
        turn_id__in=turns, billing=LedgerEntry.Billing.METERED
    )
    amounts: dict[uuid.UUID, list[int | None]] = {}
    for row in rows.order_by("id"):
        if row.kind == LedgerEntry.Kind.RESERVE:
            amounts[row.attempt_id] = [row.reserved_nano_usd]
        elif row.kind == LedgerEntry.Kind.ADJUST:  # holds the difference
            amounts[row.attempt_id].append(row.cost_nano_usd)
        else:
            amounts[row.attempt_id] = [row.cost_nano_usd]
    charged = [each for call in amounts.values() for each in call]
    known = [each for each in charged if each is not None]
    return sum(known) if len(known) == len(charged) else None
