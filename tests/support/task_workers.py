"""Real workers for tests of the queue, forked from one process that knows Cortex.

``python -m tests.support.task_workers FILE`` reads lines from standard input: ``start``
forks a worker and prints its process id; the end of the input kills all. Forking makes
a worker in milliseconds; it is a process of its own with connections of its own, and
runs what ``manage.py worker`` runs: the tick and the tasks.

Kinds of tasks: ``note`` appends ``<task> <attempt>`` to FILE, waits for as many
milliseconds as its text says, and has a row of ``test_effects`` as its effect;
``poison`` kills its own process; ``hold`` writes its line and is done at once, but its
first attempt waits until there is a file FILE.cut, and, where its text is "forever",
until it is cancelled, which it notes with another line. Clocks come from the
environment: ``TEST_LEASE_S``, ``TEST_RENEW_S``, ``TEST_BACKOFF_S``, ``TEST_TICK_S``,
``TEST_ATTEMPTS``.
"""

from __future__ import annotations

import asyncio
import functools
import os
import signal
import sys
from datetime import timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from channels_app.jobs.kinds import Done
    from channels_app.models import QueuedTask

EFFECTS = "CREATE TABLE test_effects (task varchar(36), attempt integer)"


async def note(path: str, task: QueuedTask) -> Done:
    """Write down that an attempt began, work for a while, and have an effect."""
    from channels_app.jobs.kinds import Done

    _append(path, f"{task.pk} {task.attempts}")
    await asyncio.sleep(float(task.text) / 1000)
    return Done(f"attempt {task.attempts}", effect=functools.partial(effect, task))


def effect(task: QueuedTask) -> None:
    """Write a row with the end of an attempt."""
    from django.db import connection

    with connection.cursor() as cursor:
        values: tuple[str, int] = (str(task.pk), task.attempts)
        cursor.execute("INSERT INTO test_effects VALUES (%s, %s)", values)


async def poison(task: QueuedTask) -> Done:
    """Take the whole worker along."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError(task)


async def hold(path: str, task: QueuedTask) -> Done:
    """Hold the first attempt until a file appears, or until it is cancelled."""
    from channels_app.jobs.kinds import Done

    _append(path, f"{task.pk} {task.attempts}")
    if task.attempts == 1:
        try:
            while task.text == "forever" or not os.path.exists(f"{path}.cut"):
                await asyncio.sleep(0.05)
        except asyncio.CancelledError:
            _append(path, f"{task.pk} cancelled")
            raise
    return Done(f"attempt {task.attempts}", effect=functools.partial(effect, task))


def _append(path: str, line: str) -> None:
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, f"{line}\n".encode())
    os.close(file)


def set_up(path: str) -> None:
    """Load Cortex, set its clocks, and add the kinds of tasks."""
    os.environ["DJANGO_SETTINGS_MODULE"] = "cortex_site.settings"
    import django

    django.setup()
    from channels_app.jobs import kinds, leases, running, task_loop

    kinds.register("note", functools.partial(note, path))
    kinds.register("poison", poison)
    kinds.register("hold", functools.partial(hold, path))
    clocks: Any = leases
    clocks.LEASE = timedelta(seconds=float(os.environ.get("TEST_LEASE_S", 30)))
    clocks.RENEW_EVERY_S = float(os.environ.get("TEST_RENEW_S", 5))
    clocks.BACKOFF_S = float(os.environ.get("TEST_BACKOFF_S", 5))
    clocks.MAX_ATTEMPTS = int(os.environ.get("TEST_ATTEMPTS", 5))
    loops: Any = task_loop
    loops.RESCUE_EVERY_S = float(os.environ.get("TEST_TICK_S", 10))
    runs: Any = running
    runs.LOOK_EVERY_S = min(runs.LOOK_EVERY_S, clocks.RENEW_EVERY_S / 2)
    runs.LEASE_S = clocks.LEASE.total_seconds()


def work() -> None:
    """Be a worker until SIGTERM."""
    from channels_app.jobs.task_loop import TaskLoop
    from channels_app.jobs.worker import Worker

    every_s = float(os.environ.get("TEST_TICK_S", 10))
    worker = Worker(every_s=every_s, tasks=TaskLoop())
    asyncio.run(worker.run())


def main(path: str) -> None:
    """Fork workers as they are asked for."""
    set_up(path)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them
    workers = []
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for _ in sys.stdin:
        pid = os.fork()
        if not pid:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            work()
            os._exit(0)
        workers.append(pid)
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()
    for pid in workers:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


if __name__ == "__main__":
    main(sys.argv[1])
