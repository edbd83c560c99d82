"""Moves rows of ``Delivery`` on: claimed, sent, tried again later, given up.

    pending → sending → sent
                      → pending again (with a pause that grows)
                      → failed
                      → unknown (it may have arrived, and asking again could double it)

Several processes may look for work at once: a claim is one transaction, holds for a
lease, and is fenced, so that whoever finishes after the lease was lost changes nothing.
Everything here is synchronous and belongs into ``routing.db_pool``; what sends stands
in ``channels_app.bots.outbox``, ``channels_app.webhooks`` and ``channels_app.mails``.

The pauses follow the Standard Webhooks specification ("Delivery", "Retry schedule").
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Generic, TypeVar

from django.db import transaction
from django.db.models import F, QuerySet
from django.db.models.expressions import RawSQL
from django.utils import timezone

from channels_app.models import (
    Delivery,
    InboundEvent,
    MailDelivery,
    OutboundReply,
    WebhookDelivery,
)

Row = TypeVar("Row", bound=Delivery)
State = Delivery.State

LEASE: Final = timedelta(seconds=60)
"""Nobody else takes a claimed row for so long."""
SEND_WITHIN_S: Final = 45.0
"""One attempt may take so long, so that its end is written within the lease."""
BACKOFF: Final = (5, 30, 180, 900, 3600, 7200, 10_800)
"""Seconds between attempts; some six hours in all."""
MAX_ATTEMPTS: Final = len(BACKOFF) + 1
JITTER: Final = 0.2
LONGEST_WAIT_S: Final = 6 * 3600.0
"""Whoever asks for a longer pause is tried again after this one."""
KEPT: Final = timedelta(days=100)
"""Events and deliveries recognise repetitions for so long."""
OPEN: Final = (State.PENDING, State.SENDING)
OPEN_LITERALLY: Final = [RawSQL(f"'{state.value}'", ()) for state in OPEN]  # noqa: S611
"""The same for conditions: only with literal states can SQLite use the indexes of what
is open, so that what was sent long ago costs nothing."""
ERROR_LENGTH: Final = 300
PURGED_AT_ONCE: Final = 1000
"""So many rows of a table are removed in one step."""


class DeliveryError(Exception):
    """Something was not sent, or nobody knows; ``str()`` is one safe sentence."""

    def __init__(
        self,
        sentence: str,
        *,
        status: int | None = None,
        retryable: bool = False,
        retry_after_s: float | None = None,
        may_have_arrived: bool = False,
    ) -> None:
        super().__init__(sentence)
        self.status = status
        self.retryable = retryable
        self.retry_after_s = retry_after_s
        self.may_have_arrived = may_have_arrived


@dataclass(frozen=True, slots=True)
class Claimed(Generic[Row]):
    """A row that this process may send now."""

    row: Row
    taken_over: bool
    """Somebody else had claimed it and never said how it ended."""


def due(rows: QuerySet[Row], now: datetime | None = None) -> QuerySet[Row]:
    """Return those of ``rows`` that somebody should send now.

    A row that is ``sending`` holds the end of its lease in ``next_at``.
    """
    now = now or timezone.now()
    return rows.filter(state__in=OPEN_LITERALLY, next_at__lte=now)


def claim_due(rows: QuerySet[Row], limit: int) -> list[Claimed[Row]]:
    """Claim up to ``limit`` of ``rows`` that are due, the longest waiting first.

    Counts the attempt. Rows that somebody else claims at this moment are left out.
    """
    if limit <= 0:
        return []
    with transaction.atomic():
        # Rows are chosen without a join, so that a lock concerns them alone.
        waiting = due(rows).select_for_update(skip_locked=True).order_by("next_at")
        return claim(list(waiting[:limit]))


def claim(rows: Sequence[Row]) -> list[Claimed[Row]]:
    """Claim rows that were found due and locked in this transaction."""
    now = timezone.now()
    if rows:
        type(rows[0])._default_manager.filter(pk__in=[row.pk for row in rows]).update(
            state=State.SENDING,
            claimed_at=now,
            next_at=now + LEASE,
            attempts=F("attempts") + 1,
        )
    return [_claimed(row, now) for row in rows]


def _claimed(row: Row, now: datetime) -> Claimed[Row]:
    taken_over = row.state == State.SENDING
    row.state, row.claimed_at, row.next_at = State.SENDING, now, now + LEASE
    row.attempts += 1
    return Claimed(row, taken_over)


def settle_sent(row: Delivery, **fields: Any) -> bool:
    """Note that it arrived; ``False`` when the claim was lost meanwhile."""
    return _settle(row, State.SENT, error="", sent_at=timezone.now(), **fields)


def settle_retry(
    row: Delivery, error: str, *, wait_s: float | None = None, **fields: Any
) -> bool:
    """Let it be tried again after a pause, at least ``wait_s`` long."""
    pause = timedelta(seconds=pause_s(row.attempts, wait_s))
    next_at = timezone.now() + pause
    return _settle(row, State.PENDING, error=error, next_at=next_at, **fields)


def settle_failed(row: Delivery, error: str, **fields: Any) -> bool:
    """Give it up; it did not arrive."""
    return _settle(row, State.FAILED, error=error, **fields)


def settle_unknown(row: Delivery, error: str, **fields: Any) -> bool:
    """Give it up; it may have arrived."""
    return _settle(row, State.UNKNOWN, error=error, **fields)


def settle_error(
    row: Delivery,
    error: DeliveryError,
    *,
    may_repeat: bool = True,
    arrived_before: bool = False,
    **fields: Any,
) -> str | None:
    """Note an attempt that failed; return the new state, ``None`` if the claim is lost.

    Args:
        may_repeat: Sending it once more does no harm should this one have arrived.
        arrived_before: An earlier attempt may have arrived, whatever this one did.
        fields: Further columns to write.
    """
    sentence, unsure = str(error), error.may_have_arrived
    fields["status"] = error.status
    again = may_repeat if unsure else error.retryable
    if again and row.attempts < MAX_ATTEMPTS:
        wait_s = error.retry_after_s
        kept = settle_retry(row, sentence, wait_s=wait_s, **fields)
        return State.PENDING if kept else None
    if unsure or arrived_before:
        return State.UNKNOWN if settle_unknown(row, sentence, **fields) else None
    return State.FAILED if settle_failed(row, sentence, **fields) else None


def _settle(row: Delivery, state: Delivery.State, *, error: str, **fields: Any) -> bool:
    """End a claim; the attempt's number and moment fence off who has lost it."""
    claim = type(row)._default_manager.filter(
        pk=row.pk,
        state=State.SENDING,
        attempts=row.attempts,
        claimed_at=row.claimed_at,
    )
    error = error[:ERROR_LENGTH]
    return bool(claim.update(state=state, claimed_at=None, error=error, **fields))


def pause_s(attempts: int, wait_s: float | None = None) -> float:
    """Return the seconds until the next attempt, after so many.

    ``wait_s`` is what the other side asked for: never earlier than that.
    """
    usual: float = BACKOFF[min(attempts, len(BACKOFF)) - 1]
    usual *= 1 + random.uniform(-JITTER, JITTER)  # noqa: S311 -- spreads load only
    return max(usual, min(wait_s or 0.0, LONGEST_WAIT_S))


def old_count() -> int:
    """Return how many rows ``purge_old`` would remove; costs little if it is none."""
    return sum(len(_old(rows, moment)) for rows, moment in _oldest_first())


def purge_old() -> int:
    """Remove events and deliveries of more than a hundred days ago; return how many.

    No more than ``PURGED_AT_ONCE`` of each kind; the next call goes on.
    """
    count = 0
    for rows, moment in _oldest_first():
        if old := _old(rows, moment):
            count += rows.model._default_manager.filter(pk__in=old).delete()[0]
    return count


def _oldest_first() -> Iterator[tuple[QuerySet[Any], str]]:
    # Ids of events grow with time, so that the oldest come first.
    yield InboundEvent.objects.order_by("pk"), "received_at"
    for model in (OutboundReply, WebhookDelivery, MailDelivery):
        yield model._default_manager.order_by("created_at"), "created_at"


def _old(rows: QuerySet[Any], moment: str) -> list[Any]:
    before = timezone.now() - KEPT
    oldest = rows.values_list("pk", moment)
    # One row tells whether there is anything; an idle look reads no more.
    if not any(then < before for _, then in oldest[:1]):
        return []
    return [pk for pk, then in oldest[:PURGED_AT_ONCE] if then < before]
