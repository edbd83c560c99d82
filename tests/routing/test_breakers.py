"""Breakers, cool-downs and pauses, with a clock of their own."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from ledger.types import Prices
from routing.breakers import Breakers, pause_s
from routing.catalogue import HostInfo, ModelInfo

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Clock:
    """Both clocks, moved by hand."""

    seconds = 100.0

    def __call__(self) -> float:
        return self.seconds

    def now(self) -> datetime:
        return NOW + timedelta(seconds=self.seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breakers(clock: Clock) -> Breakers:
    return Breakers(clock, clock.now)


def model(name: str = "m", host: int = 1) -> ModelInfo:
    info = HostInfo(host, f"host {host}", "scripted")
    return ModelInfo(None, name, name, info, 8192, 1024, 1, Prices())


M, SIBLING, OTHER = model(), model("sibling"), model("other", host=2)


def test_three_failures_in_a_row_open_it_for_five_seconds(
    breakers: Breakers, clock: Clock
) -> None:
    for _ in range(2):
        assert breakers.enter(M)
        breakers.failed(M)
    assert breakers.enter(M)
    assert breakers.rest_of(M) is None
    breakers.failed(M)
    assert not breakers.enter(M)
    assert not breakers.enter(SIBLING)  # it is the host that fails
    assert breakers.enter(OTHER)
    assert breakers.rest_of(M) == "failing"
    clock.seconds += 4.9
    assert not breakers.enter(M)
    assert breakers.wait_s(M) == pytest.approx(0.1)


def test_success_in_between_starts_the_count_anew(breakers: Breakers) -> None:
    for _ in range(5):
        breakers.failed(M)
        breakers.failed(M)
        breakers.succeeded(M)
    assert breakers.enter(M)


def test_one_probe_gets_through_and_its_success_closes(
    breakers: Breakers, clock: Clock
) -> None:
    for _ in range(3):
        breakers.failed(M)
    clock.seconds += 5
    assert [breakers.enter(M) for _ in range(4)] == [True, False, False, False]
    breakers.succeeded(M)
    assert [breakers.enter(M) for _ in range(4)] == [True] * 4


def test_probe_that_began_to_answer_lets_others_through(
    breakers: Breakers, clock: Clock
) -> None:
    for _ in range(3):
        breakers.failed(M)
    clock.seconds += 5
    assert breakers.enter(M)
    assert not breakers.enter(M)
    breakers.heard(M)
    assert [breakers.enter(M) for _ in range(4)] == [True] * 4
    breakers.failed(M)  # the answer broke off
    assert not breakers.enter(M)


def test_failed_probe_opens_it_again(breakers: Breakers, clock: Clock) -> None:
    for _ in range(3):
        breakers.failed(M)
    clock.seconds += 5
    assert breakers.enter(M)
    breakers.failed(M)
    assert not breakers.enter(M)
    clock.seconds += 5
    assert breakers.enter(M)


def test_probe_that_was_given_up_lets_the_next_one_through(
    breakers: Breakers, clock: Clock
) -> None:
    for _ in range(3):
        breakers.failed(M)
    clock.seconds += 5
    assert breakers.enter(M)
    breakers.spared(M)
    assert breakers.enter(M)
    assert not breakers.enter(M)


def test_probe_that_never_reports_does_not_bar_the_host_for_ever(
    breakers: Breakers, clock: Clock
) -> None:
    for _ in range(3):
        breakers.failed(M)
    clock.seconds += 5
    assert breakers.enter(M)
    clock.seconds += 60
    assert breakers.enter(M)


@pytest.mark.parametrize(
    ("retry_after_s", "seconds"), [(7, 7), (0, 0.25), (86_400, 3600), (None, 5)]
)
def test_cool_down_lasts_as_long_as_asked_within_bounds(
    breakers: Breakers, clock: Clock, retry_after_s: float | None, seconds: float
) -> None:
    assert breakers.cool(M, retry_after_s) == seconds
    assert breakers.rest_of(M) == "cooling"
    assert breakers.rest_of(SIBLING) is None  # limits are per model
    clock.seconds += seconds
    assert breakers.enter(M)


def test_cool_down_of_unknown_length_doubles_until_an_answer(
    breakers: Breakers,
) -> None:
    assert [breakers.cool(M, None) for _ in range(8)] == [
        5, 10, 20, 40, 80, 160, 300, 300,
    ]  # fmt: skip
    breakers.succeeded(M)
    assert breakers.cool(M, None) == 5


def test_cool_down_of_another_process_counts_for_the_whole_host(
    breakers: Breakers, clock: Clock
) -> None:
    host = replace(M.host, cooling_until=clock.now() + timedelta(seconds=30))
    told, sibling = replace(M, host=host), replace(SIBLING, host=host)
    assert breakers.wait_s(told) == breakers.wait_s(sibling) == 30
    clock.seconds += 30
    assert breakers.enter(told)


def test_own_cool_down_read_back_counts_for_its_model_alone(
    breakers: Breakers, clock: Clock
) -> None:
    seconds = breakers.cool(M, 30)
    host = replace(M.host, cooling_until=clock.now() + timedelta(seconds=seconds))
    assert not breakers.enter(replace(M, host=host))
    assert breakers.enter(replace(SIBLING, host=host))


def test_view_for_the_router(breakers: Breakers) -> None:
    assert not breakers.health([M, OTHER]).resting
    breakers.cool(M, 5)
    for _ in range(3):
        breakers.failed(OTHER)
    health = breakers.health([M, SIBLING, OTHER])
    assert health.rest_of(M) == "cooling"
    assert health.rest_of(SIBLING) is None
    assert health.rest_of(OTHER) == "failing"


def test_pauses_double_with_jitter_and_wait_for_the_first_host() -> None:
    longest = [pause_s(number, rng=lambda: 1.0) for number in range(8)]
    assert longest == [0.5, 1, 2, 4, 8, 15, 15, 15]
    assert [pause_s(number, rng=lambda: 0.0) for number in range(3)] == [0.25, 0.5, 1]
    assert pause_s(0, 7, rng=lambda: 0.5) == 7.25
    assert len({pause_s(3) for _ in range(20)}) > 10
