"""How many tasks a second the queue moves, and how soon one begins.

``python -m bench.queue`` measures on SQLite, ``python -m bench.queue postgres://…`` on
an empty PostgreSQL database; a number behind it, such as 50, is how many tasks each
worker does and claims at once. The tasks do nothing; queueing them is not counted.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.measures import percentile
from tests.support.environment import clean_environment
from tests.support.processes import ROOT

TASKS = 2400
SINGLE = 100
WORKERS = 3
MANY_MODELS = 50
"""``CORTEX_WORKER_CONCURRENCY`` and ``CORTEX_QUEUE_BATCH`` of an installation that
waits for many models; without them workers run with the settings as they come."""


@dataclass(frozen=True, slots=True)
class QueueTimes:
    """What was measured on one database."""

    tasks_per_s: float
    claims_ms: list[float]
    """Each claim under full load."""
    begins_ms: list[float]
    """From the commit of a single task to the beginning of its work; with the settings
    as they come only."""


class _Process:
    """A module that is led by lines."""

    def __init__(self, environment: dict[str, str], *arguments: str) -> None:
        self.popen = subprocess.Popen(
            [sys.executable, "-m", "bench.queue_work", *arguments],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def answer(self) -> Any:
        assert self.popen.stdout
        return json.loads(self.popen.stdout.readline())

    def go(self) -> None:
        assert self.popen.stdin
        self.popen.stdin.write("go\n")
        self.popen.stdin.flush()

    def stop(self) -> None:
        self.popen.kill()
        self.popen.wait()


def measure(database_url: str = "", at_once: int | None = None) -> QueueTimes:
    """Run workers on a new installation, on SQLite unless an address is given.

    ``at_once``: tasks of each worker and of each claim, instead of the defaults.
    """
    with tempfile.TemporaryDirectory(prefix="cortex-bench-") as folder:
        variables = {"DATABASE_URL": database_url} if database_url else {}
        if at_once is not None:
            variables["CORTEX_WORKER_CONCURRENCY"] = str(at_once)
            variables["CORTEX_QUEUE_BATCH"] = str(at_once)
        environment = clean_environment(Path(folder) / "data", **variables)
        subprocess.run(
            [sys.executable, "manage.py", "prepare", "--json"],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.DEVNULL,
            check=True,
        )
        processes: list[_Process] = []
        try:
            single = SINGLE if at_once is None else 0
            return _measure(environment, processes, single)
        finally:
            for process in processes:
                process.stop()


def _measure(
    environment: dict[str, str], processes: list[_Process], single: int
) -> QueueTimes:
    filler = _Process(environment, "fill", str(TASKS), str(single))
    processes.append(filler)
    workers = [_Process(environment, "work") for _ in range(WORKERS)]
    processes += workers
    for process in processes:
        assert process.answer() == "ready"
    for process in [*workers, filler]:
        process.go()
    load = filler.answer()
    assert load["done"] == TASKS, f"{load['done']} of {TASKS} tasks were done."
    filler.go()
    queued = filler.answer()
    claims_ms: list[float] = []
    begun: dict[str, float] = {}
    for worker in workers:
        worker.go()
        seen = worker.answer()
        claims_ms += [seconds * 1000 for seconds in seen["claims_s"]]
        begun |= seen["begun"]
    begins_ms = [(begun[task] - queued[task]) * 1000 for task in queued]
    return QueueTimes(TASKS / load["seconds"], claims_ms, begins_ms)


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[1:] if word.isdecimal()]
    urls = [word for word in sys.argv[1:] if not word.isdecimal()]
    result = measure(urls[0] if urls else "", numbers[0] if numbers else None)
    print(f"{result.tasks_per_s:.0f} tasks/s")
    for name, times in (("claim", result.claims_ms), ("begin", result.begins_ms)):
        if times:
            values = ", ".join(f"p{p} {percentile(times, p):.1f}" for p in (50, 99))
            print(f"{name}: {values} ms, n = {len(times)}")
