"""One dispatch after another, with a scripted host or a real one on loopback."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.db import DataError, InterfaceError, OperationalError
from django.utils import timezone

from accounts.models import User
from ledger import entries
from ledger.errors import BudgetExceeded
from ledger.models import LedgerEntry, LedgerPreview
from ledger.types import Caller
from routing import bookings, dispatcher, host_notes
from routing.attempts import Attempts
from routing.backends import scripted
from routing.backends.base import (
    AuthenticationFailed,
    BadRequest,
    ConnectionFailed,
    ContextTooLong,
    Finished,
    Prompt,
    PromptMessage,
    RateLimited,
    Refused,
    TextDelta,
    ThinkingDelta,
    TimedOut,
    Timeouts,
    ToolCall,
    ToolResult,
    ToolSpec,
    UnknownModel,
    UpstreamFailed,
    Usage,
    UsageReported,
)
from routing.db_pool import run_in_db_pool
from routing.dispatcher import DispatchResult, Routed
from routing.events import Notice
from routing.models import Host, Model, RouteDecision
from tests.routing.conftest import PROMPT, caller_of
from tests.support.upstream import Upstream

pytestmark = pytest.mark.django_db(transaction=True)

HELLO = [TextDelta("Hel"), TextDelta("lo"), UsageReported(Usage(11, 2)), Finished()]
NANO = 1_000_000_000
PRICED = {
    "input_price_nano_usd_per_mtok": NANO,
    "output_price_nano_usd_per_mtok": 2 * NANO,
}


@pytest.fixture
def models(
    add_model: Callable[..., Model], set_chain: Callable[..., None]
) -> list[Model]:
    """Return the shared chat chain of three scripted models on hosts of their own."""
    made = [
        add_model("m1"),
        add_model("m2", context_tokens=4096, max_output_tokens=500),
        add_model("m3", context_tokens=64_000, **PRICED),
    ]
    set_chain("chat", *made)
    return made


async def run(
    user: User, prompt: Any = PROMPT, **options: Any
) -> tuple[list[Any], DispatchResult]:
    """Dispatch and return the events and the result."""
    options.setdefault("caller", caller_of(user))
    async with dispatcher.stream(prompt, user=user, **options) as dispatch:
        events = [event async for event in dispatch]
    return events, dispatch.result


async def closings() -> list[LedgerEntry]:
    """Return the closing rows, oldest first, and make sure that nothing is open."""
    rows = [row async for row in LedgerEntry.objects.order_by("id")]
    closed = [row for row in rows if row.kind in {"settle", "release"}]
    reserved = [row for row in rows if row.kind == "reserve"]
    assert [r.attempt_id for r in reserved] == [c.attempt_id for c in closed]
    return closed


def text_of(events: list[Any]) -> str:
    """Return the answer that the events make."""
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def routed(events: list[Any]) -> list[tuple[str, int, bool]]:
    """Return model, number and fallback flag of each attempt."""
    return [(e.model, e.attempt, e.fallback) for e in events if isinstance(e, Routed)]


async def test_complete_answer_is_shown_and_booked(
    alice: User, models: list[Model]
) -> None:
    with scripted.playing(m3=HELLO):
        events, result = await run(alice, model="m3")
    assert events == [
        Routed("m3", 1, "chosen by name", 1, False),
        TextDelta("Hel"),
        TextDelta("lo"),
    ]
    assert result == DispatchResult(
        outcome="complete",
        model="m3",
        tier=1,
        reason="chosen by name",
        attempts=1,
        usage=Usage(11, 2),
        cost_nano_usd=15_000,
        estimated=False,
        error=None,
        decision_id=result.decision_id,
    )
    assert result.decision_id is not None
    (row,) = await closings()
    assert (row.kind, row.outcome, row.error_code) == ("settle", "complete", "")
    assert (row.input_tokens, row.output_tokens, row.cost_nano_usd) == (11, 2, 15_000)
    assert (row.user_name, row.model_id, row.model_name) == ("alice", "m3", "m3")
    assert row.elapsed_ms is not None
    assert row.first_token_ms is not None
    assert not row.estimated


async def test_reservation_is_written_before_the_call(
    alice: User, models: list[Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    reserve = entries.reserve

    def note(reservation: Any) -> None:
        reserve(reservation)
        order.append(f"reserved, {len(scripted.calls)} calls")

    monkeypatch.setattr(entries, "reserve", note)
    with scripted.playing(m1=HELLO):
        await run(alice, model="m1")
        assert order == ["reserved, 0 calls"]
        assert len(scripted.calls) == 1


@pytest.mark.parametrize(
    ("error", "asked"),
    [
        (ConnectionFailed("x"), ["m1", "m2"]),
        (TimedOut("x"), ["m1", "m2"]),
        (UpstreamFailed("x"), ["m1", "m2"]),
        (RateLimited("x"), ["m1", "m2"]),
        (AuthenticationFailed("x"), ["m1", "m2"]),
        (UnknownModel("x"), ["m1", "m2"]),
        (ContextTooLong("x"), ["m1", "m3"]),
        (ValueError("a fault in the back end"), ["m1", "m2"]),
        (Refused("x"), ["m1"]),
        (BadRequest("x"), ["m1"]),
    ],
)
@pytest.mark.parametrize("late", [False, True])
async def test_failure_before_text_falls_back_by_its_class(
    alice: User, models: list[Model], error: Exception, asked: list[str], late: bool
) -> None:
    script = [ThinkingDelta("hm"), error] if late else [error]
    with scripted.playing(m1=script, m2=HELLO, m3=HELLO):
        events, result = await run(alice)
    assert [name for name, _, _ in routed(events)] == asked
    assert len(await closings()) == result.attempts == len(asked)
    if len(asked) == 1:
        assert (result.outcome, result.error and result.error.message) == (
            "failed",
            "x",
        )
    else:
        assert (result.outcome, result.error) == ("complete", None)
        assert text_of(events) == "Hello"
        assert ", after m1 " in result.reason
        assert "_" not in result.reason.partition("after")[2]


async def test_failure_on_opening_is_released_and_later_ones_are_settled(
    alice: User, models: list[Model]
) -> None:
    thought = [ThinkingDelta("four"), UpstreamFailed("x")]
    with scripted.playing(m1=[ConnectionFailed("x")], m2=thought, m3=HELLO):
        _, result = await run(alice)
    first, second, third = await closings()
    assert (first.kind, first.outcome, first.error_code) == (
        "release",
        "failed",
        "upstream_unavailable",
    )
    assert (first.input_tokens, first.output_tokens, first.cost_nano_usd) == (0, 0, 0)
    assert (second.kind, second.outcome, second.output_tokens) == (
        "settle",
        "failed",
        1,
    )
    assert second.input_tokens
    assert second.estimated
    assert (third.outcome, third.attempt_number) == ("complete", 3)
    assert result.cost_nano_usd is None  # m2 has no price


async def test_slow_host_is_settled_because_it_may_have_worked(
    alice: User, models: list[Model]
) -> None:
    with scripted.playing(m1=[TimedOut("x")]):
        await run(alice, model="m1")
    (row,) = await closings()
    assert (row.kind, row.outcome, row.output_tokens) == ("settle", "failed", 0)
    assert row.input_tokens
    assert row.estimated


async def test_failure_after_text_keeps_it_and_stops(
    alice: User, models: list[Model]
) -> None:
    script = [TextDelta("Half of "), ConnectionFailed("The host cut the answer.")]
    with scripted.playing(m1=script, m2=HELLO):
        events, result = await run(alice)
        assert len(scripted.calls) == 1
    assert text_of(events) == "Half of "
    assert result.outcome == "incomplete"
    assert result.error is not None
    assert result.error.code == "upstream_unavailable"
    (row,) = await closings()
    assert (row.outcome, row.output_tokens, row.estimated) == ("incomplete", 2, True)


async def test_tool_call_also_ends_falling_back(
    alice: User, models: list[Model]
) -> None:
    script = [ToolCall("a", "one", {}), ConnectionFailed("x")]
    with scripted.playing(m1=script, m2=HELLO):
        _, result = await run(alice)
    assert (result.outcome, result.attempts) == ("incomplete", 1)


async def test_all_failed_tells_the_last_reason(
    alice: User, models: list[Model]
) -> None:
    with scripted.playing(
        m1=[RateLimited("a")], m2=[UpstreamFailed("b")], m3=[TimedOut("c")]
    ):
        events, result = await run(alice)
    assert routed(events) == [("m1", 1, False), ("m2", 2, True), ("m3", 3, True)]
    assert (result.outcome, result.attempts) == ("failed", 3)
    assert result.error is not None
    assert (result.error.code, result.error.message) == ("upstream_timeout", "c")
    assert result.error.retryable


async def test_explicit_model_does_not_fall_back(
    alice: User, models: list[Model]
) -> None:
    with scripted.playing(m2=[UpstreamFailed("x")], m1=HELLO):
        events, result = await run(alice, model="m2")
    assert routed(events) == [("m2", 1, False)]
    assert result.outcome == "failed"


@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        ([Finished()], "empty answer"),
        ([ThinkingDelta("hm"), Finished(complete=False)], "length limit"),
        ([UsageReported(Usage(1, 1))], "cut the answer short"),
    ],
)
async def test_answer_without_text_is_a_failure(
    alice: User, models: list[Model], script: list[Any], sentence: str
) -> None:
    with scripted.playing(m1=script, m2=script, m3=script):
        _, result = await run(alice)
    assert (result.outcome, result.attempts) == ("failed", 3)
    assert result.error is not None
    assert sentence in result.error.message


async def test_length_limit_is_incomplete_with_a_sentence(
    alice: User, models: list[Model]
) -> None:
    with scripted.playing(m1=[TextDelta("a"), Finished(complete=False)]):
        _, result = await run(alice)
    assert result.outcome == "incomplete"
    assert result.error is not None
    assert result.error.code == "too_long"


@pytest.mark.parametrize("usage", [None, Usage(None, None), Usage(0, 0)])
async def test_missing_usage_is_estimated_and_marked(
    alice: User, models: list[Model], usage: Usage | None
) -> None:
    text = "word " * 400
    script: list[Any] = [TextDelta(text), Finished()]
    if usage is not None:
        script.insert(1, UsageReported(usage))
    prompt = Prompt("s" * 2000, (PromptMessage("user", "u" * 2000),))
    with scripted.playing(m3=script):
        _, result = await run(alice, prompt, model="m3")
    assert result.usage == Usage(1000, 500, estimated=True)
    (row,) = await closings()
    assert (row.input_tokens, row.output_tokens, row.estimated) == (1000, 500, True)
    assert row.cost_nano_usd == 1000 * 1000 + 500 * 2000


async def test_estimate_counts_thinking_calls_and_tools(
    alice: User, models: list[Model]
) -> None:
    called = (PromptMessage("assistant", "", tool_calls=(ToolCall("c", "f", {}),)),)
    answered = PromptMessage("user", "", (), (ToolResult("c", "f", "r" * 2000),))
    tools = (ToolSpec("f", "d" * 1000, {"type": "object"}),)
    prompt = Prompt("s" * 400, (*called, answered), tools=tools)
    call = ToolCall("c2", "f", {"x": "y" * 400})
    script = [ThinkingDelta("t" * 400), call, Finished()]
    with scripted.playing(m3=script):
        _, result = await run(alice, prompt, model="m3")
    assert result.usage is not None and result.usage.estimated
    assert 850 <= (result.usage.input_tokens or 0) <= 880
    assert 200 <= (result.usage.output_tokens or 0) <= 215


async def test_note_on_a_call_reaches_the_person(
    alice: User, models: list[Model]
) -> None:
    script = [TextDelta("a"), Finished(note="Only half was read.")]
    with scripted.playing(m1=script):
        events, result = await run(alice)
    assert events[-1] == Notice("context", "Only half was read.")
    assert result.outcome == "complete"
    assert events[-1] in result.notices


async def test_later_usage_replaces_an_earlier_one(
    alice: User, models: list[Model]
) -> None:
    script = [
        UsageReported(Usage(5, 1)),
        TextDelta("a"),
        UsageReported(Usage(5, 9, 2)),
        Finished(),
    ]
    with scripted.playing(m1=script):
        _, result = await run(alice)
    assert result.usage == Usage(5, 9, 2)


async def test_prompt_is_built_for_each_candidate(
    alice: User, models: list[Model]
) -> None:
    rooms: list[int] = []

    def build(room: int) -> Prompt:
        rooms.append(room)
        return replace(PROMPT, system=str(room))

    with scripted.playing(m1=[UpstreamFailed("x")], m2=HELLO):
        await run(alice, build)
        systems = [call.prompt.system for call in scripted.calls]
        caps = [call.max_output_tokens for call in scripted.calls]
    assert rooms == [8192 - 2048, 4096 - 500]
    assert systems == ["6144", "3596"]
    assert caps == [2048, 500]


async def test_prompt_too_large_to_build_goes_to_larger_models(
    alice: User, models: list[Model]
) -> None:
    def build(room: int) -> Prompt:
        if room < 10_000:
            raise ContextTooLong("It does not fit.")
        return PROMPT

    with scripted.playing(m3=HELLO):
        events, result = await run(alice, build)
    assert routed(events) == [("m3", 1, False)]
    assert len(await closings()) == 1
    _, result = await run(alice, build, model="m1")
    assert result.error is not None
    assert (result.error.code, result.attempts) == ("too_long", 0)


async def test_fault_in_a_builder_is_an_internal_error(
    alice: User, models: list[Model]
) -> None:
    def build(room: int) -> Prompt:
        raise ZeroDivisionError

    _, result = await run(alice, build)
    assert result.error is not None
    assert (result.error.code, result.attempts) == ("internal", 0)
    assert await closings() == []


async def test_model_without_a_script_repeats_the_message(
    alice: User, models: list[Model]
) -> None:
    events, result = await run(alice)
    assert text_of(events) == PROMPT.messages[-1].text
    assert result.outcome == "complete"


async def test_output_cap_can_be_lowered_only(alice: User, models: list[Model]) -> None:
    with scripted.playing(m1=HELLO):
        await run(alice, model="m1", max_output_tokens=7)
        await run(alice, model="m1", max_output_tokens=1_000_000)
        assert [call.max_output_tokens for call in scripted.calls] == [7, 2048]


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"model": "nobody knows"}, "no_model"),
        ({"role": "coder"}, "no_model"),
        ({"private": True}, "private_only"),
        ({"tier": 9}, "bad_request"),
    ],
)
async def test_impossible_request_is_an_error_without_an_attempt(
    alice: User, models: list[Model], options: dict[str, Any], code: str
) -> None:
    events, result = await run(alice, **options)
    assert events == []
    assert result.outcome == "failed"
    assert result.error is not None
    assert result.error.code == code
    assert (result.attempts, result.cost_nano_usd) == (0, 0)
    assert await closings() == []


async def test_exceeded_budget_is_an_error_before_any_call(
    alice: User, models: list[Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(reservation: Any) -> None:
        raise BudgetExceeded("Your budget for today is used up.")

    monkeypatch.setattr(entries, "reserve", refuse)
    with scripted.playing(m1=HELLO):
        _, result = await run(alice)
        assert scripted.calls == []
    assert result.error is not None
    assert result.error.code == "budget_exceeded"


async def test_locked_ledger_is_an_error_before_any_call(
    alice: User, models: list[Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    def locked(reservation: Any) -> None:
        raise OperationalError("database is locked")

    monkeypatch.setattr(entries, "reserve", locked)
    with scripted.playing(m1=HELLO):
        _, result = await run(alice)
        assert scripted.calls == []
    assert result.error is not None
    assert (result.error.code, result.error.retryable) == ("internal", True)


@pytest.mark.parametrize("error", [OperationalError, InterfaceError])
async def test_settling_is_tried_again_when_the_ledger_is_busy(
    error: type[Exception],
    alice: User,
    models: list[Model],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settle, tries = entries.settle, []

    def busy_once(*arguments: Any) -> Any:
        tries.append(1)
        if len(tries) == 1:
            raise error("database is locked")
        return settle(*arguments)

    monkeypatch.setattr(entries, "settle", busy_once)
    with scripted.playing(m1=HELLO):
        _, result = await run(alice)
    assert (result.outcome, len(tries)) == ("complete", 2)
    assert len(await closings()) == 1


async def test_settled_attempt_whose_confirmation_was_lost_is_not_settled_again(
    alice: User, models: list[Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    settle = entries.settle

    def cut_off(*arguments: Any) -> Any:
        settle(*arguments)
        raise OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(entries, "settle", cut_off)
    with scripted.playing(m1=HELLO):
        events, result = await run(alice)
    assert text_of(events) == "Hello"
    assert (result.outcome, result.error, result.cost_nano_usd) == (
        "complete",
        None,
        None,
    )
    assert len(await closings()) == 1


async def test_answer_survives_a_ledger_that_cannot_be_written(
    alice: User,
    models: list[Model],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(*arguments: Any) -> Any:
        raise DataError("value out of range")

    monkeypatch.setattr(bookings, "SETTLE_PAUSES_S", (0.0, 0.0))
    monkeypatch.setattr(entries, "settle", broken)
    with scripted.playing(m1=HELLO):
        events, result = await run(alice)
    assert text_of(events) == "Hello"
    assert (result.outcome, result.error, result.cost_nano_usd) == (
        "complete",
        None,
        None,
    )
    assert "was not settled" in caplog.text


async def test_key_that_cannot_be_noted_does_not_stop_falling_back(
    alice: User, models: list[Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    def locked(attempt: Any, cooling_s: Any) -> None:
        raise OperationalError("database is locked")

    monkeypatch.setattr(host_notes, "note", locked)
    with scripted.playing(m1=[AuthenticationFailed("no")], m2=HELLO):
        events, result = await run(alice)
    assert (text_of(events), result.model) == ("Hello", "m2")


@pytest.mark.parametrize("broken", ["note", "next", "settle"])
async def test_fault_of_our_own_behind_an_attempt_is_logged_not_raised(
    broken: str,
    alice: User,
    models: list[Model],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fault(*arguments: Any, **options: Any) -> None:
        raise ValueError("a fault of our own")

    owner: Any = {"note": host_notes, "next": Attempts, "settle": bookings}[broken]
    name = "_decide_next" if broken == "next" else broken
    monkeypatch.setattr(owner, name, fault)
    with scripted.playing(m1=[ConnectionFailed("Gone.")], m2=HELLO):
        events, result = await run(alice)
    goes_on = broken != "next"
    assert text_of(events) == ("Hello" if goes_on else "")
    assert result.outcome == ("complete" if goes_on else "failed")
    assert "a fault of our own" in caplog.text


async def test_call_of_nobody_is_nobodys_decision(
    alice: User, models: list[Model]
) -> None:
    nobody = Caller(None, "", channel="schedule")
    with scripted.playing(m1=[ConnectionFailed("Gone.")], m2=HELLO):
        _, result = await run(alice, caller=nobody)
    assert (result.outcome, result.attempts) == ("complete", 2)
    assert result.decision_id is None
    assert await RouteDecision.objects.acount() == 0
    assert len(await closings()) == 2


async def test_wish_for_a_shorter_rest_does_not_shorten_it(
    alice: User, models: list[Model]
) -> None:
    host = models[0].host
    until = timezone.now() + timedelta(minutes=30)
    await Host.objects.filter(id=host.id).aupdate(cooling_until=until)
    with scripted.playing(m1=[RateLimited("a", retry_after_s=60)]):
        await run(alice, model=f"{host.name}:m1", only_host=host.id)
    await host.arefresh_from_db()
    assert host.cooling_until == until
    with scripted.playing(m1=[RateLimited("a", retry_after_s=3600)]):
        await run(alice, model=f"{host.name}:m1", only_host=host.id)
    await host.arefresh_from_db()
    assert host.cooling_until is not None
    assert host.cooling_until > until


async def test_stop_before_the_second_attempt_is_no_failure(
    alice: User, models: list[Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    with scripted.playing(m1=[ConnectionFailed("down")], m2=HELLO):
        async with dispatcher.stream(
            PROMPT, user=alice, caller=caller_of(alice)
        ) as dispatch:
            release = entries.release
            loop = asyncio.get_running_loop()

            def stop_and_release(*arguments: Any, **options: Any) -> None:
                loop.call_soon_threadsafe(dispatch.stop)
                time.sleep(0.05)
                release(*arguments, **options)

            monkeypatch.setattr(entries, "release", stop_and_release)
            shown = [event async for event in dispatch]
        assert len(scripted.calls) == 1
    assert [event.model for event in shown if isinstance(event, Routed)] == ["m1"]
    assert (dispatch.result.outcome, dispatch.result.error) == ("interrupted", None)


async def test_leaving_during_the_second_attempt_is_no_failure(
    alice: User, models: list[Model]
) -> None:
    with scripted.playing(m1=[ConnectionFailed("down")], m2=[30.0]):
        async with dispatcher.stream(
            PROMPT, user=alice, caller=caller_of(alice)
        ) as dispatch:
            async for event in dispatch:
                if isinstance(event, Routed) and event.fallback:
                    break
    assert (dispatch.result.outcome, dispatch.result.error) == ("interrupted", None)
    assert dispatch.result.model == "m2"


async def test_stop_keeps_the_text_and_books_it(
    alice: User, models: list[Model]
) -> None:
    with scripted.playing(m1=[TextDelta("12345678"), 30.0, Finished()], m2=HELLO):
        async with dispatcher.stream(
            PROMPT, user=alice, caller=caller_of(alice)
        ) as dispatch:
            events = []
            async for event in dispatch:
                events.append(event)
                if isinstance(event, TextDelta):
                    asyncio.get_running_loop().call_later(0.05, dispatch.stop)
        assert not scripted.calls[0].finished
    result = dispatch.result
    assert text_of(events) == "12345678"
    assert (result.outcome, result.attempts, result.error) == ("interrupted", 1, None)
    (row,) = await closings()
    assert (row.outcome, row.output_tokens, row.estimated) == ("interrupted", 2, True)


async def test_stop_before_the_first_event_calls_nobody(
    alice: User, models: list[Model]
) -> None:
    with scripted.playing(m1=HELLO):
        async with dispatcher.stream(
            PROMPT, user=alice, caller=caller_of(alice)
        ) as dispatch:
            dispatch.stop()
            assert [event async for event in dispatch] == []
        assert scripted.calls == []
    assert dispatch.result.outcome == "interrupted"
    assert await closings() == []


async def test_a_prepared_attempt_is_the_first_that_is_made(
    alice: User, models: list[Model]
) -> None:
    dispatch = dispatcher.stream(PROMPT, user=alice, caller=caller_of(alice))
    await run_in_db_pool(dispatch.prepare)
    with scripted.playing(m1=HELLO):
        async with dispatch:
            assert await run_in_db_pool(LedgerEntry.objects.count) == 1
            assert [event async for event in dispatch]
    assert (dispatch.result.outcome, dispatch.result.attempts) == ("complete", 1)
    assert len(await closings()) == 1


async def test_a_prepared_attempt_that_nobody_makes_is_closed(
    alice: User, models: list[Model]
) -> None:
    dispatch = dispatcher.stream(PROMPT, user=alice, caller=caller_of(alice))
    await run_in_db_pool(dispatch.prepare)
    with scripted.playing(m1=HELLO):
        async with dispatch:
            pass
        assert scripted.calls == []
    (row,) = await closings()
    assert (row.outcome, row.input_tokens) == ("interrupted", 0)
    assert dispatch.result.outcome == "interrupted"


async def test_what_a_preparation_met_is_told_by_the_dispatch(
    alice: User, models: list[Model]
) -> None:
    dispatch = dispatcher.stream(
        PROMPT, user=alice, caller=caller_of(alice), model="nobody knows it"
    )
    await run_in_db_pool(dispatch.prepare)
    async with dispatch:
        assert [event async for event in dispatch] == []
    assert dispatch.result.error is not None
    assert dispatch.result.error.code == "no_model"


async def test_leaving_the_context_ends_the_call(
    alice: User, models: list[Model]
) -> None:
    with scripted.playing(m1=[TextDelta("1234"), 30.0]):
        async with dispatcher.stream(
            PROMPT, user=alice, caller=caller_of(alice)
        ) as dispatch:
            async for event in dispatch:
                if isinstance(event, TextDelta):
                    break
    assert dispatch.result.outcome == "interrupted"
    (row,) = await closings()
    assert (row.outcome, row.output_tokens) == ("interrupted", 1)


@pytest.mark.parametrize("script", [[30.0], [TextDelta("1234"), 30.0]])
async def test_cancelled_task_settles_and_stays_cancelled(
    alice: User, models: list[Model], script: list[Any]
) -> None:
    with scripted.playing(m1=script):
        task = asyncio.create_task(run(alice))
        while not scripted.calls:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    (row,) = await closings()
    assert (row.kind, row.outcome) == ("settle", "interrupted")


async def test_cancellation_while_reserving_leaves_nothing_open(
    alice: User, models: list[Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    reserve = entries.reserve
    task: asyncio.Task[Any]
    loop = asyncio.get_running_loop()

    def cancel_and_reserve(reservation: Any) -> None:
        loop.call_soon_threadsafe(task.cancel)
        time.sleep(0.05)
        reserve(reservation)

    monkeypatch.setattr(entries, "reserve", cancel_and_reserve)
    with scripted.playing(m1=HELLO):
        task = asyncio.create_task(run(alice))
        with pytest.raises(asyncio.CancelledError):
            await task
        assert scripted.calls == []
    (row,) = await closings()
    assert row.outcome == "interrupted"
    assert (row.input_tokens, row.output_tokens) == (0, 0)  # nothing was sent


async def test_refused_key_flags_the_host_and_success_takes_it_back(
    alice: User, models: list[Model]
) -> None:
    host = models[0].host
    with scripted.playing(m1=[AuthenticationFailed("The host refused the key.")]):
        await run(alice, model="m1")
    await host.arefresh_from_db()
    assert host.flagged == "The host refused the key."
    with scripted.playing(m1=HELLO):
        await run(alice, model="m1")
    await host.arefresh_from_db()
    assert host.flagged == ""


async def test_unreadable_key_is_an_authentication_failure(
    alice: User, models: list[Model]
) -> None:
    await Host.objects.filter(id=models[0].host_id).aupdate(key_encrypted="broken")
    _, result = await run(alice, model="m1")
    assert result.error is not None
    assert result.error.code == "upstream_auth"
    assert "enter it again" in result.error.message


async def test_preview_is_kept_only_when_wanted(
    alice: User, models: list[Model]
) -> None:
    with scripted.playing(m1=HELLO):
        await run(alice, model="m1", preview=False)
        assert not await LedgerPreview.objects.aexists()
        await run(alice, model="m1")
    assert await LedgerPreview.objects.filter(user_id=alice.id).acount() == 1


async def test_turn_and_persona_reach_the_ledger(
    alice: User, models: list[Model]
) -> None:
    turn = uuid.uuid4()
    caller = replace(
        caller_of(alice),
        turn_id=turn,
        persona_id=7,
        persona_name="inara",
        channel="api",
    )
    with scripted.playing(m1=HELLO):
        await run(alice, caller=caller, role="chat")
    (row,) = await closings()
    assert (row.turn_id, row.persona_name, row.channel) == (turn, "inara", "api")
    assert (row.role, row.host_type, row.tier) == ("chat", "scripted", 1)


async def test_complete_gives_the_whole_text(alice: User, models: list[Model]) -> None:
    with scripted.playing(m1=[ThinkingDelta("hm"), *HELLO]):
        completion = await dispatcher.complete("Hi", user=alice)
        sent = scripted.calls[0].prompt
    assert (completion.text, completion.result.outcome) == ("Hello", "complete")
    assert sent == Prompt("", (PromptMessage("user", "Hi"),))


async def test_dispatches_run_side_by_side(alice: User, models: list[Model]) -> None:
    script = [TextDelta("a"), 0.2, *HELLO]
    started = time.monotonic()
    with scripted.playing(m1=script):
        results = await asyncio.gather(*(run(alice) for _ in range(10)))
    assert {result.outcome for _, result in results} == {"complete"}
    assert time.monotonic() - started < 10 * 0.2
    assert len(await _all_closings()) == 10


async def _all_closings() -> list[LedgerEntry]:
    return [row async for row in LedgerEntry.objects.filter(kind="settle")]


# --- over the wire ------------------------------------------------------------------


@pytest.fixture
def wire(add_model: Callable[..., Model], upstream: Upstream) -> Callable[[str], Model]:
    """Return a function that adds a model of the mock upstream."""

    def add(name: str) -> Model:
        return add_model(
            name,
            type="local_openai",
            base_url=upstream.base_url,
            host="upstream",
            is_local=True,
            key="sk-canary",
        )

    return add


SHORT = Timeouts(connect_s=1, first_token_s=0.3, between_tokens_s=0.3, total_s=5)
WIRE_CASES = {
    "echo": ("complete", None),
    "say:Grüße, 世界! 🙂": ("complete", None),
    "split-bytes": ("complete", None),
    "long-line": ("complete", None),
    "think": ("complete", None),
    "tool": ("complete", None),
    "no-usage": ("complete", None),
    "length": ("incomplete", "too_long"),
    "filtered": ("failed", "refused"),
    "empty": ("failed", "upstream_unavailable"),
    "hang": ("failed", "upstream_timeout"),
    "stall-after-3": ("incomplete", "upstream_timeout"),
    "cut-after-3": ("incomplete", "upstream_unavailable"),
    "end-after-3": ("incomplete", "upstream_unavailable"),
    "error-in-stream": ("incomplete", "upstream_unavailable"),
    "malformed": ("incomplete", "upstream_unavailable"),
    "too-long": ("failed", "too_long"),
    "status-400": ("failed", "bad_request"),
    "status-401": ("failed", "upstream_auth"),
    "status-403": ("failed", "upstream_auth"),
    "status-404": ("failed", "no_model"),
    "status-413": ("failed", "too_long"),
    "status-429": ("failed", "too_many"),
    "status-500": ("failed", "upstream_unavailable"),
    "status-529": ("failed", "upstream_unavailable"),
    "redirect": ("failed", "bad_request"),
    "never heard of": ("failed", "no_model"),
}


@pytest.mark.parametrize("name", WIRE_CASES)
async def test_every_behaviour_of_a_host_has_one_ending(
    name: str, alice: User, wire: Callable[[str], Model], upstream: Upstream
) -> None:
    await asyncio.get_running_loop().run_in_executor(
        None, _in_own_connection, wire, name
    )
    events, result = await run(alice, model=name, timeouts=SHORT)
    code = result.error.code if result.error else None
    assert (result.outcome, code) == WIRE_CASES[name]
    rows, calls = await closings(), upstream.completions
    # Only a host that is too busy is asked again.
    assert len(rows) == 1 or name == "status-529"
    assert len(rows) == len(calls)
    row, call = rows[-1], calls[-1]
    if text_of(events):
        assert row.output_tokens
        assert abs(row.output_tokens - call.tokens_sent) <= 0.15 * call.tokens_sent + 1
    if result.outcome == "complete" and not result.estimated:
        assert row.output_tokens == call.output_tokens
        assert row.input_tokens == call.input_tokens


def _in_own_connection(func: Callable[..., Any], *arguments: Any) -> None:
    from django.db import connection

    try:
        func(*arguments)
    finally:
        connection.close()


async def test_key_goes_to_the_host_and_nowhere_else(
    alice: User,
    wire: Callable[[str], Model],
    upstream: Upstream,
    caplog: pytest.LogCaptureFixture,
) -> None:
    await asyncio.to_thread(_in_own_connection, wire, "status-401")
    upstream.require_key("sk-canary")
    caplog.set_level("DEBUG")
    _, result = await run(alice, model="status-401")
    assert upstream.completions[0].headers["authorization"] == "Bearer sk-canary"
    assert "canary" not in caplog.text + repr(result)


async def test_body_is_what_the_host_expects(
    alice: User, wire: Callable[[str], Model], upstream: Upstream
) -> None:
    await asyncio.to_thread(_in_own_connection, wire, "echo")
    await run(alice, model="echo", max_output_tokens=50)
    assert upstream.completions[0].body == {
        "model": "echo",
        "messages": [
            {"role": "system", "content": "Be kind."},
            {"role": "user", "content": "Hello, who are you?"},
        ],
        "max_tokens": 50,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


async def test_connection_is_kept_for_the_next_call(
    alice: User, wire: Callable[[str], Model], upstream: Upstream
) -> None:
    await asyncio.to_thread(_in_own_connection, wire, "echo")
    for _ in range(3):
        await run(alice, model="echo")
    assert len(upstream._server.connections) == 1


async def test_untrusted_address_of_a_person_is_not_called(
    alice: User, add_model: Callable[..., Model], upstream: Upstream
) -> None:
    def own() -> None:
        from routing.hosts import allow_free_urls

        allow_free_urls(alice, True, actor=None)
        add_model("echo", owner=alice, type="local_openai", base_url=upstream.base_url)

    await asyncio.to_thread(_in_own_connection, own)
    _, result = await run(alice, model="echo")
    assert result.error is not None
    assert "private network" in result.error.message
    assert upstream.calls == []
    (row,) = await closings()
    assert row.kind == "release"
