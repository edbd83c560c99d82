"""The tier of each message, who judged it, and the row that says so."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from accounts.models import User
from ledger import budgets, entries
from ledger.errors import BudgetExceeded
from ledger.models import LedgerPreview
from routing import classifier, decisions, dispatcher
from routing.backends import scripted
from routing.backends.base import (
    Finished,
    Prompt,
    PromptMessage,
    TextDelta,
    UpstreamFailed,
    Usage,
    UsageReported,
)
from routing.events import Routed
from routing.models import Model, RouteDecision, RoutingPreferences
from tests.routing.conftest import caller_of
from tests.routing.dispatching import (
    HELLO,
    closings,
    decision_of,
    in_thread,
    models_of,
    notices_of,
    run,
)

pytestmark = pytest.mark.django_db(transaction=True)

UNCLEAR = "I went to the market and it rained, so I went home again."
HARD = "Prove the theorem and evaluate the strategy."
PRICE = 1_000_000_000


def asking(text: str) -> Prompt:
    return Prompt("Be kind.", (PromptMessage("user", text),))


def saying(tier: int) -> list[Any]:
    answer = json.dumps({"tier": tier, "confidence": 0.9, "reason": "so it seems"})
    return [TextDelta(answer), UsageReported(Usage(50, 20)), Finished()]


@pytest.fixture
def models(add_model: Callable[..., Model]) -> list[Model]:
    """Return a model of each tier; there is no chain, so Cortex chooses."""
    return [
        add_model(
            f"t{tier}",
            tier=tier,
            input_price_nano_usd_per_mtok=tier * PRICE,
            output_price_nano_usd_per_mtok=tier * PRICE,
        )
        for tier in (1, 2, 3)
    ]


@pytest.fixture
def judge(
    models: list[Model], add_model: Callable[..., Model], set_chain: Callable[..., None]
) -> Model:
    """Return the model that classifies, on a host in the house."""
    model = add_model("judge", tier=1, is_local=True)
    set_chain("classify", model)
    return model


@pytest.mark.parametrize(
    ("text", "options", "asked", "by"),
    [
        ("Hi", {"tier": "auto"}, "t1", "rules"),
        (HARD, {"tier": "auto"}, "t3", "rules"),
        (HARD, {}, "t3", "rules"),
        (UNCLEAR, {"tier": "auto"}, "t1", "default"),
        (HARD, {"tier": 2}, "t2", "explicit"),
        (HARD, {"tier": 2, "policy": "policy"}, "t2", "policy"),
        ("Hi", {"model": "t3"}, "t3", "explicit"),
        ("Hi", {"model": "t3", "policy": "policy"}, "t3", "policy"),
    ],
)
async def test_who_decides(
    text: str, options: dict[str, Any], asked: str, by: str, alice: User, models: Any
) -> None:
    events, result = await run(alice, asking(text), **options)
    assert models_of(events) == [asked]
    row = await decision_of(result)
    assert (row.decided_by, row.tier, row.chosen) == (by, int(asked[1]), asked)
    assert row.kind in {"greeting", "analysis", "other"}
    assert text not in json.dumps([row.features, row.plan, row.attempts, row.reason])


@pytest.fixture
def chain(models: list[Model], set_chain: Callable[..., None]) -> None:
    """Set a shared chain for chat."""
    set_chain("chat", models[1])


async def test_a_chain_is_the_reason_where_nobody_judges(
    alice: User, chain: None
) -> None:
    _, result = await run(alice, asking(HARD))
    row = await decision_of(result)
    assert (row.decided_by, row.reason) == (
        "default",
        "the shared chain for chat, place 1",
    )


async def test_prompt_builder_is_judged_by_its_newest_message(
    alice: User, models: Any
) -> None:
    events, _ = await run(alice, lambda room: asking(HARD), tier="auto")
    assert models_of(events) == ["t3"]


async def test_classifier_judges_what_rules_cannot(alice: User, judge: Model) -> None:
    caller = replace(caller_of(alice), turn_id=uuid.uuid4())
    with scripted.playing(judge=saying(3)):
        events, result = await run(alice, asking(UNCLEAR), tier="auto", caller=caller)
        assert UNCLEAR in scripted.calls[0].prompt.messages[0].text
    assert models_of(events) == ["t3"]
    row = await decision_of(result)
    assert (row.decided_by, row.confidence, row.reason) == (
        "classifier",
        0.9,
        "so it seems",
    )
    classified, answered = await closings()
    assert (classified.role, classified.background, classified.turn_id) == (
        "classify",
        True,
        None,
    )
    assert (classified.input_tokens, classified.output_tokens) == (50, 20)
    assert (answered.role, answered.turn_id) == ("chat", caller.turn_id)
    previews = [preview async for preview in LedgerPreview.objects.all()]
    assert [preview.attempt_id for preview in previews] == [answered.attempt_id]


@pytest.mark.parametrize(
    ("script", "reason", "outcome"),
    [
        ([TextDelta("tier 3, I think"), Finished()], "no usable answer", "complete"),
        ([UpstreamFailed("x")], "failed", "failed"),
        ([30.0], "took too long", "failed"),
        ([TextDelta('{"tier": 3'), 30.0], "took too long", "incomplete"),
    ],
)
async def test_whatever_goes_wrong_the_default_answers_and_it_is_booked(
    script: list[Any],
    reason: str,
    outcome: str,
    alice: User,
    judge: Model,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    quick = replace(classifier.TIMEOUTS, first_token_s=0.2, between_tokens_s=0.2)
    monkeypatch.setattr(classifier, "TIMEOUTS", quick)
    with scripted.playing(judge=[script, HELLO]):
        events, result = await run(alice, asking(UNCLEAR), tier="auto")
    # It is the cheapest model of the default tier as well.
    assert models_of(events) == ["judge"]
    assert "cheapest of tier 1" in result.reason
    row = await decision_of(result)
    assert row.decided_by == "default"
    assert reason in row.reason
    assert (await closings(role="classify"))[0].outcome == outcome
    assert notices_of(events) == []


async def test_slow_chain_of_classifiers_is_given_up_as_a_whole(
    alice: User, judge: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classifier, "LIMIT_S", 0.2)
    with scripted.playing(judge=[[30.0], HELLO]):
        _, result = await run(alice, asking(UNCLEAR), tier="auto")
    assert result.outcome == "complete"
    assert (await closings(role="classify"))[0].outcome == "interrupted"


async def test_stop_while_the_classifier_thinks(alice: User, judge: Model) -> None:
    with scripted.playing(judge=[30.0]):
        async with dispatcher.stream(
            asking(UNCLEAR), user=alice, caller=caller_of(alice), tier="auto"
        ) as dispatch:
            asyncio.get_running_loop().call_later(0.3, dispatch.stop)
            assert [event async for event in dispatch] == []
    assert (dispatch.result.outcome, dispatch.result.error) == ("interrupted", None)
    (row,) = await closings()
    assert (row.role, row.outcome) == ("classify", "interrupted")


async def test_no_money_for_background_work_means_the_default(
    alice: User, judge: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    reserve = entries.reserve

    def refuse_background(reservation: Any) -> None:
        if reservation.background:
            raise BudgetExceeded("The budget for background work is used up.")
        reserve(reservation)

    monkeypatch.setattr(entries, "reserve", refuse_background)
    _, result = await run(alice, asking(UNCLEAR), tier="auto")
    assert (result.outcome, result.error) == ("complete", None)
    row = await decision_of(result)
    assert "background work is used up" in row.reason


async def test_private_message_is_never_classified_outside(
    alice: User, models: Any, add_model: Any, set_chain: Any
) -> None:
    def prepare() -> None:
        outside = add_model("outside", tier=1)
        set_chain("classify", outside)
        for tier in (1, 2):
            add_model(f"house{tier}", tier=tier, is_local=True)

    await in_thread(prepare)
    with scripted.playing(outside=saying(3)):
        events, result = await run(alice, asking(UNCLEAR), tier="auto", private=True)
        assert [call.target.model_name for call in scripted.calls] == ["house1"]
    assert models_of(events) == ["house1"]
    assert "no model classifies" in (await decision_of(result)).reason


@pytest.mark.parametrize(
    ("switches", "text", "by"),
    [
        ({"use_rules": False}, HARD, "classifier"),
        ({"use_classifier": False}, UNCLEAR, "default"),
        ({"use_classifier": False}, HARD, "rules"),
        ({"use_rules": False, "use_classifier": False}, HARD, "default"),
    ],
)
async def test_person_switches_steps_off(
    switches: dict[str, bool], text: str, by: str, alice: User, judge: Model
) -> None:
    await RoutingPreferences.objects.acreate(owner=alice, **switches)
    with scripted.playing(judge=[saying(2), HELLO]):
        _, result = await run(alice, asking(text), tier="auto")
    assert (await decision_of(result)).decided_by == by


async def test_installation_switches_steps_off_for_everybody(
    alice: User, judge: Model, settings: Any
) -> None:
    settings.CORTEX_ROUTE_RULES = settings.CORTEX_ROUTE_CLASSIFIER = False
    await RoutingPreferences.objects.acreate(owner=alice)
    _, result = await run(alice, asking(HARD), tier="auto")
    assert (await decision_of(result)).decided_by == "default"


async def test_tier_stays_for_five_minutes_and_is_paid_once(
    alice: User, judge: Model
) -> None:
    thread = uuid.uuid4()
    with scripted.playing(judge=saying(2)):
        for text in (UNCLEAR, "and then it stopped", "thanks"):
            events, result = await run(
                alice, asking(text), tier="auto", thread_id=thread
            )
            assert models_of(events) == ["t2"]
    assert (await decision_of(result)).decided_by == "sticky"
    assert len(await closings(role="classify")) == 1
    events, _ = await run(alice, asking(HARD), tier="auto", thread_id=thread)
    assert models_of(events) == ["t3"]  # rules that are sure raise it
    other = uuid.uuid4()
    events, _ = await run(alice, asking("Hi"), tier="auto", thread_id=other)
    assert models_of(events) == ["judge"]  # another conversation has its own
    earlier = timezone.now() - timedelta(minutes=6)
    await RouteDecision.objects.aupdate(created_at=earlier)
    events, _ = await run(alice, asking("Hi"), tier="auto", thread_id=thread)
    assert models_of(events) == ["judge"]


async def test_greeting_does_not_set_the_tier(alice: User, judge: Model) -> None:
    thread = uuid.uuid4()
    await run(alice, asking("Hi"), tier="auto", thread_id=thread)
    with scripted.playing(judge=saying(3)):
        events, _ = await run(alice, asking(UNCLEAR), tier="auto", thread_id=thread)
    assert models_of(events) == ["t3"]


async def test_failing_classifier_is_not_asked_again_at_once(
    alice: User, judge: Model
) -> None:
    thread = uuid.uuid4()
    with scripted.playing(judge=[[UpstreamFailed("x")], HELLO]):
        for _ in range(3):
            await run(alice, asking(UNCLEAR), tier="auto", thread_id=thread)
    assert len(await closings(role="classify")) == 1


async def test_classifier_is_not_paid_where_it_changes_nothing(
    alice: User, judge: Model
) -> None:
    await Model.objects.aupdate(tier=2)
    await run(alice, asking(UNCLEAR), tier="auto")
    assert await closings(role="classify") == []


async def test_row_tells_plan_attempts_and_neighbours(alice: User, models: Any) -> None:
    turn = uuid.uuid4()
    caller = replace(caller_of(alice), turn_id=turn)
    usage = [TextDelta("ok"), UsageReported(Usage(1000, 500, 800)), Finished()]
    with scripted.playing(t1=[UpstreamFailed("fell over")], t2=usage):
        _, result = await run(alice, tier=1, caller=caller)
    row = await in_thread(decisions.decision_for_turn, alice, turn)
    assert row.id == result.decision_id
    assert [each["label"] for each in row.plan] == ["t1", "t2", "t3"]
    first, second = row.attempts
    assert (first["outcome"], first["error"]) == ("failed", "fell over")
    assert (second["label"], second["outcome"], second["tier"]) == ("t2", "complete", 2)
    assert second["cost_nano_usd"] == 2 * 1500 * 1000
    cached = second["cache_read_tokens"], second["cache_write_tokens"]
    assert cached == (800, None)
    assert second["elapsed_ms"] is not None
    assert second["first_token_ms"] is not None
    assert row.neighbours == {
        "1": {"label": "t1", "cost_nano_usd": 1500 * 1000},
        "3": {"label": "t3", "cost_nano_usd": 3 * 1500 * 1000},
    }
    assert (row.input_tokens, row.output_tokens) == (1000, 500)
    assert row.cost_nano_usd == result.cost_nano_usd


async def test_only_the_owner_sees_a_decision(
    alice: User, bob: User, admin_user: User, models: Any
) -> None:
    turn = uuid.uuid4()
    await run(alice, tier=1, caller=replace(caller_of(alice), turn_id=turn))
    for other in (bob, admin_user):
        assert await in_thread(decisions.decision_for_turn, other, turn) is None


@pytest.mark.parametrize(
    ("first", "second", "step"), [(1, 3, 2), (3, 2, -1), (2, 2, 0)]
)
async def test_redo_is_labelled_with_its_step(
    first: int, second: int, step: int, alice: User, models: Any
) -> None:
    turn = uuid.uuid4()
    await run(alice, tier=first, caller=replace(caller_of(alice), turn_id=turn))
    _, result = await run(alice, tier=second, redo_of=turn)
    row = await decision_of(result)
    assert (row.redo_of, row.redo_step) == (turn, step)


async def test_second_call_of_a_turn_has_a_row_of_its_own(
    alice: User, models: Any
) -> None:
    caller = replace(caller_of(alice), turn_id=uuid.uuid4())
    _, first = await run(alice, tier=1, caller=caller)
    _, second = await run(alice, tier=2, caller=caller)
    assert (await decision_of(first)).turn_id == caller.turn_id
    assert (await decision_of(second)).turn_id is None


async def test_refused_reservation_leaves_no_decision(
    alice: User, models: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(reservation: Any) -> None:
        raise BudgetExceeded("Nothing is left.")

    monkeypatch.setattr(entries, "reserve", refuse)
    _, result = await run(alice, model="t3")
    assert result.error is not None
    assert result.error.code == "budget_exceeded"
    assert result.decision_id is None
    assert not await RouteDecision.objects.aexists()


async def test_model_that_is_too_dear_gives_way_to_a_cheaper_one(
    alice: User, models: Any, add_model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await in_thread(add_model, "house", tier=1, is_local=True)
    reserve = entries.reserve

    def only_free(reservation: Any) -> None:
        if reservation.prices.input:
            raise BudgetExceeded("Today's budget does not cover this call.")
        reserve(reservation)

    monkeypatch.setattr(entries, "reserve", only_free)
    events, result = await run(alice, tier=3)
    assert models_of(events) == ["house"]
    assert notices_of(events) == ["budget"]
    assert "cheaper model is asked instead" in result.notices[0].text
    assert result.outcome == "complete"


@pytest.mark.parametrize("preview", [True, False])
async def test_words_of_the_classifier_are_kept_only_where_a_preview_is(
    preview: bool, alice: User, judge: Model
) -> None:
    with scripted.playing(judge=saying(2)):
        events, result = await run(alice, asking(UNCLEAR), tier="auto", preview=preview)
    row = await decision_of(result)
    kept = json.dumps([row.reason, row.plan, row.attempts, result.reason])
    shown = "".join(each.reason for each in events if isinstance(each, Routed))
    assert ("so it seems" in kept, "so it seems" in shown) == (preview, preview)
    assert row.decided_by == "classifier"
    assert ("judged by the classifier" in kept) != preview


async def test_warning_waits_for_somebody_who_reads_it(
    alice: User, judge: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[User] = []

    def due(user: User) -> list[budgets.BudgetWarning]:
        asked.append(user)
        return []

    monkeypatch.setattr(budgets, "warnings_due", due)
    with scripted.playing(judge=saying(2)):
        await run(alice, tier=1, background=True)
        host_id = judge.host_id
        await run(alice, model=f"{judge.host.name}:judge", only_host=host_id)
        assert asked == []
        await run(alice, asking(UNCLEAR), tier="auto")
    assert asked == [alice]  # the classifier's call did not ask


async def test_reached_threshold_is_told_at_the_end(
    alice: User, models: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    warning = budgets.BudgetWarning(
        "person:day", 50, 5, timezone.now(), "Half is used."
    )
    monkeypatch.setattr(budgets, "warnings_due", lambda user: [warning])
    events, result = await run(alice, tier=1)
    assert notices_of(events[-1:]) == ["budget"]
    assert [notice.text for notice in result.notices] == ["Half is used."]
    row = await decision_of(result)
    assert row.notices == [{"code": "budget", "text": "Half is used."}]


async def test_same_word_about_the_budget_is_not_repeated_in_a_conversation(
    alice: User, judge: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    little = budgets.BudgetLeft(0.4, 400_000_000)
    monkeypatch.setattr(budgets, "left_for", lambda user, background=False: little)
    thread, told = uuid.uuid4(), []
    for _ in range(3):
        _, result = await run(alice, asking(HARD), tier="auto", thread_id=thread)
        told.append([notice.code for notice in result.notices])
    _, elsewhere = await run(alice, asking(HARD), tier="auto", thread_id=uuid.uuid4())
    assert told == [["budget"], [], []]
    assert len(elsewhere.notices) == 1

    earlier = timezone.now() - decisions.TOLD_FOR - timedelta(minutes=1)
    await RouteDecision.objects.aupdate(created_at=earlier)
    _, later = await run(alice, asking(HARD), tier="auto", thread_id=thread)
    assert len(later.notices) == 1
