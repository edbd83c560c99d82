"""The heartbeat: what it looks after, what it leaves behind, and that it costs nothing.

What its steps do stands in ``test_beat_steps.py``.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone

from accounts.models import User
from channels_app.jobs import beat_rows, heartbeat
from channels_app.jobs.exclusive import only_one
from channels_app.jobs.heartbeat import BeatStep, StepFailed, beat
from channels_app.models import Beat, Clock
from cortex_site.env import BASE_DIR
from ledger import entries
from ledger.models import LedgerEntry
from ledger.types import Settlement
from routing.db_pool import run_in_db_pool as now
from routing.discovery import CHANNEL
from routing.seeds import seed_registry
from tests.support.databases import database_url
from tests.support.environment import clean_environment
from tests.support.ledger import make_caller, make_reservation

pytestmark = pytest.mark.django_db(transaction=True)

BEAT = """
import asyncio, json, sys
import django
django.setup()
from dataclasses import asdict
from channels_app.jobs.heartbeat import BeatStep, beat

async def work():
    print("at work", flush=True)
    await asyncio.to_thread(sys.stdin.read)
    return 1

step = BeatStep("slow", "Slow", lambda: 1, work)
print(json.dumps(asdict(asyncio.run(beat(steps=[step])))), flush=True)
"""


def step(
    name: str, found: int = 1, does: Callable[[], Any] = lambda: 1, **options: Any
) -> BeatStep:
    """Return a step that finds so much and does something."""

    async def work() -> int:
        result = does()
        if asyncio.iscoroutine(result):
            result = await result
        return int(result)

    return BeatStep(name, name.title(), lambda: found, work, **options)


def fail() -> int:
    raise RuntimeError("host key 12345")


def refuse() -> int:
    raise StepFailed("There is no room on the disk.")


async def hang() -> int:
    await asyncio.Event().wait()
    return 0


async def only_row() -> Beat:
    return await now(Beat.objects.get)


# --- one heartbeat ------------------------------------------------------------


async def test_what_is_found_is_done_and_kept() -> None:
    report = await beat(steps=[step("a", 3, lambda: 2), step("idle", 0, fail)])
    assert (report.ran, report.found, report.done, report.failed) == (
        True,
        {"a": 3, "idle": 0},
        {"a": 2},
        {},
    )
    row = await only_row()
    assert (row.found, row.done, row.failed) == (report.found, report.done, {})
    assert (row.running, row.by_hand, row.model_calls) == (None, False, 0)
    assert row.cost_nano_usd == 0
    assert row.finished_at and row.finished_at >= row.started_at


async def test_a_step_that_fails_stops_no_other_and_tells_no_secret(
    caplog: pytest.LogCaptureFixture,
) -> None:
    steps = [
        step("broken", 1, fail),
        BeatStep("blind", "Blind", fail, hang),
        step("full", 1, refuse),
        step("slow", 1, hang, within_s=0.01),
        step("last", 1, lambda: 1),
    ]
    report = await beat(by_hand=True, steps=steps)
    assert report.done == {"last": 1}
    row = await only_row()
    assert row.failed == {
        "broken": heartbeat.AT_FAULT,
        "blind": heartbeat.AT_FAULT,
        "full": "There is no room on the disk.",
        "slow": heartbeat.TOO_SLOW,
    }
    assert row.by_hand and row.finished_at
    assert "the step broken of the heartbeat failed" in caplog.text


async def test_calls_of_models_are_counted_with_their_cost() -> None:
    def book(channel: str, tokens: int | None) -> None:
        reservation = make_reservation(caller=make_caller(channel=channel))
        entries.reserve(reservation)
        ended = Settlement("complete", 1, input_tokens=tokens, output_tokens=tokens)
        entries.settle(reservation.attempt_id, ended)

    async def work(*booked: tuple[str, int | None]) -> int:
        for each in booked:
            await now(book, *each)
        return 1

    await now(book, CHANNEL, 1000)  # of an earlier heartbeat
    known = await beat(
        steps=[step("a", does=lambda: work((CHANNEL, 10), ("web", 10), (CHANNEL, 5)))]
    )
    unknown = await beat(
        steps=[step("a", does=lambda: work((CHANNEL, 10), (CHANNEL, None)))]
    )
    rows = LedgerEntry.objects.filter(kind="settle", channel=CHANNEL).order_by("pk")
    costs: list[Any] = await now(
        lambda: list(rows.values_list("cost_nano_usd", flat=True))
    )
    assert (known.model_calls, known.cost_nano_usd) == (2, sum(costs[1:3]))
    assert (unknown.model_calls, unknown.cost_nano_usd) == (2, None)


async def test_ten_heartbeats_with_nothing_to_do_cost_nothing(
    monkeypatch: pytest.MonkeyPatch, admin_user: User
) -> None:
    """The seeded hosts wait for their keys meanwhile."""
    connections: list[Any] = []
    connect = socket.socket.connect

    def note(self: socket.socket, address: Any) -> None:
        if self.family != socket.AF_UNIX and "DATABASE_URL" not in os.environ:
            connections.append(address)
        connect(self, address)

    await now(seed_registry)
    monkeypatch.setattr(socket.socket, "connect", note)
    reports = [await beat() for _ in range(10)]
    assert all(report.ran and report.failed == {} for report in reports)
    assert [report.model_calls for report in reports] == [0] * 10
    assert connections == []
    assert not await now(LedgerEntry.objects.exists)
    assert await now(Beat.objects.filter(running=None).count) == 10


# --- one at a time ------------------------------------------------------------


async def test_another_holder_keeps_it_from_beginning() -> None:
    taken = only_one(heartbeat.NAME)
    assert await now(taken.__enter__)
    assert not (await beat(steps=[step("never", 1, fail)])).ran
    await now(taken.__exit__, None, None, None)
    assert not await now(Beat.objects.exists)


async def test_a_row_that_is_alive_keeps_it_from_beginning_a_dead_one_is_closed() -> (
    None
):
    def age(seconds: float) -> None:
        alive_at = timezone.now() - timedelta(seconds=seconds)
        Beat.objects.filter(running=True).update(alive_at=alive_at)

    other = await now(lambda: Beat.objects.create(failed={"a": "It failed."}))
    await now(age, 50)
    assert not (await beat(steps=[])).ran
    await now(age, 70)
    assert (await beat(steps=[])).ran
    await now(other.refresh_from_db)
    assert (other.running, other.finished_at) == (None, None)
    assert other.failed == {"a": "It failed.", "heartbeat": beat_rows.DIED}


async def test_a_heartbeat_that_was_given_up_ends_and_changes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(heartbeat, "ALIVE_EVERY_S", 0.01)

    async def lose() -> int:
        await now(Beat.objects.filter(running=True).update, running=None)
        return await hang()

    report = await asyncio.wait_for(beat(steps=[step("a", 1, lose)]), 10)
    row = await only_row()
    assert report.failed == {"heartbeat": beat_rows.DIED}
    assert (row.done, row.finished_at, row.failed) == ({}, None, {})


async def test_it_stays_alive_while_it_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "ALIVE_EVERY_S", 0.01)

    async def wait() -> int:
        row = await only_row()
        async with asyncio.timeout(10):
            while (await only_row()).alive_at == row.alive_at:
                await asyncio.sleep(0.005)
        return 1

    assert (await beat(steps=[step("a", 1, wait)])).done == {"a": 1}


async def test_a_heartbeat_that_is_cancelled_says_so() -> None:
    begun = asyncio.Event()

    async def begin() -> int:
        begun.set()
        return await hang()

    steps = [step("a", 1, lambda: 1), step("b", 1, begin), step("c", 1, fail)]
    running = asyncio.create_task(beat(steps=steps))
    await begun.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    row = await only_row()
    assert (row.running, row.finished_at) == (None, None)
    assert row.failed == {"heartbeat": beat_rows.STOPPED}
    assert (row.found, row.done) == ({"a": 1, "b": 1}, {"a": 1})
    assert (await beat(steps=[])).ran  # the lock is free


@pytest.mark.slow
def test_of_two_processes_that_beat_at_once_one_does(tmp_path: Path) -> None:
    def start(folder: str) -> subprocess.Popen[str]:
        # On PostgreSQL they share no folder, as on two machines.
        postgres = "DATABASE_URL" in os.environ
        data_dir = tmp_path / (folder if postgres else "one")
        data_dir.mkdir(exist_ok=True)
        return subprocess.Popen(
            [sys.executable, "-c", BEAT],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=BASE_DIR,
            env=clean_environment(
                data_dir,
                DJANGO_SETTINGS_MODULE="cortex_site.settings",
                DATABASE_URL=database_url(),
            ),
        )

    processes = [start("one"), start("two")]
    try:
        # The one that works says so and waits; the other one ends by itself.
        first = [process.stdout.readline() for process in processes]  # type: ignore[union-attr]
        busy = first.index("at work\n")
        assert json.loads(first[1 - busy])["ran"] is False
        assert Beat.objects.get().running
        said, _ = processes[busy].communicate("", timeout=30)
        assert json.loads(said)["done"] == {"slow": 1}
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    row = Beat.objects.get()
    assert row.done == {"slow": 1} and row.finished_at


# --- when ---------------------------------------------------------------------


def beaten(ago_s: float, **columns: Any) -> Beat:
    """Add a heartbeat that began so long ago and got to its end."""
    then = timezone.now() - timedelta(seconds=ago_s)
    usual = {"running": None, "finished_at": then, "alive_at": then}
    return Beat.objects.create(started_at=then, **(usual | columns))


def test_one_is_due_after_the_interval() -> None:
    assert beat_rows.due(300) == "clock"
    row = beaten(290)
    assert beat_rows.due(300) is None
    Beat.objects.update(started_at=row.started_at - timedelta(seconds=20))
    assert beat_rows.due(300) == "clock"


def test_after_one_that_was_cut_off_the_next_comes_soon() -> None:
    beaten(20, finished_at=None)
    assert beat_rows.due(300) is None
    Beat.objects.all().delete()
    beaten(40, finished_at=None)
    assert beat_rows.due(300) == "clock"


def test_somebody_may_ask_for_one_at_once() -> None:
    beaten(5)
    assert (beat_rows.due(300), beat_rows.is_asked_for()) == (None, False)
    beat_rows.ask_for_one()
    assert (beat_rows.due(300), beat_rows.is_asked_for()) == ("hand", True)
    running = beaten(-1, running=True, finished_at=None)
    assert (beat_rows.due(300), beat_rows.is_asked_for()) == (None, False)
    beat_rows.finish(running, 0)
    assert beat_rows.due(300) is None


async def test_of_several_workers_one_beats_in_an_interval() -> None:
    """A second one that found it due a moment before is told that it is not."""
    assert (await beat(every_s=300, steps=[])).ran
    assert not (await beat(every_s=300, steps=[])).ran
    assert (await beat(by_hand=True, steps=[])).ran


async def test_of_several_workers_one_beats_for_one_wish() -> None:
    await now(beat_rows.ask_for_one)
    # Both found that somebody wants one before either began.
    assert [await now(beat_rows.due, 300) for _ in range(2)] == ["hand", "hand"]
    assert (await beat(by_hand=True, asked=True, steps=[])).ran
    assert not (await beat(by_hand=True, asked=True, steps=[])).ran
    await now(beat_rows.ask_for_one)
    assert (await beat(by_hand=True, asked=True, steps=[])).ran


async def test_the_clock_of_the_worker_goes_on_after_faults(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    beats: list[bool] = []

    async def play(by_hand: bool = False, **_: Any) -> None:
        beats.append(by_hand)
        if len(beats) == 1:
            raise RuntimeError("on purpose")
        await now(beaten, 0)
        if len(beats) == 2:
            await now(beat_rows.ask_for_one)

    monkeypatch.setattr(heartbeat, "FIRST_AFTER_S", 0)
    monkeypatch.setattr(heartbeat, "LOOK_EVERY_S", 0.005)
    monkeypatch.setattr(heartbeat, "beat", play)
    running = asyncio.create_task(heartbeat.keep_beating())
    async with asyncio.timeout(10):
        while len(beats) < 3:
            await asyncio.sleep(0.005)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert beats == [False, False, True]
    assert "the heartbeat failed" in caplog.text


# --- the command --------------------------------------------------------------


def called(*arguments: str) -> str:
    output = StringIO()
    call_command("heartbeat", *arguments, stdout=output)
    return output.getvalue()


def test_command_beats_and_tells() -> None:
    assert "retention: 0 found" in called()
    report = json.loads(called("--json"))
    assert report["ran"] and set(report["found"]) == {
        each.name for each in heartbeat.STEPS
    }
    assert list(Beat.objects.values_list("by_hand", flat=True)) == [True, True]
    Beat.objects.create()
    assert "Another heartbeat is running" in called()


def test_command_fails_when_a_step_does(monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: Any, **__: Any) -> heartbeat.BeatReport:
        return heartbeat.BeatReport(failed={"backup": "There is no room."})

    monkeypatch.setattr("channels_app.management.commands.heartbeat.beat", broken)
    with pytest.raises(CommandError, match="backup"):
        called()


# --- the page -----------------------------------------------------------------


def test_page_is_for_administrators_alone(
    alice: User, admin_user: User, client_for: Callable[[User], Client]
) -> None:
    member = client_for(alice)
    assert member.get("/jobs/heartbeat/").status_code == 404
    assert member.post("/jobs/heartbeat/now/").status_code == 404
    assert "Heartbeat" not in member.get("/jobs/").content.decode()
    assert Client().get("/jobs/heartbeat/").status_code == 302
    assert not Clock.objects.exists()
    assert "Heartbeat" in client_for(admin_user).get("/jobs/").content.decode()


def test_page_shows_what_was_found_done_and_paid(
    admin_user: User, client_for: Callable[[User], Client]
) -> None:
    beaten(
        9,
        found={"hosts": 3, "budgets": 0},
        done={"hosts": 2},
        failed={"backup": "There is no room on the disk."},
        model_calls=2,
        cost_nano_usd=None,
    )
    page = client_for(admin_user).get("/jobs/heartbeat/").content.decode()
    assert "Hosts that wait or failed: 3 found, 2 done" in page
    assert "There is no room on the disk." in page
    assert "failed in part" in page
    assert ">unknown<" in page  # its cost
    assert "Budget periods" not in page
    assert "no sign of life" in page
    assert "The next one is due at" in page


def test_button_asks_the_worker_and_the_part_alone_can_be_asked_for(
    admin_user: User, client_for: Callable[[User], Client]
) -> None:
    client = client_for(admin_user)
    assert client.get("/jobs/heartbeat/now/").status_code == 405
    answer = client.post("/jobs/heartbeat/now/")
    assert (answer.status_code, answer["Location"]) == (302, "/jobs/heartbeat/")
    assert beat_rows.due(300) == "hand"
    part = client.get("/jobs/heartbeat/", headers={"HX-Request": "true"})
    assert "A heartbeat begins in a moment." in part.content.decode()
    assert "<html" not in part.content.decode()
