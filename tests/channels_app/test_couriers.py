"""Couriers: side by side, in groups, one place never holding up another."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from django.db import OperationalError

from channels_app import couriers
from channels_app.couriers import Couriers
from channels_app.deliveries import DeliveryError

pytestmark = pytest.mark.django_db(transaction=True)


class Depot:
    """Jobs by place, as a database would hold them; and what became of them."""

    def __init__(self, at_once: int = 3) -> None:
        self.waiting: dict[int, list[str]] = {}
        self.rounds: list[tuple[int, int, int]] = []
        self.ended: list[tuple[str, str]] = []
        self.sending: set[str] = set()
        self.most = 0
        self.gates: dict[str, asyncio.Event] = {}
        self.faults: list[Exception] = []
        self.couriers = Couriers("Tests", self.round, self.send, at_once=at_once)

    def round(
        self, place: int, ended: list[tuple[str, str | DeliveryError]], free: int
    ) -> list[str]:
        if self.faults:
            raise self.faults.pop()
        self.rounds.append((place, len(ended), free))
        self.ended += [(job, str(how)) for job, how in ended]
        waiting = self.waiting.get(place, [])
        claimed, self.waiting[place] = waiting[:free], waiting[free:]
        return claimed

    async def send(self, job: str) -> str:
        self.sending.add(job)
        self.most = max(self.most, len(self.sending))
        try:
            await asyncio.sleep(0)  # as if there were a network
            if gate := self.gates.get(job):
                await gate.wait()
            if job.startswith("bad"):
                raise DeliveryError("Nobody is there.")
            if job.startswith("worse"):
                raise RuntimeError("on purpose")
            return f"{job} arrived"
        finally:
            self.sending.discard(job)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.001)


async def test_everything_that_is_due_is_carried_but_not_all_at_once() -> None:
    depot = Depot()
    depot.waiting[1] = [f"job{number}" for number in range(10)]
    assert await depot.couriers.deliver(1) == 10
    assert {job for job, _ in depot.ended} == {f"job{n}" for n in range(10)}
    assert depot.most == 3
    assert depot.couriers.running() == []


async def test_what_ends_together_is_written_in_one_crossing() -> None:
    depot = Depot(at_once=50)
    depot.waiting[1] = [f"job{number}" for number in range(50)]
    await depot.couriers.deliver(1)
    assert len(depot.rounds) < 10


async def test_place_that_hangs_holds_up_no_other() -> None:
    depot = Depot()
    depot.waiting = {1: ["hangs"], 2: ["quick"]}
    depot.gates["hangs"] = asyncio.Event()
    depot.couriers.wake(1)
    assert await depot.couriers.deliver(2) == 1
    assert depot.ended == [("quick", "quick arrived")]
    depot.gates["hangs"].set()
    assert await depot.couriers.deliver(1) == 1


async def test_new_work_is_claimed_while_other_work_is_under_way() -> None:
    depot = Depot()
    depot.waiting[1] = ["slow"]
    depot.gates["slow"] = asyncio.Event()
    depot.couriers.wake(1)
    await until(lambda: depot.sending)
    depot.waiting[1].append("new")
    depot.couriers.wake(1)
    await until(lambda: ("new", "new arrived") in depot.ended)
    assert depot.sending == {"slow"}
    depot.gates["slow"].set()
    assert await depot.couriers.deliver(1) == 2


async def test_failures_are_handed_back_and_own_faults_are_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    depot = Depot()
    depot.waiting[1] = ["bad", "worse", "good"]
    assert await depot.couriers.deliver(1) == 1
    assert dict(depot.ended) == {
        "bad": "Nobody is there.",
        "worse": "Cortex could not send it; the server's log says why.",
        "good": "good arrived",
    }
    assert "RuntimeError: on purpose" in caplog.text


async def test_attempt_that_takes_too_long_is_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(couriers, "SEND_WITHIN_S", 0.01)
    depot = Depot()
    depot.waiting[1] = ["hangs"]
    depot.gates["hangs"] = asyncio.Event()
    assert await depot.couriers.deliver(1) == 0
    assert depot.ended == [("hangs", "The other side did not answer in time.")]


async def test_how_it_ended_is_written_although_the_database_was_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(couriers, "PAUSE_S", 0.001)
    depot = Depot()
    depot.waiting[1] = ["job"]
    depot.gates["job"] = asyncio.Event()
    depot.couriers.wake(1)
    await until(lambda: depot.sending)
    depot.faults = [OperationalError("locked"), OperationalError("locked")]
    depot.gates["job"].set()
    assert await depot.couriers.deliver(1) == 1
    assert depot.ended == [("job", "job arrived")]


async def test_courier_that_had_to_give_up_begins_anew_when_it_is_woken(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(couriers, "PAUSE_S", 0.001)
    depot = Depot()
    depot.waiting[1] = ["job"]
    depot.faults = [OperationalError("away")] * couriers.TRIES
    assert await depot.couriers.deliver(1) == 0
    assert "Tests to 1 stopped" in caplog.text
    assert await depot.couriers.deliver(1) == 1


async def test_courier_that_has_just_returned_is_followed_by_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever wakes it after its last look must not be overheard."""
    depot = Depot()

    def somebody_comes() -> None:
        depot.waiting[1] = ["new"]
        depot.couriers.wake(1)

    async def look(round_: Callable[..., list[str]], *args: Any) -> list[str]:
        first = not depot.rounds
        jobs = round_(*args)
        if first:  # runs after the courier's last step, and before its callbacks
            asyncio.get_running_loop().call_soon(somebody_comes)
        return jobs

    monkeypatch.setattr(couriers, "run_in_db_pool", look)
    assert await depot.couriers.deliver(1) == 0
    await until(lambda: ("new", "new arrived") in depot.ended)
    await until(lambda: not depot.couriers.running())


async def test_caller_that_leaves_stops_nothing() -> None:
    depot = Depot()
    depot.waiting[1] = ["job"]
    depot.gates["job"] = asyncio.Event()
    caller = asyncio.create_task(depot.couriers.deliver(1))
    await until(lambda: depot.sending)
    caller.cancel()
    await asyncio.gather(caller, return_exceptions=True)
    depot.gates["job"].set()
    await until(lambda: depot.ended)
    assert depot.ended == [("job", "job arrived")]


async def test_drain_lets_what_is_under_way_arrive_and_begins_nothing() -> None:
    depot = Depot(at_once=1)
    depot.waiting[1] = ["job", "next"]
    depot.gates["job"] = asyncio.Event()
    depot.couriers.wake(1)
    await until(lambda: depot.sending)
    draining = asyncio.create_task(couriers.drain(5))
    await asyncio.sleep(0)
    depot.gates["job"].set()
    await draining
    assert depot.ended == [("job", "job arrived")]
    assert await depot.couriers.deliver(1) == 0
    assert depot.waiting[1] == ["next"]


async def test_drain_cuts_off_what_takes_too_long() -> None:
    depot = Depot()
    depot.waiting[1] = ["hangs"]
    depot.gates["hangs"] = asyncio.Event()
    depot.couriers.wake(1)
    await until(lambda: depot.sending)
    await couriers.drain(0.01)
    await until(lambda: not depot.sending)
    assert depot.ended == []
    assert depot.couriers.running() == []
