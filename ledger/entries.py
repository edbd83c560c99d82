"""Write the ledger: reserve before a call, close it once after, correct it later.

Every function is synchronous and short; call them in the database pool. Each runs in a
transaction of its own unless the caller has one, and the row reaches ``ledger.jsonl``
after the commit. An attempt that reached a model is settled, also when it failed; one
that never left the house is released.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import timedelta

from django.db import transaction
from django.utils import timezone

from accounts.inserts import insert
from ledger import budgets, chain, previews
from ledger.canonical import ALL_FIELDS
from ledger.errors import AlreadyClosed, NotReserved
from ledger.models import LedgerEntry
from ledger.money import MAX_NANO_USD, cost_of, usable_tokens
from ledger.open_attempts import CLOSINGS, older_than, open_attempts
from ledger.types import Cost, Prices, Reservation, Settlement

__all__ = [
    "ABANDONED",
    "adjust",
    "open_attempts",
    "release",
    "release_stale",
    "reserve",
    "settle",
]

ABANDONED = "abandoned"
"""Error code of a reservation whose process died."""
_OF_ONE_ROW = {
    "id",
    "kind",
    "created_at",
    "outcome",
    "error_code",
    "elapsed_ms",
    "first_token_ms",
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "estimated",
    "cost_nano_usd",
    "note",
    "budget",
    "granted_nano_usd",
    "previous_hash",
}
_COPIED = [name for name in ALL_FIELDS if name not in _OF_ONE_ROW]
"""What every row about an attempt says again: who asked whom, at which prices."""


def reserve(reservation: Reservation) -> None:
    """Write the row that must stand before a call leaves the house.

    Budget check and row are one transaction, so parallel calls cannot overspend.

    Raises:
        BudgetExceeded: The call does not fit; nothing was written.
        IntegrityError: The attempt has been reserved before.
    """
    caller, prices = reservation.caller, reservation.prices
    reserved = budgets.estimate(reservation)
    entry = LedgerEntry(
        kind=LedgerEntry.Kind.RESERVE,
        attempt_id=reservation.attempt_id,
        user_id=caller.user_id,
        user_name=caller.user_name,
        persona_id=caller.persona_id,
        persona_name=caller.persona_name,
        channel=caller.channel,
        turn_id=caller.turn_id,
        role=reservation.role,
        host_type=reservation.host_type,
        model_id=reservation.model_id,
        model_name=reservation.model_name,
        tier=reservation.tier,
        attempt_number=reservation.attempt_number,
        billing=reservation.billing,
        input_price_nano_usd_per_mtok=prices.input,
        output_price_nano_usd_per_mtok=prices.output,
        cache_read_price_nano_usd_per_mtok=prices.cache_read,
        cache_write_price_nano_usd_per_mtok=prices.cache_write,
        reserved_nano_usd=reserved,
        background=True if reservation.background else None,
    )
    preview = None
    if reservation.preview and caller.user_id is not None:
        preview = previews.seal(
            reservation.attempt_id, caller.user_id, reservation.preview
        )
    with transaction.atomic():
        chain.lock()
        budgets.check(reservation, reserved)
        if preview is not None:
            insert(preview)
        chain.append(entry)


def settle(attempt_id: uuid.UUID, settlement: Settlement) -> Cost:
    """Close an attempt with what it used, and return what it cost.

    Prices are those of the reservation. Counts that cannot be true (negative, above
    10¹²) are booked as unknown.

    Raises:
        NotReserved: There is no reservation.
        AlreadyClosed: It was closed before; the first closing stands.
    """
    with transaction.atomic():
        opened = _open_row(attempt_id)
        cost = cost_of(prices_of(opened), settlement)
        entry = _follow_up(opened, LedgerEntry.Kind.SETTLE)
        entry.outcome = settlement.outcome
        entry.error_code = settlement.error_code
        entry.elapsed_ms = settlement.elapsed_ms
        entry.first_token_ms = settlement.first_token_ms
        entry.input_tokens = usable_tokens(settlement.input_tokens)
        entry.output_tokens = usable_tokens(settlement.output_tokens)
        entry.cache_read_tokens = usable_tokens(settlement.cache_read_tokens)
        entry.cache_write_tokens = usable_tokens(settlement.cache_write_tokens)
        entry.estimated = cost.estimated
        entry.cost_nano_usd = cost.cost_nano_usd
        chain.append(entry)
    return cost


def release(
    attempt_id: uuid.UUID, error_code: str = "", *, elapsed_ms: int | None = None
) -> None:
    """Close an attempt that never reached a model: no tokens, no cost.

    Raises ``NotReserved`` and ``AlreadyClosed`` like ``settle``.
    """
    with transaction.atomic():
        entry = _follow_up(_open_row(attempt_id), LedgerEntry.Kind.RELEASE)
        entry.outcome = LedgerEntry.Outcome.FAILED
        entry.error_code = error_code
        entry.elapsed_ms = elapsed_ms
        entry.input_tokens = entry.output_tokens = entry.cost_nano_usd = 0
        chain.append(entry)


def adjust(
    attempt_id: uuid.UUID,
    *,
    note: str,
    cost_nano_usd: int,
    input_tokens: int | None = None,
    output_tokens: int | None = None,
) -> None:
    """Correct a closed attempt by a further row that holds only the differences.

    ``cost_nano_usd`` and the token counts are added to what is booked and may be
    negative. Raises ``NotReserved`` when the attempt is not closed.
    """
    if abs(cost_nano_usd) > MAX_NANO_USD:
        raise ValueError("The correction is too large.")
    with transaction.atomic():
        chain.lock()
        rows = LedgerEntry.objects.filter(attempt_id=attempt_id, kind__in=CLOSINGS)
        closing = rows.first()
        if closing is None:
            raise NotReserved(f"Attempt {attempt_id} is not closed yet.")
        entry = _follow_up(closing, LedgerEntry.Kind.ADJUST)
        entry.note = note
        entry.cost_nano_usd = cost_nano_usd
        entry.input_tokens = input_tokens
        entry.output_tokens = output_tokens
        chain.append(entry)


def release_stale(
    older_than_s: float,
    is_alive: Callable[[uuid.UUID | None], bool] = lambda turn_id: False,
) -> int:
    """Close reservations that a dead process left open; return how many.

    What such a call used is unknown, and so is its cost unless it is free; it is
    booked as interrupted. ``is_alive`` gets the turn's id and spares a call that is
    still running. For the worker's tick.
    """
    count = 0
    for row in older_than(timezone.now() - timedelta(seconds=older_than_s)):
        if is_alive(row.turn_id):
            continue
        try:
            _abandon(row.attempt_id)
        except AlreadyClosed:
            continue
        count += 1
    return count


def _abandon(attempt_id: uuid.UUID) -> None:
    """Close an attempt about whose end nothing is known."""
    with transaction.atomic():
        opened = _open_row(attempt_id)
        nothing_known = Settlement(outcome="interrupted", elapsed_ms=0)
        entry = _follow_up(opened, LedgerEntry.Kind.RELEASE)
        entry.outcome = LedgerEntry.Outcome.INTERRUPTED
        entry.error_code = ABANDONED
        entry.cost_nano_usd = cost_of(prices_of(opened), nothing_known).cost_nano_usd
        chain.append(entry)


def prices_of(entry: LedgerEntry) -> Prices:
    """Return the prices that were copied into a row."""
    return Prices(
        input=entry.input_price_nano_usd_per_mtok,
        output=entry.output_price_nano_usd_per_mtok,
        cache_read=entry.cache_read_price_nano_usd_per_mtok,
        cache_write=entry.cache_write_price_nano_usd_per_mtok,
    )


def _open_row(attempt_id: uuid.UUID) -> LedgerEntry:
    """Return the reservation that is to be closed, under the chain's lock."""
    chain.lock()
    rows = LedgerEntry.objects.filter(attempt_id=attempt_id).order_by("id")
    opened = None
    for row in rows:
        if row.kind == LedgerEntry.Kind.RESERVE:
            opened = row
        elif row.kind in CLOSINGS:
            raise AlreadyClosed(f"Attempt {attempt_id} is already closed.")
    if opened is None:
        raise NotReserved(f"Attempt {attempt_id} was never reserved.")
    return opened


def _follow_up(row: LedgerEntry, kind: LedgerEntry.Kind) -> LedgerEntry:
    """Return an unsaved row about the same attempt."""
    return LedgerEntry(kind=kind, **{name: getattr(row, name) for name in _COPIED})
