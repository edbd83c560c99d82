"""Webhooks on their way to a program that answers in every way it can."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from accounts.models import User
from channels_app import webhooks
from channels_app.deliveries import MAX_ATTEMPTS
from channels_app.models import WebhookDelivery, WebhookEndpoint
from channels_app.webhooks import announcing, budget_news, endpoints, sending
from ledger.budgets import BudgetWarning
from routing.db_pool import run_in_db_pool as now
from tests.support.webhook_receiver import HANG, Receiver

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("couriers_end"),
]
State = WebhookDelivery.State
DATA = {"task": "task-1", "note": "grüße 🌍"}


class Hook:
    """An address with its secret."""

    def __init__(self, owner: User, url: str, *events: str) -> None:
        wanted = events or tuple(announcing.EVENTS)
        self.row, self.secret = endpoints.add(owner, url, wanted)

    @property
    def pk(self) -> int:
        return self.row.pk

    async def fresh(self) -> WebhookEndpoint:
        return await now(WebhookEndpoint.objects.get, pk=self.pk)

    async def deliveries(self) -> list[WebhookDelivery]:
        return await now(
            lambda: list(self.row.deliveries.order_by("created_at", "subject"))
        )

    async def only(self) -> WebhookDelivery:
        (row,) = await self.deliveries()
        return row

    async def try_again(self, times: int = 1) -> None:
        """Deliver as if the pause were over."""
        for _ in range(times):
            waiting = WebhookDelivery.objects.filter(state=State.PENDING)
            await now(waiting.update, next_at=timezone.now())
            await webhooks.deliver_due(self.pk)


@pytest.fixture
def hook(alice: User, receiver: Receiver) -> Hook:
    """Alice's address that hears of everything."""
    return Hook(alice, receiver.url)


async def announce(hook: Hook, subject: str = "task-1") -> None:
    await webhooks.announce(hook.row.owner_id, "task.done", subject, DATA)
    await webhooks.deliver_due(hook.pk)


# --- who hears of what --------------------------------------------------------


async def test_event_arrives_signed_with_type_moment_and_data(
    hook: Hook, receiver: Receiver
) -> None:
    await announce(hook)
    (came,) = receiver.received
    assert came.verified(hook.secret) == came.payload
    assert came.payload["type"] == "task.done"
    assert came.payload["data"] == DATA
    assert came.payload["timestamp"].endswith("Z")
    assert (came.method, came.path) == ("POST", "/hooks/cortex")
    assert came.headers["content-type"] == "application/json"
    row = await hook.only()
    assert came.id == f"msg_{row.pk.hex}"
    assert (row.state, row.status, row.attempts) == (State.SENT, 204, 1)


async def test_same_subject_is_told_an_address_once(
    hook: Hook, receiver: Receiver
) -> None:
    await announce(hook)
    await announce(hook)
    await announce(hook, "task-2")
    assert len(receiver.received) == 2


async def test_only_who_wants_to_hear_of_it_hears_of_it(
    hook: Hook, alice: User, bob: User, receiver: Receiver
) -> None:
    other = await now(Hook, alice, receiver.origin + "/other", "budget.warning")
    his = await now(Hook, bob, receiver.origin + "/his")
    off = await now(Hook, alice, receiver.origin + "/off")
    await now(WebhookEndpoint.objects.filter(pk=off.pk).update, enabled=False)
    await announce(hook)
    for each in (hook, other, his, off):
        assert await webhooks.deliver_due(each.pk) == 0
    assert [came.path for came in receiver.received] == ["/hooks/cortex"]
    for each in (other, his, off):
        assert await each.deliveries() == []


async def test_announcing_never_raises(
    hook: Hook, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("on purpose")

    monkeypatch.setattr(announcing, "store", fail)
    await webhooks.announce(hook.row.owner_id, "task.done", "task-1", DATA)
    assert "task.done could not be announced" in caplog.text


async def test_threshold_of_a_budget_is_announced_once(
    hook: Hook, receiver: Receiver
) -> None:
    warning = BudgetWarning("person:day", 80, 400_000_000, timezone.now(), "80 % used.")
    for _ in range(2):
        await budget_news.announce(hook.row.owner_id, warning)
        await webhooks.deliver_due(hook.pk)
    (came,) = receiver.received
    data = came.verified(hook.secret)["data"]
    assert (data["budget"], data["percent"], data["left_usd"]) == (
        "person:day",
        80,
        "0.4",
    )


# --- answers ------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500, 503])
async def test_every_other_answer_is_tried_again_under_the_same_id(
    hook: Hook, receiver: Receiver, status: int
) -> None:
    receiver.answer(status)
    await announce(hook)
    row = await hook.only()
    assert (row.state, row.status) == (State.PENDING, status)
    assert row.error == f"The address answered {status}."
    assert row.next_at > timezone.now()
    await hook.try_again()
    first, second = receiver.received
    assert first.id == second.id and first.body == second.body
    second.verified(hook.secret)
    assert (await hook.only()).state == State.SENT


async def test_pause_that_the_address_asks_for_is_obeyed(
    hook: Hook, receiver: Receiver
) -> None:
    receiver.answer(429, Retry_After="600")
    began = timezone.now()
    await announce(hook)
    assert (await hook.only()).next_at >= began + timedelta(seconds=600)


async def test_attempt_hours_later_is_signed_for_that_moment(
    hook: Hook, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver.answer(503)
    real = sending.time.time
    with monkeypatch.context() as then:
        then.setattr(sending.time, "time", lambda: real() - 3 * 3600)
        await announce(hook)
    await hook.try_again()
    first, second = receiver.received
    assert int(second.headers["webhook-timestamp"]) - int(
        first.headers["webhook-timestamp"]
    ) == pytest.approx(3 * 3600, abs=60)
    second.verified(hook.secret)
    with pytest.raises(Exception, match="timestamp too old"):
        first.verified(hook.secret)


async def test_410_switches_the_address_off(hook: Hook, receiver: Receiver) -> None:
    receiver.answer(410)
    await announce(hook)
    await announce(hook, "task-2")
    await hook.try_again(3)
    assert len(receiver.received) == 1
    fresh = await hook.fresh()
    assert (fresh.enabled, fresh.fault) == (False, sending.GONE_SENTENCE)
    assert (await hook.only()).state == State.FAILED


async def test_what_still_waited_when_it_was_switched_off_is_given_up(
    hook: Hook, receiver: Receiver
) -> None:
    receiver.answer(503)
    await announce(hook)
    await now(WebhookEndpoint.objects.update, enabled=False)
    await hook.try_again()
    row = await hook.only()
    assert (row.state, row.error) == (State.FAILED, sending.SWITCHED_OFF)
    assert len(receiver.received) == 1


async def test_address_that_keeps_failing_shows_its_fault_until_something_arrives(
    hook: Hook, receiver: Receiver
) -> None:
    receiver.answer(*[500] * sending.FAULT_AFTER)
    await announce(hook)
    fresh = await hook.fresh()
    assert fresh.failing_since is not None and fresh.fault == ""
    await hook.try_again(sending.FAULT_AFTER - 1)
    assert (await hook.fresh()).fault == "The address answered 500."
    await hook.try_again()
    fresh = await hook.fresh()
    assert (fresh.fault, fresh.failing_since) == ("", None)


async def test_address_that_never_answers_well_is_given_up(
    hook: Hook, receiver: Receiver
) -> None:
    receiver.answer(*[500] * 99)
    await announce(hook)
    await hook.try_again(MAX_ATTEMPTS + 3)
    assert len(receiver.received) == MAX_ATTEMPTS
    assert (await hook.only()).state == State.FAILED
    fresh = await hook.fresh()
    assert fresh.enabled and fresh.fault and fresh.failing_since


async def test_address_that_does_not_answer_is_left_after_a_while(
    hook: Hook, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "ANSWER_WITHIN_S", 0.2)
    receiver.answer(HANG)
    await announce(hook)
    row = await hook.only()
    assert (row.state, row.error) == (
        State.PENDING,
        "The address did not answer in time.",
    )


async def test_address_that_hangs_holds_up_no_other(
    hook: Hook, alice: User, receiver: Receiver
) -> None:
    receiver.answer(*[HANG] * sending.AT_ONCE)
    for number in range(sending.AT_ONCE):
        await webhooks.announce(alice.pk, "task.done", f"task-{number}", DATA)
    await now(receiver.wait_for, sending.AT_ONCE)
    other = await now(Hook, alice, receiver.origin + "/other", "reply.failed")
    await webhooks.announce(alice.pk, "reply.failed", "reply-1", {})
    assert await webhooks.deliver_due(other.pk) <= 1
    assert (await other.only()).state == State.SENT


async def test_body_is_what_was_signed_to_the_byte(
    hook: Hook, receiver: Receiver
) -> None:
    await announce(hook)
    (came,) = receiver.received
    assert (
        came.body
        == json.dumps(came.payload, ensure_ascii=False, separators=(",", ":")).encode()
    )
    assert "grüße 🌍".encode() in came.body


# --- secrets ------------------------------------------------------------------


async def test_old_secret_signs_along_for_a_day(
    hook: Hook, alice: User, receiver: Receiver
) -> None:
    new = await now(endpoints.rotate_secret, alice, hook.row)
    await announce(hook)
    for secret in (new, hook.secret):
        receiver.received[0].verified(secret)
    over = timezone.now() - timedelta(seconds=1)
    await now(WebhookEndpoint.objects.update, previous_until=over)
    await announce(hook, "task-2")
    receiver.received[1].verified(new)
    with pytest.raises(Exception, match="No matching signature"):
        receiver.received[1].verified(hook.secret)
    assert await now(endpoints.forget_old_secrets) == 1
    assert (await hook.fresh()).previous_secret == ""
    assert await now(endpoints.forget_old_secrets) == 0


async def test_secret_that_cannot_be_read_is_no_reason_to_give_up_at_once(
    hook: Hook, receiver: Receiver
) -> None:
    await now(WebhookEndpoint.objects.update, secret="of another installation")
    await announce(hook)
    row = await hook.only()
    assert row.state == State.PENDING and "cannot be read" in row.error
    assert receiver.received == []


async def test_secrets_stand_in_no_row_and_no_words(hook: Hook, alice: User) -> None:
    new = await now(endpoints.rotate_secret, alice, hook.row)
    fresh = await hook.fresh()
    stored = str(vars(fresh))
    for secret in (new, hook.secret):
        assert secret.removeprefix("whsec_") not in stored
    await now(announcing.store_for, [hook.pk], "task.done", "s", DATA)
    (job,) = await now(sending._round, hook.pk, [], 1)
    assert job.secrets == (new, hook.secret)
    assert "whsec_" not in repr(job)
