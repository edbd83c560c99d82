"""Who may still be asked in one dispatch, beside hosts that rest."""

from __future__ import annotations

import pytest

from ledger.types import Prices
from routing.backends.base import RateLimited, UpstreamFailed
from routing.breakers import Breakers
from routing.candidates import Candidate
from routing.catalogue import HostInfo, ModelInfo
from routing.prospects import Prospects

FAILED = UpstreamFailed("Broken.")


class Clock:
    """A clock that stands still until somebody moves it."""

    seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def candidate(name: str, host: int = 1) -> Candidate:
    info = HostInfo(id=host, name=f"host {host}", type="scripted")
    model = ModelInfo(None, name, name, info, 8192, 1024, 1, Prices())
    return Candidate(model, "")


A, B, C = candidate("a"), candidate("b"), candidate("c", host=2)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breakers(clock: Clock) -> Breakers:
    return Breakers(clock)


def asked_in(prospects: Prospects, error: UpstreamFailed = FAILED) -> list[str]:
    """Ask whoever may be asked; all of them fail. Return their names."""
    names = []
    while (each := prospects.next()) is not None:
        names.append(each.model.name)
        prospects.report(each.model, error, heard=False, sent=True)
        prospects.failed(each.model, error, refusal_goes_on=False)
    return names


def started(breakers: Breakers, clock: Clock, *candidates: Candidate) -> Prospects:
    prospects = Prospects(breakers, clock=clock)
    prospects.start(candidates)
    return prospects


def test_failures_of_this_dispatch_do_not_bar_the_plan(
    breakers: Breakers, clock: Clock
) -> None:
    breakers.failed(A.model)
    breakers.failed(A.model)
    assert asked_in(started(breakers, clock, A, B)) == ["a", "b"]


def test_model_that_cooled_before_is_left_alone_whatever_fails(
    breakers: Breakers, clock: Clock
) -> None:
    breakers.cool(B.model, 60)
    assert asked_in(started(breakers, clock, A, B, C)) == ["a", "c"]


def test_model_that_begins_to_cool_meanwhile_is_left_alone(
    breakers: Breakers, clock: Clock
) -> None:
    prospects = started(breakers, clock, A, B)
    breakers.cool(B.model, RateLimited("x").retry_after_s)
    assert asked_in(prospects) == ["a"]


def test_host_that_rested_before_stays_so(breakers: Breakers, clock: Clock) -> None:
    for _ in range(3):
        breakers.failed(A.model)
    assert asked_in(started(breakers, clock, A, B, C)) == ["c"]


def test_failed_probe_is_the_only_one(breakers: Breakers, clock: Clock) -> None:
    for _ in range(3):
        breakers.failed(A.model)
    clock.seconds += 5
    assert asked_in(started(breakers, clock, A, B, C)) == ["a", "c"]
