"""Two hosts on one PostgreSQL: one loses its power, the other one its network: R9-R11.

Each host is a network namespace with a real worker; its clocks are shorter than usual.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.support.environment import clean_environment
from tests.support.network_hosts import NetworkHost
from tests.support.postgres import PostgresServer
from tests.support.processes import ROOT, wait_until
from tests.support.task_workers import EFFECTS

pytestmark = [pytest.mark.slow, pytest.mark.postgres, pytest.mark.timeout(120)]

CLOCKS = {
    "TEST_LEASE_S": "5",
    "TEST_RENEW_S": "1",
    "TEST_TICK_S": "1",
    "TEST_BACKOFF_S": "0.5",
}
RESCUED_WITHIN_S = 45.0
ADD = """
import sys
from accounts.models import User
from channels_app.jobs import queue
alice, _ = User.objects.get_or_create(username="alice")
for word in sys.argv[1:]:
    kind, text = word.split(":")
    print(queue.enqueue(alice, queue.NewTask(text, kind=kind)).pk)
"""
DJANGO = "import django; django.setup()\n"


@dataclass
class Site:
    """The hosts, their workers and the database that they share."""

    folder: Path
    server: PostgresServer
    stack: ExitStack

    def environment(self, address: str = "127.0.0.1", **more: str) -> dict[str, str]:
        url = f"postgres://postgres@{address}:{self.server.port}/postgres"
        name = address.replace(".", "-")
        return clean_environment(
            self.folder / name,
            DATABASE_URL=url,
            DJANGO_SETTINGS_MODULE="cortex_site.settings",
            **more,
        )

    def start(self, host: NetworkHost, notes: Path) -> subprocess.Popen[str]:
        """Start a worker on a host and wait until it is there."""
        log = open(self.log(notes), "ab")  # noqa: SIM115 -- closed with the stack
        self.stack.callback(log.close)
        words = (sys.executable, "-m", "tests.support.task_workers", str(notes))
        worker = subprocess.Popen(
            host.command(*words),
            cwd=ROOT,
            env=self.environment(host.gateway, CORTEX_WORKER_CONCURRENCY="2", **CLOCKS),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        assert worker.stdin and worker.stdout
        self.stack.callback(worker.wait, 20)
        self.stack.callback(worker.stdout.close)
        self.stack.callback(worker.stdin.close)
        self.stack.callback(worker.kill)
        return worker

    def ready(self, worker: subprocess.Popen[str]) -> None:
        """Let it begin."""
        assert worker.stdin and worker.stdout
        assert worker.stdout.readline() == "ready\n"
        worker.stdin.write("start\n")
        worker.stdin.flush()
        assert int(worker.stdout.readline())

    def log(self, notes: Path) -> Path:
        return notes.with_suffix(".log")

    def django(self, code: str, *words: str) -> list[str]:
        """Run a few lines of Python beside the database and return what they print."""
        done = subprocess.run(
            [sys.executable, "-c", DJANGO + code, *words],
            cwd=ROOT,
            env=self.environment(),
            check=True,
            stdout=subprocess.PIPE,
            text=True,
            timeout=60,
        )
        return done.stdout.split()

    def ask(self, statement: str) -> list[Any]:
        with psycopg.connect(self.server.url, autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def done(self, count: int) -> Callable[[], bool]:
        query = "SELECT count(*) FROM channels_app_queuedtask WHERE state = 'done'"
        return lambda: bool(self.ask(query)[0][0] == count)


@pytest.fixture
def hosts() -> Iterator[tuple[NetworkHost, NetworkHost]]:
    with NetworkHost() as one, NetworkHost() as other:
        yield one, other


@pytest.fixture
def site(tmp_path: Path, hosts: tuple[NetworkHost, NetworkHost]) -> Iterator[Site]:
    """Both hosts, and a database that both reach."""
    with PostgresServer([host.network for host in hosts]) as server, ExitStack() as all:
        site = Site(tmp_path, server, all)
        migrate = "from django.core.management import call_command\n"
        site.django(migrate + "call_command('migrate', verbosity=0, skip_checks=True)")
        site.ask(EFFECTS)
        yield site


def lines(notes: Path) -> list[str]:
    return notes.read_text().splitlines() if notes.exists() else []


def begun(notes: Path, tasks: list[str]) -> Callable[[], bool]:
    return lambda: {f"{task} 1" for task in tasks} <= set(lines(notes))


def test_r10_r11_a_host_without_power_and_one_without_network_lose_no_task(
    site: Site, hosts: tuple[NetworkHost, NetworkHost], tmp_path: Path
) -> None:
    weak, lonely = hosts
    notes = {name: tmp_path / name for name in ("weak", "lonely", "again")}
    of_weak, of_lonely = (
        site.start(weak, notes["weak"]),
        site.start(lonely, notes["lonely"]),
    )
    site.ready(of_lonely)
    forever, late = site.django(ADD, "hold:forever", "hold:late")
    wait_until(begun(notes["lonely"], [forever, late]), within_s=20)
    site.ready(of_weak)
    lost = site.django(ADD, "hold:forever", "hold:forever")
    wait_until(begun(notes["weak"], lost), within_s=20)

    # Both at once: no worker is left. One host has power again soon.
    lonely.cut_off()
    weak.cut_off()
    cut_at = time.monotonic()
    Path(f"{notes['lonely']}.cut").touch()
    weak.kill()
    weak.plug_in()
    site.ready(site.start(weak, notes["again"]))
    wait_until(site.done(4), within_s=RESCUED_WITHIN_S, what="the rescue")
    rescued_s = time.monotonic() - cut_at

    # Whoever is cut off stops working at what others may have by now.
    wait_until(lambda: f"{forever} cancelled" in lines(notes["lonely"]), within_s=20)
    ended_s = time.monotonic() - cut_at
    lonely.plug_in()
    wait_until(
        lambda: f"task {late} ended too late" in site.log(notes["lonely"]).read_text(),
        within_s=30,
        what="the late end to be refused",
    )
    rows = site.ask("SELECT id, state, attempts, result FROM channels_app_queuedtask")
    assert {str(row[0]) for row in rows} == {forever, late, *lost}
    assert {row[1:] for row in rows} == {("done", 2, "attempt 2")}
    effects = site.ask("SELECT task, attempt FROM test_effects")
    assert sorted(effects) == sorted((task, 2) for task in (forever, late, *lost))
    assert rescued_s < RESCUED_WITHIN_S and ended_s < RESCUED_WITHIN_S

    # And it works again, alone.
    weak.kill()
    (last,) = site.django(ADD, "hold:last")
    wait_until(site.done(5), within_s=20, what="the last task")
    assert lines(notes["lonely"])[-1] == f"{last} 1"
