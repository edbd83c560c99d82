"""Tasks for tests: a clock that can be set, ways to queue and claim, real workers."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.db import connection

from accounts.models import User
from channels_app.jobs import clock, leases, queue, rescuing
from channels_app.models import QueuedTask
from tests.support.databases import database_url
from tests.support.environment import clean_environment
from tests.support.processes import ROOT, wait_until
from tests.support.task_workers import EFFECTS

WORKER = "worker-1"


class Clock:
    """The clock of the queue, as it is or set by the test."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def now(self) -> datetime:
        """Return the moment that the queue believes in."""
        return clock.now() + self.ahead

    def pass_by(self, seconds: float) -> None:
        """Let time pass; negative = the clock is set back."""
        self.ahead += timedelta(seconds=seconds)


def set_clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Give the queue a clock that the test sets."""
    mine = Clock()
    for module in (leases, queue, rescuing):
        monkeypatch.setattr(module, "clock_now", mine.now)
    return mine


def add(owner: User, text: str = "water the plants", **fields: Any) -> QueuedTask:
    """Queue a task of the kind that tests do."""
    fields.setdefault("kind", "test")
    return queue.enqueue(owner, queue.NewTask(text, **fields))


def take(worker: str = WORKER) -> QueuedTask:
    """Claim the one task that is due."""
    (task,) = leases.claim(worker, 10)
    return task


class Workers:
    """Real worker processes on this test's database; a context manager.

    ``clocks`` are the variables of ``tests.support.task_workers``. Begun attempts stand
    in ``file``, effects in the table ``test_effects``.
    """

    def __init__(self, folder: Path, **clocks: float) -> None:
        self.file = folder / "attempts"
        self.pids: list[int] = []
        self._log = folder / "workers.log"
        self._environment = clean_environment(
            settings.DATA_DIR,
            DATABASE_URL=database_url(),
            **{name: str(value) for name, value in clocks.items()},
        )

    def __enter__(self) -> Workers:
        """Start the process that forks workers."""
        with connection.cursor() as cursor:
            cursor.execute(EFFECTS)
        self.file.touch()
        with open(self._log, "wb") as log:
            self._nursery = subprocess.Popen(
                [sys.executable, "-m", "tests.support.task_workers", str(self.file)],
                cwd=ROOT,
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self._answer() == "ready", self.log
        return self

    def __exit__(self, *_: object) -> None:
        """Kill all of them."""
        with contextlib.suppress(BrokenPipeError):
            self._nursery.communicate(timeout=20)
        # A worker that still ends may hold the database.
        wait_until(lambda: not any(map(self.is_alive, self.pids)))
        with connection.cursor() as cursor:
            cursor.execute("DROP TABLE test_effects")

    def _answer(self) -> str:
        assert self._nursery.stdout
        return self._nursery.stdout.readline().strip()

    @property
    def log(self) -> str:
        """What the workers wrote."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def start(self) -> int:
        """Start a worker and return its process id."""
        assert self._nursery.stdin
        self._nursery.stdin.write("start\n")
        self._nursery.stdin.flush()
        self.pids.append(int(self._answer()))
        return self.pids[-1]

    def kill(self, pid: int) -> None:
        """End a worker as a power cut would."""
        os.kill(pid, signal.SIGKILL)
        self.pids.remove(pid)

    def is_alive(self, pid: int) -> bool:
        """Say whether a worker still runs."""
        return Path(f"/proc/{pid}").exists()

    def attempts(self) -> list[tuple[str, int]]:
        """Return the attempts that began, as task and number, in their order."""
        lines = self.file.read_text(encoding="ascii").splitlines()
        return [(line.split()[0], int(line.split()[1])) for line in lines]

    def effects(self) -> list[tuple[str, int]]:
        """Return the effects, as task and number of the attempt."""
        with connection.cursor() as cursor:
            cursor.execute("SELECT task, attempt FROM test_effects")
            return [(str(task), int(attempt)) for task, attempt in cursor.fetchall()]
