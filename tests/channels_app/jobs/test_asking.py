from __future__ import annotations

import asyncio
from typing import Any

import pytest

from accounts.models import User
from channels_app import single_tasks, turns
from channels_app.errors import TurnError
from channels_app.jobs import leases, queue, task_turns
from channels_app.jobs.kinds import Done, TaskFailed, attempt_turn, work_of
from channels_app.jobs.queue import NewTask
from channels_app.live_turns import RUNNING
from channels_app.models import QueuedTask, WebhookDelivery
from channels_app.webhooks import endpoints
from ledger.models import LedgerEntry
from personas.models import Conversation, Message, Persona
from routing.backends.base import (
    ConnectionFailed,
    Finished,
    TextDelta,
    Usage,
    UsageReported,
)
from routing.backends.scripted import calls, playing
from routing.models import Host, Model
from tests.support.chat import scripted_model
from tests.support.chat_fixtures import *  # noqa: F403

DONE = [TextDelta("42"), UsageReported(Usage(1000, 500)), Finished()]
CUT = [
    TextDelta("Once upon"),
    UsageReported(Usage(1000, 500)),
    Finished(complete=False),
]
REFUSED = [ConnectionFailed("refused")]


@pytest.fixture(autouse=True)
def models(turns_running: None) -> None:
    """Two models with prices, one of the first tier and one of the second."""
    for tier, label in ((1, "small"), (2, "middle")):
        scripted_model(
            label,
            tier=tier,
            input_price_nano_usd_per_mtok=tier * 1_000_000_000,
            output_price_nano_usd_per_mtok=tier * 2_000_000_000,
        )
    Host.objects.update(is_local=False)  # what runs at home costs nothing


def claimed(owner: User, **fields: Any) -> QueuedTask:
    """Queue a task and claim it."""
    given: dict[str, Any] = {"text": "Compute", "tier": 1} | fields
    task = leases.claim_this("test", queue.enqueue(owner, NewTask(**given)).pk)
    assert task is not None
    return task


async def do(seen: Any, owner: User, **fields: Any) -> tuple[QueuedTask, Done]:
    task = await seen(lambda: claimed(owner, **fields))
    return task, await work_of(task)(task)


async def failure(task: QueuedTask) -> TaskFailed:
    with pytest.raises(TaskFailed) as caught:
        await work_of(task)(task)
    return caught.value


async def test_a_task_is_done_in_the_background_and_booked(
    alice: User, seen: Any
) -> None:
    with playing(middle=DONE):
        task, done = await do(seen, alice, tier=2)
        assert [message.text for message in calls[0].prompt.messages] == ["Compute"]

    assert (done.result, done.model) == ("42", "middle")
    assert (done.input_tokens, done.output_tokens) == (1000, 500)
    row = await seen(lambda: LedgerEntry.objects.get(kind="settle"))
    assert (row.turn_id, row.channel, row.background) == (
        attempt_turn(task),
        "queue",
        True,
    )
    assert await seen(leases.settle_done, task, done)
    assert task.cost_nano_usd == 4_000_000
    assert await seen(Conversation.objects.count) == 0
    assert await seen(Message.objects.count) == 0


async def test_the_cost_counts_every_attempt(alice: User, seen: Any) -> None:
    task = await seen(lambda: claimed(alice))
    broken = [UsageReported(Usage(1000, 0)), TextDelta("4"), ConnectionFailed("gone")]
    with playing(small=broken, middle=REFUSED):
        assert (await failure(task)).retryable

    def again_after_failure() -> QueuedTask | None:
        leases.settle_failed(task, "internal", "No.", retryable=False)
        return leases.claim_this("test", queue.retry(task).pk)

    again = await seen(again_after_failure)
    with playing(small=DONE):
        done = await work_of(again)(again)
    await seen(leases.settle_done, again, done)

    spent = await seen(
        lambda: sum(
            row.cost_nano_usd or 0
            for row in LedgerEntry.objects.exclude(kind="reserve")
        )
    )
    assert again.cost_nano_usd == spent > 2_000_000


async def test_a_persona_does_it_with_its_files(
    alice: User, persona: Persona, seen: Any
) -> None:
    with playing(small=DONE):
        await do(seen, alice, persona=persona)
        assert "Inara" in calls[0].prompt.system


async def test_without_a_tier_the_task_decides(alice: User, seen: Any) -> None:
    with playing(small=DONE):
        _, done = await do(seen, alice, text="Say hello", tier=None)
    assert done.model == "small"


async def test_a_failure_that_may_pass_is_worth_another_try(
    alice: User, seen: Any
) -> None:
    task = await seen(lambda: claimed(alice))
    with playing(small=REFUSED, middle=REFUSED):
        error = await failure(task)
    assert (error.code, error.retryable) == ("upstream_unavailable", True)


@pytest.mark.parametrize(
    ("code", "retryable"),
    [
        ("upstream_timeout", True),
        ("too_many", True),
        ("busy", True),
        ("internal", True),
        ("budget_exceeded", False),
        ("no_model", False),
        ("private_only", False),
        ("upstream_auth", False),
        ("refused", False),
        ("too_long", False),
    ],
)
async def test_only_what_may_pass_by_itself_is_tried_again(
    alice: User,
    seen: Any,
    monkeypatch: pytest.MonkeyPatch,
    code: str,
    retryable: bool,
) -> None:
    async def fail(*_: object) -> None:
        raise TurnError(code, "It is so.")

    monkeypatch.setattr(single_tasks, "result_of", fail)
    error = await failure(await seen(lambda: claimed(alice)))
    assert (error.code, error.sentence) == (code, "It is so.")
    assert error.retryable is retryable


async def test_nothing_is_done_for_an_account_that_is_off(
    alice: User, seen: Any
) -> None:
    task = await seen(lambda: claimed(alice))
    await seen(lambda: User.objects.filter(pk=alice.pk).update(is_active=False))

    error = await failure(task)

    assert (error.code, error.retryable) == ("forbidden", False)
    assert "switched off" in error.sentence
    assert await seen(LedgerEntry.objects.count) == 0


async def test_a_persona_that_is_gone_is_named(
    alice: User, persona: Persona, seen: Any
) -> None:
    task = await seen(lambda: claimed(alice, persona=persona))
    await seen(lambda: Persona.objects.filter(pk=persona.pk).delete())

    error = await failure(task)

    assert (error.code, error.retryable) == ("not_found", False)
    assert error.sentence == "The persona of this task is gone."


async def test_a_cap_holds_for_all_attempts(alice: User, seen: Any) -> None:
    broken = [UsageReported(Usage(1000, 0)), TextDelta("4"), ConnectionFailed("gone")]
    task = await seen(lambda: claimed(alice, cap_nano_usd=3_500_000))
    with playing(small=broken, middle=REFUSED):
        assert (await failure(task)).retryable
    spent = await seen(queue.cost_of, task)

    def again() -> QueuedTask:
        leases.settle_failed(task, "internal", "No.", retryable=False)
        found = leases.claim_this("test", queue.retry(task).pk)
        assert found is not None
        return found

    second = await seen(again)
    with playing(small=DONE):
        await work_of(second)(second)
        left = calls[0].max_output_tokens
    assert 0 < left <= (3_500_000 - spent) // 2_000

    await seen(lambda: QueuedTask.objects.update(cap_nano_usd=spent))
    await seen(second.refresh_from_db)
    error = await failure(second)
    assert (error.code, error.retryable) == ("budget_exceeded", False)
    assert "earlier attempts have cost" in error.sentence


async def test_a_cap_and_an_attempt_of_unknown_cost_do_not_go_together(
    alice: User, seen: Any
) -> None:
    task = await seen(lambda: claimed(alice, cap_nano_usd=1_000_000_000))
    unpriced = Model.objects.filter(label="small")
    await seen(lambda: unpriced.update(input_price_nano_usd_per_mtok=None))
    with playing(small=[TextDelta("4"), ConnectionFailed("gone")], middle=REFUSED):
        assert (await failure(task)).retryable
    error = await failure(task)
    assert (error.code, error.retryable) == ("budget_exceeded", False)
    assert "is not known" in error.sentence


async def test_more_tasks_than_a_person_may_have_answers_wait(
    alice: User, seen: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "MAX_TURNS_PER_PERSON", 1)
    monkeypatch.setattr(task_turns, "ROOM_EVERY_S", 0.01)
    refused = 0
    check = turns._check_room

    def counting(user_id: int) -> None:
        nonlocal refused
        try:
            check(user_id)
        except TurnError:
            refused += 1
            raise

    monkeypatch.setattr(turns, "_check_room", counting)
    with playing(small=[[TextDelta("1"), 60.0, Finished()], DONE]):
        first, second = [await seen(lambda: claimed(alice)) for _ in range(2)]
        long = asyncio.ensure_future(work_of(first)(first))
        async with asyncio.timeout(20):
            while not calls:
                await asyncio.sleep(0.01)
            waiting = asyncio.ensure_future(work_of(second)(second))
            while refused < 20:
                await asyncio.sleep(0.01)
            assert len(calls) == 1
            long.cancel()
            assert (await waiting).result == "42"
            await asyncio.gather(long, return_exceptions=True)


async def test_cancelling_it_ends_the_models_call(alice: User, seen: Any) -> None:
    task = await seen(lambda: claimed(alice))
    with playing(small=[TextDelta("one "), 60.0, TextDelta("two"), Finished()]):
        working = asyncio.ensure_future(work_of(task)(task))
        async with asyncio.timeout(20):
            while not (RUNNING and next(iter(RUNNING.values())).chars):
                await asyncio.sleep(0.01)
            working.cancel()
            with pytest.raises(asyncio.CancelledError):
                await working
            while RUNNING:
                await asyncio.sleep(0.01)
        assert not calls[0].finished


# --- webhooks -----------------------------------------------------------------


def told(owner: User) -> list[WebhookDelivery]:
    return list(WebhookDelivery.objects.filter(endpoint__owner=owner))


def listen(owner: User) -> None:
    # Nothing is sent: nobody wakes the couriers.
    endpoints.add(owner, "https://example.org/", ["task.done", "task.failed"])


async def test_webhooks_hear_once_that_a_task_is_done(alice: User, seen: Any) -> None:
    await seen(listen, alice)
    with playing(small=DONE):
        task, done = await do(seen, alice)
    await seen(leases.settle_done, task, done)
    assert not await seen(leases.settle_done, task, done)

    (news,) = await seen(told, alice)

    assert (news.event, news.subject) == ("task.done", f"queued-{task.pk}")
    about = news.payload["data"]
    assert about["id"] == f"queued-{task.pk}"
    assert (about["model"], about["estimated_cost_usd"]) == ("small", 0.002)
    assert about["incomplete"] is False
    assert (about["input_tokens"], about["output_tokens"]) == (1000, 500)
    assert about["elapsed_seconds"] >= 0 and about["timestamp"].endswith("Z")
    assert "Compute" not in str(news.payload) and "42" not in about.values()


async def test_text_that_ends_at_the_length_limit_is_a_result(
    alice: User, seen: Any
) -> None:
    await seen(listen, alice)
    with playing(small=CUT):
        task, done = await do(seen, alice)
    assert await seen(leases.settle_done, task, done)
    (news,) = await seen(told, alice)

    row = await seen(QueuedTask.objects.get)
    assert (row.state, row.result) == ("done", "Once upon")
    limit = "The answer reached its length limit."
    assert (row.error_code, row.error) == ("too_long", limit)
    assert (row.output_tokens, row.cost_nano_usd) == (500, 2_000_000)
    assert (news.event, news.payload["data"]["incomplete"]) == ("task.done", True)


@pytest.mark.parametrize("text", [[], [TextDelta(" ")]])
async def test_no_text_at_the_length_limit_is_a_failure(
    alice: User, seen: Any, text: list[TextDelta]
) -> None:
    task = await seen(lambda: claimed(alice))
    with playing(small=[*text, Finished(complete=False)], middle=REFUSED):
        await failure(task)


async def test_webhooks_hear_once_that_a_task_failed(alice: User, seen: Any) -> None:
    def fail() -> QueuedTask:
        listen(alice)
        task = claimed(alice)
        leases.settle_failed(task, "no_model", "No model.", retryable=False)
        queue.retry(task)
        again = leases.claim_this("test", task.pk)
        assert again is not None
        leases.settle_failed(again, "no_model", "No model.", retryable=False)
        return again

    task = await seen(fail)
    (news,) = await seen(told, alice)

    assert news.event == "task.failed"
    about = news.payload["data"]
    assert (about["id"], about["state"]) == (f"queued-{task.pk}", "failed")
    assert about["error"] == {"code": "no_model", "message": "No model."}


async def test_cancelling_and_trying_again_is_no_news(alice: User, seen: Any) -> None:
    def cancel() -> None:
        listen(alice)
        task = claimed(alice)
        leases.settle_failed(task, "internal", "Again.", retryable=True)
        queue.cancel(task)

    await seen(cancel)
    assert await seen(told, alice) == []
