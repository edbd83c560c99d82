"""A scheduler for tests: ``python -m tests.support.schedulers``.

Reads moments from standard input, one a line, takes each for the time that it is now,
and prints how many runs of briefs it queued. Several on one database compete.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from django.conf import settings

from tests.support.databases import database_url
from tests.support.environment import clean_environment
from tests.support.processes import ROOT


class Schedulers:
    """Real processes that all see the same moments."""

    def __init__(self, processes: list[subprocess.Popen[str]]) -> None:
        self._processes = processes

    def see(self, now: datetime) -> list[int]:
        """Let all of them look at once; return how many runs each one queued."""
        for process in self._processes:
            assert process.stdin
            process.stdin.write(f"{now.isoformat()}\n")
            process.stdin.flush()
        return [int(_line(process)) for process in self._processes]


def _line(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline()


@contextmanager
def schedulers(count: int) -> Iterator[Schedulers]:
    """Start schedulers on this test's database and end them afterwards."""
    environment = clean_environment(settings.DATA_DIR, DATABASE_URL=database_url())
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.support.schedulers"],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(count)
    ]
    try:
        assert [_line(process) for process in processes] == ["ready\n"] * count
        yield Schedulers(processes)
    finally:
        for process in processes:
            process.communicate(timeout=30)


def main() -> None:
    """Look for due briefs at each moment that is told."""
    os.environ["DJANGO_SETTINGS_MODULE"] = "cortex_site.settings"
    import django

    django.setup()
    from channels_app.jobs import slots

    _say("ready")
    for line in sys.stdin:
        _say(slots.enqueue_due(datetime.fromisoformat(line.strip())))


def _say(what: object) -> None:
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
