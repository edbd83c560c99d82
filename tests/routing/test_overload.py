"""Hosts that are busy or fail: back-off, cool-downs and breakers in a dispatch."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from accounts.models import User
from routing import breakers, dispatcher, prospects
from routing.backends import scripted
from routing.backends.base import (
    AuthenticationFailed,
    ConnectionFailed,
    Overloaded,
    RateLimited,
    TextDelta,
    UpstreamFailed,
)
from routing.dispatcher import Notice
from routing.models import Host, Model
from tests.routing.conftest import PROMPT, caller_of
from tests.routing.dispatching import (
    HELLO,
    closings,
    in_thread,
    models_of,
    notices_of,
    run,
    text_of,
)

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def models(
    add_model: Callable[..., Model],
    set_chain: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> list[Model]:
    """Return the shared chat chain of two models on hosts of their own; pauses fly."""
    monkeypatch.setattr(breakers, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(breakers, "COOL_S", 0.02)
    monkeypatch.setattr(breakers, "SHORTEST_S", 0.01)
    made = [add_model("m1"), add_model("m2")]
    set_chain("chat", *made)
    return made


async def test_overloaded_chain_is_tried_again_until_somebody_answers(
    alice: User, models: list[Model]
) -> None:
    m1: list[Any] = [[RateLimited("a")], [RateLimited("a")], HELLO]
    with scripted.playing(m1=m1, m2=[Overloaded("b", retry_after_s=0.01)]):
        events, result = await run(alice)
    assert text_of(events) == "Hello"
    asked = models_of(events)
    assert (asked[:2], asked.count("m1"), asked[-1]) == (["m1", "m2"], 3, "m1")
    assert (result.outcome, result.error) == ("complete", None)
    codes = [row.error_code for row in await closings()]
    assert len(codes) == result.attempts == len(asked)
    assert (codes[:2], codes[-1]) == (["too_many", "upstream_unavailable"], "")
    assert notices_of(events) == []  # it took less than 5 s


async def test_person_is_told_once_when_it_takes_long(
    alice: User, models: list[Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("routing.dispatch.BUSY_NOTICE_S", 0.03)
    m1: list[Any] = [*([RateLimited("a", retry_after_s=0.02)] for _ in range(5)), HELLO]
    with scripted.playing(m1=m1):
        events, result = await run(alice, model="m1")
    assert text_of(events) == "Hello"
    assert notices_of(events) == ["busy"]
    (notice,) = result.notices
    assert "“host of m1”" in notice.text


async def test_deadline_ends_the_waiting_with_the_hosts_own_reason(
    alice: User, models: list[Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prospects, "OVERLOAD_PATIENCE_S", 0.2)
    with scripted.playing(m1=[RateLimited("Slow down.")]):
        _, result = await run(alice, model="m1")
    assert result.attempts > 1
    assert result.error is not None
    assert (result.outcome, result.error.code, result.error.message) == (
        "failed",
        "too_many",
        "Slow down.",
    )


async def test_wait_beyond_the_deadline_is_not_begun(
    alice: User, models: list[Model]
) -> None:
    with scripted.playing(m1=[RateLimited("Slow down.", retry_after_s=600)]):
        _, result = await run(alice, model="m1")
        assert result.attempts == 1
        events, again = await run(alice, model="m1")
        assert len(scripted.calls) == 1  # it asked to be left alone
    assert events == []
    assert again.error is not None
    assert (again.error.code, again.error.retryable) == ("too_many", True)
    assert "left alone for another" in again.error.message


@pytest.mark.parametrize("other", [UpstreamFailed("x"), ConnectionFailed("x")])
async def test_somebody_who_failed_otherwise_ends_it(
    other: Exception, alice: User, models: list[Model]
) -> None:
    with scripted.playing(m1=[RateLimited("a")], m2=[other]):
        _, result = await run(alice)
    assert (result.outcome, result.attempts) == ("failed", 2)


async def test_somebody_who_can_never_answer_is_not_waited_for(
    alice: User, models: list[Model]
) -> None:
    with scripted.playing(
        m1=[[RateLimited("a")], HELLO], m2=[AuthenticationFailed("no")]
    ):
        events, _ = await run(alice)
    assert models_of(events) == ["m1", "m2", "m1"]
    assert text_of(events) == "Hello"


async def test_nobody_is_asked_again_after_text(
    alice: User, models: list[Model]
) -> None:
    with scripted.playing(m1=[TextDelta("a"), Overloaded("b")], m2=HELLO):
        events, result = await run(alice)
    assert models_of(events) == ["m1"]
    assert result.outcome == "incomplete"


async def test_stop_ends_the_waiting_at_once(alice: User, models: list[Model]) -> None:
    with scripted.playing(m1=[RateLimited("a", retry_after_s=60)]):
        async with dispatcher.stream(
            PROMPT, user=alice, caller=caller_of(alice), model="m1"
        ) as dispatch:
            loop = asyncio.get_running_loop()
            loop.call_later(0.3, dispatch.stop)
            begun = loop.time()
            _ = [event async for event in dispatch]
            assert loop.time() - begun < 3
        assert len(scripted.calls) == 1
    result = dispatch.result
    assert (result.outcome, result.error, result.attempts) == ("interrupted", None, 1)


async def test_waiting_is_said_while_it_lasts(
    alice: User, models: list[Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("routing.dispatch.BUSY_NOTICE_S", 0.1)
    with scripted.playing(m1=[RateLimited("a", retry_after_s=60)]):
        async with dispatcher.stream(
            PROMPT, user=alice, caller=caller_of(alice), model="m1"
        ) as dispatch:
            async for event in dispatch:
                if isinstance(event, Notice):
                    dispatch.stop()  # it came although the pause goes on
    assert dispatch.result.outcome == "interrupted"


async def test_cool_down_is_written_and_obeyed_by_other_processes(
    alice: User, models: list[Model]
) -> None:
    with scripted.playing(m1=[RateLimited("a", retry_after_s=30)], m2=HELLO):
        await run(alice)
        host = await Host.objects.aget(id=models[0].host_id)
        assert host.cooling_until is not None
        left_s = (host.cooling_until - timezone.now()).total_seconds()
        assert 25 < left_s <= 30
        breakers.BREAKERS.clear()  # as in a process that saw nothing of it
        events, result = await run(alice)
    assert models_of(events) == ["m2"]
    assert result.attempts == 1
    later = timezone.now() - timedelta(seconds=1)
    await Host.objects.filter(id=host.id).aupdate(cooling_until=later)
    with scripted.playing(m1=HELLO):
        events, _ = await run(alice)
    assert models_of(events) == ["m1"]


async def test_breaker_passes_a_failing_host_over(
    alice: User, models: list[Model]
) -> None:
    with scripted.playing(m1=[ConnectionFailed("down")], m2=HELLO):
        asked = [models_of((await run(alice))[0]) for _ in range(5)]
    assert asked == [["m1", "m2"]] * 3 + [["m2"]] * 2


@pytest.mark.parametrize("error", [AuthenticationFailed("x"), RateLimited("x")])
async def test_other_errors_do_not_open_it(
    error: Exception, alice: User, models: list[Model]
) -> None:
    with scripted.playing(m1=[error], m2=HELLO):
        for _ in range(4):
            await run(alice)
            await asyncio.sleep(0.02)
    assert breakers.BREAKERS._breakers == {}


async def test_explicit_model_on_a_failing_host_is_refused_without_a_call(
    alice: User, models: list[Model]
) -> None:
    with scripted.playing(m1=[ConnectionFailed("down")]):
        for _ in range(3):
            await run(alice, model="m1")
        _, result = await run(alice, model="m1")
        assert len(scripted.calls) == 3
    assert result.error is not None
    assert (result.error.code, result.error.retryable) == ("upstream_unavailable", True)
    assert "“host of m1” failed several times" in result.error.message
    assert (result.attempts, result.decision_id) == (0, None)
    assert len(await closings()) == 3


async def test_test_of_a_host_calls_it_also_while_it_rests(
    alice: User, models: list[Model]
) -> None:
    with scripted.playing(m1=[*([ConnectionFailed("x")] for _ in range(3)), HELLO]):
        for _ in range(3):
            await run(alice, model="m1")
        _, result = await run(alice, model="m1", only_host=models[0].host_id)
    assert result.outcome == "complete"
    assert breakers.BREAKERS._breakers == {}


async def test_second_model_of_a_host_gets_its_try_in_the_same_dispatch(
    alice: User, add_model: Callable[..., Model], set_chain: Callable[..., None]
) -> None:
    def chain() -> None:
        made = [add_model(name, host="one") for name in ("a", "b", "c", "d")]
        set_chain("coder", *made)

    await in_thread(chain)
    failing: list[Any] = [ConnectionFailed("x")]
    with scripted.playing(a=failing, b=failing, c=failing, d=HELLO):
        events, result = await run(alice, role="coder")
    assert models_of(events) == ["a", "b", "c", "d"]
    assert result.outcome == "complete"


async def test_first_word_of_a_probe_opens_its_host_to_others(
    alice: User, models: list[Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(breakers, "OPEN_S", 0.0)
    with scripted.playing(m1=[UpstreamFailed("a")]):
        for _ in range(3):
            await run(alice, model="m1")
    with scripted.playing(m1=[[*HELLO], HELLO]):
        async with dispatcher.stream(
            PROMPT, user=alice, caller=caller_of(alice), model="m1"
        ) as probe:
            async for event in probe:
                if isinstance(event, TextDelta):
                    break
            _, second = await run(alice, model="m1")
    assert second.outcome == "complete"
