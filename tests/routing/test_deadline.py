"""One dispatch has one deadline, whatever number of models it asks."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from accounts.models import User
from ledger.types import Prices
from routing import dispatcher
from routing.backends import scripted
from routing.backends.base import ConnectionFailed, TextDelta, Timeouts
from routing.catalogue import HostInfo, ModelInfo
from routing.deadline import Deadline, OutOfTime
from routing.models import Model, RoutingPreferences
from tests.routing.dispatching import HELLO, run, text_of


class Clock:
    """A clock that stands still until somebody moves it."""

    seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def model(*, is_local: bool = False) -> ModelInfo:
    info = HostInfo(1, "host", "scripted", is_local=is_local)
    return ModelInfo(None, "m", "m", info, 8192, 1024, 1, Prices())


CLOUD, HOUSE = model(), model(is_local=True)


def test_attempts_share_the_patience_and_the_whole_time() -> None:
    clock = Clock()
    deadline = Deadline(None, clock)
    first = deadline.limits_for(CLOUD)
    assert (first.first_token_s, first.total_s) == (60, 600)
    clock.seconds += 220
    late = deadline.limits_for(CLOUD)
    assert (late.first_token_s, late.total_s) == (20, 380)
    assert deadline.has_time_for(CLOUD)
    clock.seconds += 20
    assert not deadline.has_time_for(CLOUD)


def test_model_in_the_house_can_be_loaded_behind_silent_hosts() -> None:
    clock = Clock()
    deadline = Deadline(None, clock)
    clock.seconds += 3 * 60
    assert deadline.limits_for(HOUSE).first_token_s == 180
    clock.seconds += 180
    assert not deadline.has_time_for(HOUSE)


def test_what_is_shown_starts_the_patience_anew_but_not_the_whole_time() -> None:
    clock = Clock()
    deadline = Deadline(None, clock)
    clock.seconds += 300
    deadline.progress()
    limits = deadline.limits_for(CLOUD)
    assert (limits.first_token_s, limits.total_s) == (60, 300)
    clock.seconds += 300
    deadline.progress()
    assert not deadline.has_time_for(CLOUD)


def test_limits_of_the_caller_count_instead() -> None:
    clock = Clock()
    deadline = Deadline(Timeouts(first_token_s=5, total_s=8), clock)
    clock.seconds += 6
    assert deadline.limits_for(CLOUD).first_token_s == 2
    assert deadline.limits_for(HOUSE).total_s == 2
    clock.seconds += 2
    assert not deadline.has_time_for(HOUSE)
    assert str(deadline.out_of_time()) == "No model answered within 8 s."
    assert OutOfTime(8).info.retryable


@pytest.fixture
def four(
    add_model: Callable[..., Model], set_chain: Callable[..., None]
) -> dict[str, Any]:
    """Fill the chat chain with four models and return scripts of silence."""
    names = ["m1", "m2", "m3", "m4"]
    set_chain("chat", *(add_model(name) for name in names))
    return {name: [30.0, *HELLO] for name in names}


@pytest.mark.django_db(transaction=True)
async def test_silent_hosts_together_take_no_longer_than_asked(
    alice: User, four: dict[str, Any]
) -> None:
    with scripted.playing(**four):
        completion = await dispatcher.complete(
            "Hello?", user=alice, timeouts=Timeouts(total_s=1)
        )
        assert len(scripted.calls) == 1
    error = completion.result.error
    assert error is not None
    assert error.code == "upstream_timeout"
    # It names the time that passed, which is longer on a busy computer.
    assert re.fullmatch(r"No model answered within [1-9][\d.]* s\.", error.message)


@pytest.mark.django_db(transaction=True)
async def test_quick_failures_leave_their_time_to_the_next(
    alice: User, four: dict[str, Any]
) -> None:
    scripts = four | {"m1": [ConnectionFailed("a")], "m2": HELLO}
    with scripted.playing(**scripts):
        events, result = await run(alice, timeouts=Timeouts(total_s=2))
    assert (text_of(events), result.outcome) == ("Hello", "complete")


@pytest.mark.django_db(transaction=True)
async def test_text_that_was_shown_keeps_the_reason_why_it_ended(
    alice: User, four: dict[str, Any]
) -> None:
    await RoutingPreferences.objects.acreate(
        owner=alice, finish_with_another_model=True
    )
    with scripted.playing(**four | {"m1": [TextDelta("Hel"), 30.0]}):
        events, result = await run(alice, timeouts=Timeouts(total_s=0.5))
    assert result.error is not None
    assert (text_of(events), result.outcome) == ("Hel", "incomplete")
    assert result.error.message == "The answer took longer than 0.5 s."
