"""The nightly backup, on a thread of its own: it takes minutes where there is much."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final, TypeVar

from django.db import connections
from django.utils import timezone

from channels_app.care import nightly
from channels_app.care.errors import CareError
from channels_app.jobs.beat_step import BeatStep, StepFailed
from channels_app.models import Beat

T = TypeVar("T")

NAME: Final = "backup"
WITHIN_S: Final = 2 * 3600.0


AGAIN_AFTER: Final = timedelta(hours=1)
"""A backup that failed is not tried at every heartbeat: it may copy for minutes until
it finds that there is no room. Whoever asks for a heartbeat has it tried at once."""


def find() -> int:
    """Say whether the backup of the last night is missing and may be tried now."""
    now = timezone.now()
    return int(nightly.due(now) and not _failed_lately(now))


def _failed_lately(now: datetime) -> bool:
    if Beat.objects.filter(running=True, by_hand=True).exists():
        return False
    recent = Beat.objects.filter(alive_at__gt=now - AGAIN_AFTER, running=None)
    failures = recent.values_list("failed", flat=True)
    return any(NAME in failed for failed in failures)


async def work() -> int:
    """Write it and remove those beyond the retention."""
    try:
        await in_own_thread(nightly.run)
    except CareError as error:
        raise StepFailed(str(error)) from None
    return 1


async def in_own_thread(func: Callable[[], T]) -> T:
    """Run ``func`` on a thread that keeps no process from ending.

    Threads of a pool do: a process that is asked to stop would wait for the backup and
    be killed. Cancelling the caller leaves the thread to its work.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: Exception | None) -> None:
        if future.done():  # nobody waits any more
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        result, failed = None, None
        try:
            result = func()
        except Exception as error:
            failed = error
        finally:
            connections.close_all()
        with suppress(RuntimeError):  # the loop ended meanwhile
            loop.call_soon_threadsafe(settle, result, failed)

    threading.Thread(target=run, name="nightly backup", daemon=True).start()
    return await future


STEP: Final = BeatStep(NAME, "Nightly backup", find, work, within_s=WITHIN_S)
