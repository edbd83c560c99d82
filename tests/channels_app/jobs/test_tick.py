"""The tick and the worker that runs it."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import uuid
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from channels_app import turns
from channels_app.jobs import chores, tick, worker
from channels_app.jobs.exclusive import only_one
from channels_app.jobs.worker import Worker
from cortex_site import supervisor
from ledger import entries
from personas.models import Message, Persona
from routing.backends.base import LOCAL_TIMEOUTS
from tests.support.ledger import make_caller, make_reservation


@pytest.fixture(autouse=True)
def _turns_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that ends takes no new turns; the next test's loop does."""
    monkeypatch.setattr(turns._Draining, "now", False)


def failing() -> int:
    raise RuntimeError("on purpose")


@pytest.mark.django_db
def test_failing_step_does_not_stop_the_others(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tick, "close_old_connections", lambda: None)
    done: list[str] = []

    def second() -> int:
        done.append("second")
        return 2

    with caplog.at_level(logging.INFO):
        report = tick.tick((("first", failing), ("second", second)))
    assert (report.ran, report.counts, report.failed) == (
        True,
        {"second": 2},
        ["first"],
    )
    assert done == ["second"]
    assert "the step first failed" in caplog.text


@pytest.mark.django_db
def test_only_one_tick_runs_at_a_time() -> None:
    with only_one(tick.NAME):
        report = tick.tick((("never", failing),))
    assert (report.ran, report.counts, report.failed) == (False, {}, [])
    assert tick.last_began_at() is None


@pytest.mark.django_db
def test_tick_tells_everybody_when_it_began() -> None:
    started = timezone.now()
    tick.tick(())
    first, last = tick.began_at()
    assert first and last and started <= first <= last
    tick.tick(())
    (same, again) = tick.began_at()
    assert again and again > last
    assert same == first


@pytest.mark.django_db
def test_real_steps_count_nothing_on_a_tidy_database() -> None:
    output = StringIO()
    call_command("tick", "--json", stdout=output)
    report = json.loads(output.getvalue())
    assert report["ran"] and report["failed"] == []
    assert set(report["counts"]) == {name for name, _ in tick.STEPS}


def released_after(seconds: float, monkeypatch: pytest.MonkeyPatch) -> int:
    """Tick as if it were ``seconds`` later; return how many calls were closed."""
    real = timezone.now
    with monkeypatch.context() as patched:
        patched.setattr(timezone, "now", lambda: real() + timedelta(seconds=seconds))
        return tick.tick().counts["released_reservations"]


@pytest.mark.django_db
def test_tick_spares_every_call_that_may_still_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    entries.reserve(make_reservation())
    assert released_after(LOCAL_TIMEOUTS.total_s + 60, monkeypatch) == 0
    assert released_after(LOCAL_TIMEOUTS.total_s + 600, monkeypatch) == 1


@pytest.mark.django_db
def test_tick_spares_the_calls_of_answers_that_are_written(
    persona: Persona, monkeypatch: pytest.MonkeyPatch
) -> None:
    hours = 12 * 3600
    conversation = persona.conversations.create(owner=persona.owner)
    turn = uuid.uuid4()
    Message.objects.create(
        pk=turn,
        owner=persona.owner,
        conversation=conversation,
        role=Message.Role.ASSISTANT,
        state=Message.State.GENERATING,
        alive_at=timezone.now() + timedelta(seconds=hours - 30),
    )
    entries.reserve(make_reservation(caller=make_caller(turn_id=turn)))
    assert released_after(hours - 25, monkeypatch) == 0
    assert entries.open_attempts(turn)
    assert released_after(hours + 600, monkeypatch) == 0
    assert not entries.open_attempts(turn)  # booked with the answer's own end


def test_command_fails_when_a_step_does(monkeypatch: pytest.MonkeyPatch) -> None:
    report = tick.TickReport(failed=["filled_ledger_lines"])
    monkeypatch.setattr("channels_app.management.commands.tick.tick", lambda: report)
    with pytest.raises(CommandError, match="filled_ledger_lines"):
        call_command("tick", stdout=StringIO())


@pytest.mark.django_db(transaction=True)
async def test_worker_ticks_until_it_is_stopped() -> None:
    ticks: list[str] = []
    worker = Worker(every_s=0.001, job=lambda: ticks.append(thread_name()))
    running = asyncio.create_task(worker.run())
    while len(ticks) < 3:
        await asyncio.sleep(0.005)
    worker.stop()
    await asyncio.wait_for(running, 5)
    assert all(name.startswith("cortex-db") for name in ticks)


@pytest.mark.django_db(transaction=True)
async def test_worker_survives_a_failing_tick() -> None:
    calls: list[int] = []

    def job() -> None:
        calls.append(1)
        raise RuntimeError("on purpose")

    worker = Worker(every_s=0.001, job=job)
    running = asyncio.create_task(worker.run())
    async with asyncio.timeout(10):
        while len(calls) < 2:
            await asyncio.sleep(0.005)
    worker.stop()
    await asyncio.wait_for(running, 5)


@pytest.mark.django_db(transaction=True)
async def test_worker_stops_without_waiting_for_the_next_tick() -> None:
    ticked = asyncio.Event()
    loop = asyncio.get_running_loop()
    worker = Worker(every_s=3600, job=lambda: loop.call_soon_threadsafe(ticked.set))
    running = asyncio.create_task(worker.run())
    await ticked.wait()
    worker.stop()
    await asyncio.wait_for(running, 5)


@pytest.mark.django_db(transaction=True)
async def test_worker_ticks_while_a_heartbeat_hangs_and_cancels_it() -> None:
    ticks: list[int] = []
    ended: list[str] = []

    async def hang() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cancelled")

    worker = Worker(every_s=0.001, job=lambda: ticks.append(1), heartbeat=hang)
    running = asyncio.create_task(worker.run())
    async with asyncio.timeout(10):
        while len(ticks) < 3:
            await asyncio.sleep(0.005)
    worker.stop()
    await asyncio.wait_for(running, 5)
    assert ended == ["cancelled"]


@pytest.mark.django_db(transaction=True)
async def test_worker_does_its_chores_side_by_side_and_survives_their_faults(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(chores, "EVERY_S", 0.001)
    done: list[str] = []

    async def hang() -> None:
        done.append("hang")
        await asyncio.Event().wait()

    async def fail() -> None:
        done.append("fail")
        raise RuntimeError("on purpose")

    worker = Worker(
        every_s=3600, job=lambda: None, look_after={"one": hang, "two": fail}
    )
    monkeypatch.setattr("channels_app.jobs.worker.SEND_GRACE_S", 0.02)
    running = asyncio.create_task(worker.run())
    async with asyncio.timeout(10):
        while done.count("fail") < 3:
            await asyncio.sleep(0.005)
    worker.stop()
    await asyncio.wait_for(running, 5)
    assert done.count("hang") == 1
    assert "looking after two failed" in caplog.text


@pytest.mark.django_db(transaction=True)
async def test_worker_lets_running_turns_end(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []

    async def drain(grace_s: float) -> None:
        order.append("turns")

    async def drain_couriers(grace_s: float) -> None:
        order.append("deliveries")

    monkeypatch.setattr(turns, "drain", drain)
    monkeypatch.setattr("channels_app.couriers.drain", drain_couriers)
    worker = Worker(every_s=3600, job=lambda: order.append("tick"))
    worker.stop()
    await worker.run()
    assert order == ["turns", "deliveries"]


def test_worker_ends_well_before_its_supervisor_ends_it() -> None:
    longest = worker.GRACE_S + turns.SETTLE_S + 2 * worker.SEND_GRACE_S
    assert longest <= supervisor.DRAIN_S - 5


def thread_name() -> str:
    return threading.current_thread().name
