"""Answers that break off and are finished by another model, where that is allowed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from accounts.models import User
from routing.backends import scripted
from routing.backends.base import (
    BadRequest,
    ConnectionFailed,
    Finished,
    Refused,
    TextDelta,
    TimedOut,
    ToolCall,
    UpstreamFailed,
    Usage,
    UsageReported,
)
from routing.continuation import REQUEST
from routing.dispatcher import Routed
from routing.models import Model, RoutingPreferences
from tests.routing.conftest import PROMPT
from tests.routing.dispatching import (
    HELLO,
    closings,
    decision_of,
    models_of,
    run,
    text_of,
)

pytestmark = pytest.mark.django_db(transaction=True)

HALF: list[Any] = [
    TextDelta("Once upon "),
    TextDelta("a time"),
    ConnectionFailed("cut"),
]
REST: list[Any] = [
    TextDelta("a time there "),
    TextDelta("was."),
    UsageReported(Usage(30, 7)),
    Finished(),
]


@pytest.fixture
def models(
    alice: User, add_model: Callable[..., Model], set_chain: Callable[..., None]
) -> list[Model]:
    made = [add_model("m1"), add_model("m2", tier=2), add_model("m3")]
    set_chain("chat", *made)
    RoutingPreferences.objects.create(owner=alice, finish_with_another_model=True)
    return made


async def test_next_model_goes_on_inside_the_text(
    alice: User, models: list[Model]
) -> None:
    with scripted.playing(m1=HALF, m2=REST):
        events, result = await run(alice)
        second = scripted.calls[1].prompt
    assert text_of(events) == "Once upon a time there was."
    seams = [event for event in events if isinstance(event, Routed)]
    assert [seam.continues for seam in seams] == [False, True]
    assert seams[1] == Routed("m2", 2, "goes on where m1 broke off", 2, True, True)
    assert [message.text for message in second.messages] == [
        PROMPT.messages[-1].text,
        "Once upon a time",
        REQUEST,
    ]
    assert (result.outcome, result.error, result.attempts) == ("complete", None, 2)
    assert (result.model, result.tier) == ("m2", 2)
    first, last = await closings()
    assert (first.outcome, first.output_tokens, first.estimated) == (
        "incomplete",
        4,
        True,
    )
    assert (last.outcome, last.output_tokens) == ("complete", 7)
    assert result.usage is not None
    assert result.usage.output_tokens == 11  # both wrote it
    row = await decision_of(result)
    assert [attempt["starts_at"] for attempt in row.attempts] == [0, 16]
    assert row.chosen == "m2"


async def test_it_goes_on_until_somebody_ends_it(
    alice: User, models: list[Model]
) -> None:
    more = [TextDelta(" there"), TimedOut("silent")]
    with scripted.playing(m1=HALF, m2=more, m3=[TextDelta(" was."), Finished()]):
        events, result = await run(alice)
    assert text_of(events) == "Once upon a time there was."
    assert (result.outcome, result.attempts) == ("complete", 3)


async def test_model_that_cannot_go_on_is_passed_over(
    alice: User, models: list[Model]
) -> None:
    with scripted.playing(m1=HALF, m2=[UpstreamFailed("x")], m3=REST):
        events, result = await run(alice)
    assert text_of(events) == "Once upon a time there was."
    assert models_of(events) == ["m1", "m2", "m3"]
    assert [e.continues for e in events if isinstance(e, Routed)] == [False, True, True]
    assert result.outcome == "complete"


async def test_nobody_can_go_on_so_the_text_stays(
    alice: User, models: list[Model]
) -> None:
    failing: list[Any] = [UpstreamFailed("x")]
    with scripted.playing(m1=HALF, m2=failing, m3=failing):
        events, result = await run(alice)
    assert text_of(events) == "Once upon a time"
    assert (result.outcome, result.model) == ("incomplete", "m1")
    assert result.error is not None
    assert len(await closings()) == 3


async def test_repetition_alone_is_a_complete_end(
    alice: User, models: list[Model]
) -> None:
    with scripted.playing(m1=HALF, m2=[TextDelta("upon a time"), Finished()]):
        events, result = await run(alice)
    assert text_of(events) == "Once upon a time"
    assert result.outcome == "complete"


@pytest.mark.parametrize(
    ("first", "options"),
    [
        (HALF, {"model": "m1"}),
        ([TextDelta("a"), BadRequest("x")], {}),
        ([TextDelta("a"), Refused("x")], {}),
        ([TextDelta("a"), Finished(complete=False)], {}),
        ([ToolCall("1", "x", {}), ConnectionFailed("x")], {}),
    ],
)
async def test_where_nobody_goes_on(
    first: list[Any], options: dict[str, Any], alice: User, models: list[Model]
) -> None:
    with scripted.playing(m1=first, m2=REST):
        events, result = await run(alice, **options)
    assert models_of(events) == ["m1"]
    assert result.outcome == "incomplete"


async def test_without_the_preference_the_text_stays_as_it_is(
    alice: User, models: list[Model]
) -> None:
    await RoutingPreferences.objects.aupdate(finish_with_another_model=False)
    with scripted.playing(m1=HALF, m2=REST):
        events, result = await run(alice)
    assert (text_of(events), result.attempts) == ("Once upon a time", 1)


@pytest.mark.parametrize(("allowed", "asked"), [(True, ["m1", "m2"]), (False, ["m1"])])
async def test_refusal_goes_on_only_where_the_person_allows_it(
    allowed: bool, asked: list[str], alice: User, models: list[Model]
) -> None:
    await RoutingPreferences.objects.aupdate(fallback_after_refusal=allowed)
    with scripted.playing(m1=[Refused("I'd rather not.")], m2=HELLO):
        events, result = await run(alice)
    assert models_of(events) == asked
    assert result.outcome == ("complete" if allowed else "failed")
