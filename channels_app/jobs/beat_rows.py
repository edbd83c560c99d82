"""The rows of heartbeats: begun, kept alive, ended, and when the next one is due.

Synchronous; belongs into ``routing.db_pool``. Whoever writes names the row and that it
is still running, so that a heartbeat that was given up by another process changes
nothing any more.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final, Literal

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Max, QuerySet

from channels_app.jobs import clock
from channels_app.models import Beat, Clock
from ledger.models import LedgerEntry
from personas.memory import triggers
from routing.discovery import CHANNEL

DEAD_AFTER: Final = timedelta(seconds=60)
"""A heartbeat that shows no sign of life for so long has lost its process."""
AGAIN_AFTER_S: Final = 30.0
"""So soon after one that did not get to its end the next one may begin."""
ASKED: Final = "heartbeat asked for"
"""The clock that somebody sets who wants one now."""
WHOLE: Final = "heartbeat"
"""Stands in ``failed`` for the heartbeat itself, beside its steps."""
DIED: Final = "Its process ended before it was through."
STOPPED: Final = "It was stopped because its process ended."

Due = Literal["clock", "hand"]


def begin(
    *, by_hand: bool, every_s: float | None = None, asked: bool = False
) -> Beat | None:
    """Return the row of a new heartbeat; ``None`` while another one runs.

    Call it only as the holder of the lock. With ``every_s`` none begins that is not
    due, and with ``asked`` none that nobody asked for any more: another process may
    have been quicker.
    """
    try:
        with transaction.atomic():
            now = clock.now()
            for dead in Beat.objects.filter(
                running=True, alive_at__lt=now - DEAD_AFTER
            ):
                _end(dead.pk, failed={**dead.failed, WHOLE: DIED})
            if Beat.objects.filter(running=True).exists():
                return None
            if every_s is not None and not _is_due(every_s, now):
                return None
            if asked and not is_asked_for():
                return None
            return Beat.objects.create(by_hand=by_hand, started_at=now, alive_at=now)
    except IntegrityError:  # another one began at this moment
        return None


def note(beat_id: int, **columns: Any) -> bool:
    """Write that it is alive, and how far it is; ``False`` when it was given up."""
    return bool(_running(beat_id).update(alive_at=clock.now(), **columns))


def finish(beat: Beat, after: int) -> bool:
    """Write what a heartbeat did, once it is through; the row is told its cost.

    ``after`` is the last row of the ledger from before it.
    """
    beat.model_calls, beat.cost_nano_usd = spent_since(after)
    beat.finished_at = clock.now()
    return _end(
        beat.pk,
        finished_at=beat.finished_at,
        model_calls=beat.model_calls,
        cost_nano_usd=beat.cost_nano_usd,
        found=beat.found,
        done=beat.done,
        failed=beat.failed,
    )


def stop(beat: Beat, after: int) -> bool:
    """Write that a heartbeat ended before it was through."""
    beat.failed = {**beat.failed, WHOLE: STOPPED}
    calls, cost = spent_since(after)
    return _end(
        beat.pk,
        found=beat.found,
        done=beat.done,
        failed=beat.failed,
        model_calls=calls,
        cost_nano_usd=cost,
    )


def _running(beat_id: int) -> QuerySet[Beat]:
    return Beat.objects.filter(pk=beat_id, running=True)


def _end(beat_id: int, **columns: Any) -> bool:
    return bool(_running(beat_id).update(running=None, **columns))


# --- what it cost -------------------------------------------------------------


def last_entry() -> int:
    """Return the number of the ledger's last row; 0 without any."""
    return LedgerEntry.objects.aggregate(last=Max("pk"))["last"] or 0


def spent_since(after: int) -> tuple[int, int | None]:
    """Return how many calls heartbeats made since a row, and what they cost.

    Only one heartbeat runs at a time, so they are all of one. The cost is ``None``
    where one of them is unknown.
    """
    rows = LedgerEntry.objects.filter(pk__gt=after, channel=CHANNEL).order_by()
    begun = rows.filter(kind=LedgerEntry.Kind.RESERVE).values("attempt_id")
    settled = rows.filter(kind=LedgerEntry.Kind.SETTLE, attempt_id__in=begun)
    costs = list(settled.values_list("cost_nano_usd", flat=True))
    known = [cost for cost in costs if cost is not None]
    return len(costs), sum(known) if len(known) == len(costs) else None


# --- when ---------------------------------------------------------------------


def next_at(every_s: float) -> datetime | None:
    """Return when the next heartbeat is due; ``None`` = there was none, so now."""
    newest = Beat.objects.order_by("-pk").first()
    if newest is None:
        return None
    if newest.finished_at is None:
        every_s = min(every_s, AGAIN_AFTER_S)
    return newest.started_at + timedelta(seconds=every_s)


def _is_due(every_s: float, now: datetime) -> bool:
    moment = next_at(every_s)
    return moment is None or moment <= now


def due(every_s: float) -> Due | None:
    """Say whether a heartbeat should begin now, and why; ``None`` = it should not."""
    now = clock.now()
    newest = Beat.objects.order_by("-pk").first()
    if newest and newest.running and newest.alive_at > now - DEAD_AFTER:
        return None
    asked = _asked_at()
    if asked and (newest is None or newest.started_at < asked):
        return "hand"
    return "clock" if _is_due(every_s, now) else None


def ask_for_one() -> None:
    """Let the worker begin a heartbeat within seconds."""
    now = clock.now()
    Clock.objects.update_or_create(
        pk=ASKED,
        defaults={"last_at": now},
        create_defaults={"first_at": now, "last_at": now},
    )


def is_asked_for() -> bool:
    """Say whether somebody asked for a heartbeat that has not begun."""
    asked = _asked_at()
    return asked is not None and not Beat.objects.filter(started_at__gte=asked).exists()


def _asked_at() -> datetime | None:
    """Return when somebody asked last: for a heartbeat, or for what one does."""
    clock_at = Clock.objects.filter(pk=ASKED).values_list("last_at", flat=True).first()
    asked = (clock_at, triggers.last_asked())
    return max((moment for moment in asked if moment is not None), default=None)


def newest_finished() -> Beat | None:
    """Return the newest heartbeat that got to its end; ``None`` if none ever did."""
    return Beat.objects.exclude(finished_at=None).order_by("-pk").first()


def every() -> float:
    """Return the seconds between two heartbeats."""
    return float(settings.CORTEX_HEARTBEAT_S)
