"""The doctor's checks of what works by itself: worker, heartbeat, queue, clock."""

from __future__ import annotations

import zoneinfo
from collections.abc import Iterator
from datetime import timedelta
from typing import Final

from django.db import connection
from django.utils import timezone

from channels_app.care import running
from channels_app.care.findings import Finding, fail, ok, warn
from channels_app.jobs import signs
from channels_app.models import Beat, QueuedTask
from ledger.models import LedgerEntry

WAITS_TOO_LONG: Final = timedelta(hours=1)
CLOCK_OFF: Final = timedelta(seconds=5)
FUTURE: Final = timedelta(minutes=1)
_START: Final = (
    "Start Cortex ('manage.py serve'), or look at the log for why the worker ended."
)


def worker() -> Iterator[Finding]:
    """Check that a worker ticks, on whichever machine."""
    now = signs.signs()
    if now.ticked_at is None:
        served = running.is_served()
        sentence = "No worker has run yet."
        yield (
            fail("worker", sentence, _START)
            if served
            else warn("worker", sentence, "Start Cortex: 'manage.py serve'.")
        )
    elif now.is_silent:
        moment = f"{now.ticked_at:%Y-%m-%d %H:%M:%S} UTC"
        yield fail("worker", f"It last gave a sign of life at {moment}.", _START)
    else:
        yield ok("worker", "It ticks.")


def is_alive() -> bool:
    """Say whether Cortex runs, as far as can be told."""
    return not signs.signs().is_silent or running.is_served()


def beat() -> Iterator[Finding]:
    """Check that the heart beats, by the same rule as ``/status``."""
    now = signs.signs()
    if now.beat_at is None:
        sentence = "None has got to its end yet."
        if now.first_ticked_at is not None and now.is_late:
            yield fail("heartbeat", sentence, _START)
        else:
            cure = "The worker beats: 'manage.py serve'."
            yield warn("heartbeat", sentence, cure)
        return
    sentence = f"The last one was at {now.beat_at:%Y-%m-%d %H:%M:%S} UTC."
    newest = Beat.objects.order_by("-id").first()
    if now.is_late:
        yield fail("heartbeat", sentence, _START)
    elif newest is not None and newest.failed:
        steps = ", ".join(sorted(newest.failed))
        yield warn(
            "heartbeat",
            f"{sentence} These steps failed: {steps}.",
            "The page about jobs says why.",
        )
    else:
        yield ok("heartbeat", sentence)


def queue() -> Iterator[Finding]:
    """Check that no task waits long or was given up."""
    state = QueuedTask.State
    late = QueuedTask.objects.filter(
        state=state.PENDING, not_before__lt=timezone.now() - WAITS_TOO_LONG
    ).count()
    dead = QueuedTask.objects.filter(state=state.DEAD).count()
    if late:
        yield warn(
            "queue",
            f"{late} tasks have waited for more than an hour.",
            "Look whether the worker runs; CORTEX_WORKER_CONCURRENCY lets it do more "
            "at once.",
        )
    if dead:
        yield warn(
            "queue",
            f"{dead} tasks were given up.",
            "The page about jobs names the reasons; try them again there or delete "
            "them.",
        )
    if not late and not dead:
        yield ok("queue", "No task waits long, none was given up.")


def clock() -> Iterator[Finding]:
    """Check this machine's clock and its knowledge of time zones."""
    set_it = "Let the machine set its clock by the network (NTP)."
    if "Europe/Berlin" not in zoneinfo.available_timezones():
        yield fail("clock", "Time zones are not known here.", "Install tzdata.")
    newest = LedgerEntry.objects.order_by("-id").values_list("created_at", flat=True)
    at = newest.first()
    if at is not None and at - timezone.now() > FUTURE:
        yield fail("clock", "The ledger's newest row lies in the future.", set_it)
        return
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT clock_timestamp()")
            apart = abs(cursor.fetchone()[0] - timezone.now())
        if apart > CLOCK_OFF:
            seconds = round(apart.total_seconds())
            sentence = f"It is {seconds} s apart from the database's."
            yield fail("clock", sentence, f"{set_it} On both machines.")
            return
    yield ok("clock", f"It says {timezone.now():%Y-%m-%d %H:%M:%S} UTC.")
