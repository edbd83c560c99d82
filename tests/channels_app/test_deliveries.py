"""How rows of deliveries are claimed, settled, tried again and removed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, connections
from django.db.models import QuerySet
from django.utils import timezone

from accounts.models import User
from channels_app import deliveries
from channels_app.bots import reply_queue
from channels_app.deliveries import (
    BACKOFF,
    MAX_ATTEMPTS,
    DeliveryError,
    claim_due,
    pause_s,
)
from channels_app.models import (
    Channel,
    Delivery,
    InboundEvent,
    MailDelivery,
    OutboundReply,
    WebhookDelivery,
    WebhookEndpoint,
)
from channels_app.webhooks import sending

pytestmark = pytest.mark.django_db
State = Delivery.State
ROWS = OutboundReply.objects.all
REAL_NOW = timezone.now


@pytest.fixture
def channel(alice: User) -> Channel:
    """A channel whose replies are moved here."""
    return Channel.objects.create(owner=alice, kind=Channel.Kind.NEXTCLOUD_TALK)


def reply(channel: Channel, **fields: object) -> OutboundReply:
    return OutboundReply.objects.create(
        channel=channel, room_id="r", text="Hello", **fields
    )


def claim_one() -> OutboundReply:
    (claimed,) = claim_due(ROWS(), 10)
    return claimed.row


def later(seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let it be so much later from now on."""
    monkeypatch.setattr(
        deliveries.timezone, "now", lambda: REAL_NOW() + timedelta(seconds=seconds)
    )


# --- claiming -----------------------------------------------------------------


def test_claim_takes_what_is_due_the_longest_waiting_first(channel: Channel) -> None:
    now = timezone.now()
    second = reply(channel, next_at=now - timedelta(seconds=1))
    first = reply(channel, next_at=now - timedelta(seconds=9))
    reply(channel, next_at=now + timedelta(seconds=60))
    for state in (State.SENT, State.FAILED, State.UNKNOWN):
        reply(channel, state=state, next_at=now - timedelta(seconds=99))
    assert claim_due(ROWS(), 0) == []
    (one,) = claim_due(ROWS(), 1)
    assert one.row.pk == first.pk and not one.taken_over
    assert [each.row.pk for each in claim_due(ROWS(), 10)] == [second.pk]
    first.refresh_from_db()
    assert (first.state, first.attempts) == (State.SENDING, 1)
    assert claim_due(ROWS(), 10) == []


def test_claim_that_was_never_settled_is_taken_over_after_its_lease(
    channel: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    reply(channel)
    lost = claim_one()
    later(59, monkeypatch)
    assert claim_due(ROWS(), 10) == []
    later(61, monkeypatch)
    (taken,) = claim_due(ROWS(), 10)
    assert taken.taken_over and taken.row.attempts == 2
    assert not deliveries.settle_sent(lost, text="")
    row = OutboundReply.objects.get()
    assert (row.state, row.text) == (State.SENDING, "Hello")
    assert deliveries.settle_sent(taken.row, text="")
    assert OutboundReply.objects.get().state == State.SENT


def test_claim_is_fenced_after_everything_began_anew(channel: Channel) -> None:
    """Whoever sends a failed one again sets its attempts back to none."""
    reply(channel)
    old = claim_one()
    OutboundReply.objects.update(
        state=State.PENDING, attempts=0, claimed_at=None, next_at=timezone.now()
    )
    new = claim_one()
    assert new.attempts == old.attempts
    assert not deliveries.settle_failed(old, "late")
    assert deliveries.settle_sent(new)


@pytest.mark.django_db(transaction=True)
def test_row_is_claimed_by_one_of_many(channel: Channel) -> None:
    for _ in range(12):
        reply(channel)
    got: list[list[object]] = []
    start = threading.Barrier(6)

    def claim() -> None:
        start.wait(10)
        try:
            got.append([each.row.pk for each in claim_due(ROWS(), 5)])
        finally:
            connections.close_all()

    threads = [threading.Thread(target=claim) for _ in range(6)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(20)
    claimed = [pk for group in got for pk in group]
    assert len(got) == 6
    assert len(claimed) == len(set(claimed)) > 0
    rest = claim_due(ROWS(), 20)
    assert len(claimed) + len(rest) == 12


NOW = timezone.now()


@pytest.mark.parametrize(
    ("rows", "indexes"),
    [
        (
            lambda: reply_queue.due(1, NOW, NOW),
            ["channels_reply_place", "channels_reply_order"],
        ),
        (
            lambda: deliveries.due(reply_queue.in_turn(NOW)).order_by(),
            ["channels_reply_open", "channels_reply_order"],
        ),
        (lambda: sending._due(1), ["channels_webhook_place"]),
        (lambda: sending._due(1)[:9], ["channels_webhook_place"]),
        (
            lambda: deliveries.due(WebhookDelivery.objects.order_by()),
            ["channels_webhook_open"],
        ),
    ],
)
def test_what_was_sent_long_ago_costs_nothing(
    rows: Callable[[], QuerySet[Any]], indexes: list[str]
) -> None:
    """Only indexes of what is open are read, however much has been sent."""
    if connection.vendor != "sqlite":
        pytest.skip("PostgreSQL decides by its statistics, which a test has not")
    plan = rows().explain()
    assert all(index in plan for index in indexes)
    assert "SCAN" not in plan.replace("SCALAR", "")


# --- settling -----------------------------------------------------------------

NOBODY = DeliveryError("Nobody answers.", retryable=True)
NEVER = DeliveryError("Wrong secret.", status=401)
UNSURE = DeliveryError("It was cut off.", may_have_arrived=True)


@pytest.mark.parametrize(
    ("error", "attempts", "options", "state"),
    [
        (NOBODY, 1, {}, State.PENDING),
        (NOBODY, MAX_ATTEMPTS, {}, State.FAILED),
        (NOBODY, MAX_ATTEMPTS, {"arrived_before": True}, State.UNKNOWN),
        (NEVER, 1, {}, State.FAILED),
        (NEVER, 2, {"arrived_before": True}, State.UNKNOWN),
        (UNSURE, 1, {}, State.PENDING),
        (UNSURE, 1, {"may_repeat": False}, State.UNKNOWN),
        (UNSURE, MAX_ATTEMPTS, {}, State.UNKNOWN),
    ],
)
def test_failure_leads_to_its_state(
    channel: Channel,
    error: DeliveryError,
    attempts: int,
    options: dict[str, bool],
    state: str,
) -> None:
    reply(channel, attempts=attempts - 1)
    claimed = claim_one()
    assert deliveries.settle_error(claimed, error, **options) == state
    row = OutboundReply.objects.get()
    assert (row.state, row.error, row.status) == (state, str(error), error.status)
    assert row.claimed_at is None
    if state == State.PENDING:
        assert row.next_at > timezone.now()


def test_failure_after_the_claim_was_lost_changes_nothing(channel: Channel) -> None:
    reply(channel)
    lost = claim_one()
    OutboundReply.objects.update(attempts=5)
    assert deliveries.settle_error(lost, NOBODY) is None
    assert OutboundReply.objects.get().error == ""


def test_long_sentence_of_the_other_side_is_cut(channel: Channel) -> None:
    reply(channel)
    assert deliveries.settle_failed(claim_one(), "x" * 999)
    assert len(OutboundReply.objects.get().error) == 300


# --- pauses -------------------------------------------------------------------


def test_pauses_grow_over_some_six_hours_and_are_spread() -> None:
    assert len(BACKOFF) + 1 == MAX_ATTEMPTS == 8
    assert list(BACKOFF) == sorted(BACKOFF) and BACKOFF[0] == 5
    assert 5.5 <= sum(BACKOFF) / 3600 <= 7
    for attempts, usual in enumerate(BACKOFF, 1):
        seen = {pause_s(attempts) for _ in range(50)}
        assert len(seen) > 10
        assert usual * 0.8 <= min(seen) <= max(seen) <= usual * 1.2


@pytest.mark.parametrize(
    ("asked", "least", "most"), [(120, 120, 120), (1, 4, 6), (9e9, 21_600, 21_600)]
)
def test_pause_is_never_shorter_than_asked_and_never_endless(
    asked: float, least: float, most: float
) -> None:
    assert least <= pause_s(1, asked) <= most


# --- removing -----------------------------------------------------------------


def test_old_rows_are_removed_and_recent_ones_recognise_repetitions(
    channel: Channel, alice: User, django_assert_num_queries: Callable[..., object]
) -> None:
    hook = WebhookEndpoint.objects.create(owner=alice, url="https://example.org/")
    for days in (101, 99, 1):
        then = timezone.now() - timedelta(days=days)
        event = InboundEvent.objects.create(
            channel=channel, external_id=str(days), kind="message", received_at=then
        )
        reply(channel, event=event, created_at=then)
        WebhookDelivery.objects.create(
            endpoint=hook, event="task.done", subject=str(days), created_at=then
        )
        MailDelivery.objects.create(owner=alice, key=str(days), created_at=then)
    assert deliveries.old_count() == deliveries.purge_old() == 4
    assert InboundEvent.objects.count() == OutboundReply.objects.count() == 2
    assert set(WebhookDelivery.objects.values_list("subject", flat=True)) == {"99", "1"}
    assert set(MailDelivery.objects.values_list("key", flat=True)) == {"99", "1"}
    with django_assert_num_queries(4):
        assert deliveries.purge_old() == 0
    assert deliveries.old_count() == 0


def test_removing_many_takes_several_calls(
    channel: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "PURGED_AT_ONCE", 2)
    then = timezone.now() - timedelta(days=101)
    for number in range(3):
        reply(channel, created_at=then)
        InboundEvent.objects.create(
            channel=channel, external_id=str(number), received_at=then
        )
    recent = reply(channel)
    assert [deliveries.purge_old() for _ in range(3)] == [4, 2, 0]
    assert OutboundReply.objects.get() == recent
