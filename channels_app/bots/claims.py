"""Which event is worked at by whom: one at a time in each room, in order of arrival.

An event is claimed in the database before anybody works at it, so that processes never
share one. A claim holds for a lease, is refreshed while its process lives, and counts
as an attempt; the number of the attempt is its fence: who has lost the claim changes
nothing any more. Only the first open event of a room can be claimed. What stops an
answer has a lane of its own in each room, because it must not wait behind the answer.

Everything here is synchronous and belongs into ``routing.db_pool``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django.db import connection
from django.db.models import DateTimeField, Q
from django.utils import timezone

from accounts.transactions import quick_transaction
from channels_app.bots.inbox import STOP
from channels_app.models import InboundEvent

LEASE: Final = timedelta(seconds=30)
"""Nobody else takes a claimed event for so long after it was last refreshed."""
REFRESH_EVERY_S: Final = 10.0
MAX_ATTEMPTS: Final = 5
"""After so many attempts that did not end, an event is given up."""
SYNC_WITHIN: Final = timedelta(seconds=30)
"""A response that carries the answer itself may still be waited for so long."""
ROOMS_PER_CHANNEL: Final = 8
"""Rooms of one channel that are answered at the same moment in a process."""
ROOMS_AT_ONCE: Final = 64
"""Rooms of all channels together."""
_LOOK_AT: Final = 256

State = InboundEvent.State
_EVENTS = InboundEvent._meta.db_table
# Literal states let every database use the indexes of open events, so that old ones
# cost nothing.
_OPEN = f"state IN ('{State.RECEIVED.value}', '{State.PROCESSING.value}')"
_LANES = f"""
SELECT MIN(id) AS id FROM {_EVENTS} WHERE {_OPEN} AND kind <> '{STOP}'
{{where}} GROUP BY channel_id, room_id
UNION ALL SELECT MIN(id) FROM {_EVENTS} WHERE {_OPEN} AND kind = '{STOP}'
{{where}} GROUP BY channel_id, room_id
"""  # noqa: S608  nothing in it comes from outside
_HEADS = f"""
SELECT id, channel_id, room_id, kind, attempts FROM (
  SELECT event.id, event.channel_id, event.room_id, event.kind, event.attempts,
    ROW_NUMBER() OVER (PARTITION BY event.channel_id ORDER BY event.id) AS place
  FROM {_EVENTS} AS event JOIN ({_LANES.format(where="")}) AS head
    ON head.id = event.id
  WHERE (event.state = '{State.RECEIVED.value}' AND event.next_at <= %s)
    OR (event.state = '{State.PROCESSING.value}' AND event.claimed_at <= %s)
) AS due
WHERE place <= {ROOMS_PER_CHANNEL * 2}
ORDER BY place, id LIMIT {_LOOK_AT}
"""  # noqa: S608  nothing in it comes from outside
_SOME = f"""
SELECT 1 FROM {_EVENTS} WHERE {_OPEN} AND next_at > '2000-01-01' AND (
  (state = '{State.RECEIVED.value}' AND next_at <= %s)
  OR (state = '{State.PROCESSING.value}' AND claimed_at <= %s)
) LIMIT 1
"""  # noqa: S608  nothing in it comes from outside
_FIRST = _LANES.format(where="AND channel_id = %s AND room_id = %s")
_DATETIME: DateTimeField[Any, Any] = DateTimeField()


@dataclass(frozen=True, slots=True)
class Claim:
    """An event that this process may work at."""

    event_id: int
    channel_id: int
    room_id: str
    kind: str
    attempt: int
    """From 1; the claim's fence."""


@dataclass(frozen=True, slots=True)
class _Head:
    """The first open event of a lane, if it is due."""

    event_id: int
    channel_id: int
    room_id: str
    kind: str
    attempts: int
    """How many there were before."""


def some_are_due() -> bool:
    """Say whether some event may be claimed, with one cheap query."""
    now = timezone.now()
    with connection.cursor() as cursor:
        cursor.execute(_SOME, _moments(now, now - LEASE))
        return cursor.fetchone() is not None


def claim_due(
    running: Mapping[int, int], *, waited: timedelta = timedelta(0)
) -> list[Claim]:
    """Claim what this process has room for, in turn from each channel.

    Args:
        running: How many rooms of each channel this process answers already.
        waited: Leave what has become due more recently to whoever received it.
    """
    now = timezone.now()
    heads = _due_heads(now - waited, now - LEASE)
    if waited and heads:
        heads = _without_awaited(heads, now)
    heads = _chosen(heads, running)
    if not heads:  # nobody takes a lock for nothing
        return []
    with quick_transaction():
        return _claim(heads, now)


def claim_next(channel_id: int, room_id: str) -> Claim | None:
    """Claim the event of a room whose turn it is now, if there is one."""
    now = timezone.now()
    with connection.cursor() as cursor:
        cursor.execute(_FIRST, [channel_id, room_id] * 2)
        first = [pk for (pk,) in cursor.fetchall()]
    rows = InboundEvent.objects.filter(_due(now - LEASE, now), pk__in=first)
    columns = ("pk", "channel_id", "room_id", "kind", "attempts")
    heads = [_Head(*row) for row in rows.values_list(*columns)] if first else []
    if not heads:
        return None
    with quick_transaction():
        claims = _claim(heads[:1], now)
    return claims[0] if claims else None


def _due(lease_end: datetime, now: datetime) -> Q:
    return Q(state=State.RECEIVED, next_at__lte=now) | Q(
        state=State.PROCESSING, claimed_at__lte=lease_end
    )


def _due_heads(due_at: datetime, lease_end: datetime) -> list[_Head]:
    with connection.cursor() as cursor:
        cursor.execute(_HEADS, _moments(due_at, lease_end))
        return [_Head(*row) for row in cursor.fetchall()]


def _without_awaited(heads: list[_Head], now: datetime) -> list[_Head]:
    """Leave out events for whose answer a response waits in another process."""
    awaited = InboundEvent.objects.filter(
        pk__in=[head.event_id for head in heads],
        next_at__gt=now - SYNC_WITHIN,
        payload__extra__sync=True,
    )
    theirs = set(awaited.values_list("pk", flat=True))
    return [head for head in heads if head.event_id not in theirs]


def _moments(*moments: datetime) -> list[Any]:
    return [_DATETIME.get_db_prep_value(each, connection) for each in moments]


def _chosen(heads: Iterable[_Head], running: Mapping[int, int]) -> list[_Head]:
    """Take heads while there is room; a stop always has room."""
    counts, total, chosen = dict(running), sum(running.values()), []
    for head in heads:
        if head.kind != STOP:
            mine = counts.get(head.channel_id, 0)
            if mine >= ROOMS_PER_CHANNEL or total >= ROOMS_AT_ONCE:
                continue
            counts[head.channel_id] = mine + 1
            total += 1
        chosen.append(head)
    return chosen


def _claim(heads: Iterable[_Head], now: datetime) -> list[Claim]:
    due, claims = _due(now - LEASE, now), []
    for head in heads:
        row = InboundEvent.objects.filter(due, pk=head.event_id, attempts=head.attempts)
        attempt = head.attempts + 1
        if row.update(state=State.PROCESSING, claimed_at=now, attempts=attempt):
            claims.append(
                Claim(head.event_id, head.channel_id, head.room_id, head.kind, attempt)
            )
    return claims


def refresh(claims: Iterable[Claim]) -> set[int]:
    """Say that this process still works at these events; return which it has lost."""
    mine = {claim.event_id: claim.attempt for claim in claims}
    rows = InboundEvent.objects.filter(pk__in=mine, state=State.PROCESSING)
    held = {
        pk for pk, attempt in rows.values_list("pk", "attempts") if mine[pk] == attempt
    }
    with quick_transaction():
        rows.filter(pk__in=held).update(claimed_at=timezone.now())
    return set(mine) - held


def held(claim: Claim) -> Q:
    """Return the condition that an event's row is still this claim's."""
    return Q(pk=claim.event_id, state=State.PROCESSING, attempts=claim.attempt)


def release(
    claims: Iterable[Claim], *, pause_s: float = 0.0, counts: bool = True
) -> None:
    """Give events back.

    ``counts``: the attempt was one of those that an event has; it may have begun a
    turn, which the next attempt then looks for.
    """
    next_at = timezone.now() + timedelta(seconds=pause_s)
    with quick_transaction():
        for claim in claims:
            InboundEvent.objects.filter(held(claim)).update(
                state=State.RECEIVED,
                claimed_at=None,
                next_at=next_at,
                attempts=claim.attempt if counts else claim.attempt - 1,
            )
