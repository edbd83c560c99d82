"""Answers on their way to a platform that fails in every way it can."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import pytest
import pytest_asyncio
from django.db import transaction
from django.utils import timezone

from accounts.models import User
from channels_app import couriers, deliveries
from channels_app.bots import outbox, reply_queue
from channels_app.bots.adapters import ChannelInfo, Outgoing
from channels_app.bots.incoming import Incoming
from channels_app.deliveries import MAX_ATTEMPTS, DeliveryError
from channels_app.models import (
    Channel,
    InboundEvent,
    OutboundReply,
    WebhookDelivery,
    WebhookEndpoint,
)
from personas.models import Persona
from routing.db_pool import run_in_db_pool
from tests.support.bots import make_channel, make_room

pytestmark = pytest.mark.django_db(transaction=True)
State = OutboundReply.State
CUT = DeliveryError("It was cut off.", may_have_arrived=True)
AWAY = DeliveryError("Nobody answers.", status=503, retryable=True)
REFUSED = DeliveryError("The secret is wrong.", status=401)


class Flaky:
    """A platform that fails as it is told to, and then takes everything."""

    def __init__(self, *failures: DeliveryError, idempotent: bool = False) -> None:
        self.failures = deque(failures)
        self.idempotent = idempotent
        self.tried: list[Outgoing] = []
        self.channels: list[ChannelInfo] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def send(self, channel: ChannelInfo, message: Outgoing) -> str:
        self.tried.append(message)
        self.channels.append(channel)
        await self.gate.wait()
        if self.failures:
            raise self.failures.popleft()
        return f"message-{len(self.tried)}"


@pytest_asyncio.fixture(autouse=True)
async def _couriers_end() -> AsyncIterator[None]:
    yield
    await couriers.drain(0)


@pytest.fixture
def channel(persona: Persona) -> Channel:
    """Alice's channel."""
    channel = make_channel(persona)
    make_room(channel, "room1")
    return channel


@pytest.fixture
def event(channel: Channel) -> InboundEvent:
    """A message that asks for an answer."""
    return make_event(channel, "m1")


def make_event(channel: Channel, external_id: str) -> InboundEvent:
    incoming = Incoming(
        external_id=external_id,
        kind="message",
        room_id="room1",
        text="Hello?",
        reply_to="41",
        thread="threads/7",
        extra={"signed_with": "previous"},
    )
    return InboundEvent.objects.create(
        channel=channel,
        external_id=external_id,
        kind="message",
        room_id="room1",
        payload=incoming.payload(),
    )


def use(adapter: Flaky, monkeypatch: pytest.MonkeyPatch) -> Flaky:
    monkeypatch.setattr(outbox, "adapter_for", lambda kind: adapter)
    return adapter


async def now(query: Any, *args: Any, **options: Any) -> Any:
    return await run_in_db_pool(query, *args, **options)


def rows() -> list[OutboundReply]:
    return list(OutboundReply.objects.order_by("part"))


def in_an_hour() -> datetime:
    return timezone.now() + timedelta(hours=1)


def make_due() -> None:
    """Let the pause of everything that waits be over."""
    OutboundReply.objects.filter(state=State.PENDING).update(next_at=timezone.now())


async def deliver_to_the_end(channel: Channel) -> None:
    """Deliver as if all pauses were over at once."""
    for _ in range(MAX_ATTEMPTS + 2):
        await now(make_due)
        await outbox.deliver_due(channel.pk)


# --- storing ------------------------------------------------------------------


async def test_answer_is_stored_once_with_what_its_adapter_needs(
    event: InboundEvent,
) -> None:
    parts = ["one", "  ", "two"]
    assert await now(outbox.add, event, parts, external_id="placeholder") == 2
    assert await now(outbox.add, event, ["other", "words", "three"]) == 1
    first, second, third = await now(rows)
    assert [first.text, second.text, third.text] == ["one", "two", "three"]
    assert first.pk == outbox.key_of(event) != second.pk == outbox.key_of(event, 1)
    assert (first.reply_to, second.reply_to) == ("41", "")
    assert (first.external_id, second.external_id) == ("placeholder", "")
    assert {first.thread, second.thread} == {"threads/7"}
    assert first.extra == second.extra == {"signed_with": "previous"}


async def test_answer_is_gone_with_the_transaction_that_stored_it(
    event: InboundEvent,
) -> None:
    def add_and_fail() -> None:
        with transaction.atomic():
            outbox.add(event, ["one"])
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await now(add_and_fail)
    assert await now(rows) == []


async def test_keys_of_two_channels_differ(channel: Channel, bob: User) -> None:
    other = await now(
        Channel.objects.create, owner=bob, kind=Channel.Kind.NEXTCLOUD_TALK
    )
    keys = {
        outbox.key_of(InboundEvent(channel=each, external_id="m1"))
        for each in (channel, other)
    }
    assert len(keys) == 2


# --- sending ------------------------------------------------------------------


async def test_parts_go_out_in_order_and_leave_no_text_behind(
    channel: Channel, event: InboundEvent, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform = use(Flaky(), monkeypatch)
    await now(outbox.add, event, ["one", "two", "three"])
    assert await outbox.deliver_due(channel.pk) == 3
    assert [message.text for message in platform.tried] == ["one", "two", "three"]
    assert [message.id for message in platform.tried] == [
        outbox.key_of(event, part) for part in range(3)
    ]
    assert platform.tried[0].extra == {"signed_with": "previous"}
    assert platform.channels[0].secrets == {"secret": "k" * 40}
    for row in await now(rows):
        assert (row.state, row.text, row.attempts) == (State.SENT, "", 1)
        assert row.external_id.startswith("message-") and row.sent_at
    await now(channel.refresh_from_db)
    assert channel.last_reply_at is not None
    assert await outbox.deliver_due(channel.pk) == 0


async def test_answers_of_all_channels_are_begun_although_nobody_answers(
    channel: Channel, event: InboundEvent, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform = use(Flaky(), monkeypatch)

    def another() -> None:
        other = Channel.objects.create(owner=channel.owner, kind="google_chat")
        make_room(other, "room1")
        outbox.add(make_event(other, "m2"), ["to another"])

    await now(another)
    await now(outbox.add, event, ["one"])
    platform.gate.clear()
    async with asyncio.timeout(5):
        await outbox.wake_due()
        while len(platform.tried) < 2:
            await asyncio.sleep(0.001)
    platform.gate.set()
    assert await outbox.deliver_due(channel.pk) == 1
    assert {message.text for message in platform.tried} == {"one", "to another"}


async def test_answers_of_a_room_wait_for_an_earlier_one_but_not_for_long(
    channel: Channel, event: InboundEvent, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform = use(Flaky(AWAY), monkeypatch)

    def add() -> None:
        outbox.add(event, ["first"])
        outbox.add(make_event(channel, "m2"), ["second"])
        make_room(channel, "room2")
        elsewhere = make_event(channel, "m3")
        elsewhere.room_id = "room2"
        outbox.add(elsewhere, ["elsewhere"])

    def told() -> list[str]:
        return [message.text for message in platform.tried]

    await now(add)
    later_ones = OutboundReply.objects.exclude(text="first")
    await now(later_ones.update, next_at=in_an_hour())
    await outbox.deliver_due(channel.pk)
    await now(later_ones.update, next_at=timezone.now())
    await outbox.deliver_due(channel.pk)
    assert sorted(told()) == ["elsewhere", "first"], "second waits for its turn"
    await now(make_due)
    await outbox.deliver_due(channel.pk)
    assert told()[-2:] == ["first", "second"]


async def test_answer_that_fails_for_long_holds_up_its_room_no_more(
    channel: Channel, event: InboundEvent, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform = use(Flaky(), monkeypatch)
    await now(outbox.add, event, ["first"])
    await now(outbox.add, await now(make_event, channel, "m2"), ["second"])
    first = OutboundReply.objects.filter(text="first")
    long_ago = timezone.now() - reply_queue.IN_ORDER_FOR
    await now(first.update, next_at=in_an_hour(), created_at=long_ago)
    assert await outbox.deliver_due(channel.pk) == 1
    assert [message.text for message in platform.tried] == ["second"]


async def test_next_part_waits_until_the_one_before_arrived(
    channel: Channel, event: InboundEvent, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform = use(Flaky(AWAY), monkeypatch)
    await now(outbox.add, event, ["one", "two"])
    assert await outbox.deliver_due(channel.pk) == 0
    assert [message.text for message in platform.tried] == ["one"]
    await now(make_due)
    assert await outbox.deliver_due(channel.pk) == 2
    assert [message.text for message in platform.tried] == ["one", "one", "two"]
    assert not any(message.repeated for message in platform.tried)


async def test_waking_returns_at_once_and_sends_beside_it(
    channel: Channel, event: InboundEvent, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform = use(Flaky(), monkeypatch)
    platform.gate.clear()
    await now(outbox.add, event, ["one"])
    outbox.wake(channel.pk)
    async with asyncio.timeout(5):
        while not platform.tried:
            await asyncio.sleep(0.001)
    platform.gate.set()
    assert await outbox.deliver_due(channel.pk) == 1


# --- failing ------------------------------------------------------------------


async def test_pause_of_the_other_side_is_obeyed(
    channel: Channel, event: InboundEvent, monkeypatch: pytest.MonkeyPatch
) -> None:
    limit = DeliveryError("Too many.", status=429, retryable=True, retry_after_s=120)
    use(Flaky(limit), monkeypatch)
    await now(outbox.add, event, ["one"])
    began = timezone.now()
    await outbox.deliver_due(channel.pk)
    (row,) = await now(rows)
    assert (row.state, row.status, row.attempts) == (State.PENDING, 429, 1)
    assert row.next_at >= began + timedelta(seconds=120)


async def test_platform_that_stays_away_is_given_up_and_its_owner_told(
    channel: Channel, event: InboundEvent, monkeypatch: pytest.MonkeyPatch
) -> None:
    hook = await now(
        WebhookEndpoint.objects.create,
        owner=channel.owner,
        url="https://example.org/",
        events=["reply.failed"],
    )
    platform = use(Flaky(*[AWAY] * 99), monkeypatch)
    await now(outbox.add, event, ["one", "two"])
    await deliver_to_the_end(channel)
    assert len(platform.tried) == MAX_ATTEMPTS
    first, second = await now(rows)
    assert (first.state, first.error) == (State.FAILED, "Nobody answers.")
    assert (second.state, second.error) == (State.FAILED, outbox.EARLIER_FAILED)
    await now(channel.refresh_from_db)
    assert channel.fault == "Nobody answers." and channel.fault_at
    announced = await now(WebhookDelivery.objects.get, endpoint=hook)
    data = announced.payload["data"]
    assert (announced.event, data["state"], data["status"]) == (
        "reply.failed",
        "failed",
        503,
    )
    assert "one" not in str(announced.payload)


async def test_wrong_secret_is_not_tried_again(
    channel: Channel, event: InboundEvent, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform = use(Flaky(REFUSED), monkeypatch)
    await now(outbox.add, event, ["one"])
    await deliver_to_the_end(channel)
    assert len(platform.tried) == 1
    assert (await now(rows))[0].state == State.FAILED


async def test_fault_is_gone_when_something_arrives(
    channel: Channel, event: InboundEvent, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(Flaky(REFUSED), monkeypatch)
    await now(outbox.add, event, ["one"])
    await outbox.deliver_due(channel.pk)
    await now(outbox.add, await now(make_event, channel, "m2"), ["two"])
    await outbox.deliver_due(channel.pk)
    await now(channel.refresh_from_db)
    assert (channel.fault, channel.fault_at) == ("", None)


# --- may have arrived ---------------------------------------------------------


async def test_key_makes_a_repetition_harmless_where_the_platform_knows_it(
    channel: Channel, event: InboundEvent, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform = use(Flaky(CUT, CUT, CUT, idempotent=True), monkeypatch)
    await now(outbox.add, event, ["one"])
    await deliver_to_the_end(channel)
    assert len(platform.tried) == 4
    assert {message.id for message in platform.tried} == {outbox.key_of(event)}
    assert not any(message.repeated for message in platform.tried)
    assert (await now(rows))[0].state == State.SENT


async def test_repetition_is_marked_and_the_last_where_it_is_not(
    channel: Channel, event: InboundEvent, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform = use(Flaky(CUT, AWAY, CUT), monkeypatch)
    await now(outbox.add, event, ["one", "two"])
    await deliver_to_the_end(channel)
    ones = [message.repeated for message in platform.tried if message.part == 0]
    assert ones == [False, True, True]
    first, second = await now(rows)
    assert first.state == State.UNKNOWN
    assert second.state == State.SENT  # what may stand there is gone on with


async def lose(channel: Channel, platform: Flaky) -> None:
    """Let the process end while a message is being sent, and its lease pass."""
    platform.gate.clear()
    tried = len(platform.tried)
    outbox.wake(channel.pk)
    async with asyncio.timeout(5):
        while len(platform.tried) == tried:
            await asyncio.sleep(0.001)
    for courier in outbox.COURIERS.running():
        courier.task.cancel()
        await asyncio.gather(courier.task, return_exceptions=True)
    platform.gate.set()
    lease_over = timezone.now() - timedelta(seconds=1)
    await now(
        OutboundReply.objects.filter(state=State.SENDING).update, next_at=lease_over
    )


async def test_crash_while_sending_leads_to_one_marked_repetition(
    channel: Channel, event: InboundEvent, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform = use(Flaky(), monkeypatch)
    await now(outbox.add, event, ["one"])
    await lose(channel, platform)
    assert await outbox.deliver_due(channel.pk) == 1
    assert [message.repeated for message in platform.tried] == [False, True]


async def test_second_crash_while_sending_leads_to_no_third_copy(
    channel: Channel, event: InboundEvent, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform = use(Flaky(), monkeypatch)
    await now(outbox.add, event, ["one"])
    await lose(channel, platform)
    await lose(channel, platform)
    assert await outbox.deliver_due(channel.pk) == 0
    assert len(platform.tried) == 2
    (row,) = await now(rows)
    assert (row.state, row.error) == (State.UNKNOWN, outbox.CUT_OFF)
    await now(channel.refresh_from_db)
    assert channel.fault == outbox.CUT_OFF


async def test_crash_costs_nothing_where_the_platform_knows_the_key(
    channel: Channel, event: InboundEvent, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform = use(Flaky(idempotent=True), monkeypatch)
    await now(outbox.add, event, ["one"])
    for _ in range(3):
        await lose(channel, platform)
    assert await outbox.deliver_due(channel.pk) == 1
    assert not any(message.repeated for message in platform.tried)


async def test_message_that_kills_every_process_is_given_up(
    channel: Channel, event: InboundEvent, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform = use(Flaky(idempotent=True), monkeypatch)
    await now(outbox.add, event, ["one"])
    for _ in range(MAX_ATTEMPTS):
        await lose(channel, platform)
    assert await outbox.deliver_due(channel.pk) == 0
    assert (await now(rows))[0].state == State.UNKNOWN


# --- channels that may not or cannot send ---------------------------------------


@pytest.mark.parametrize("switched_off", ["channel", "owner"])
async def test_nothing_is_sent_for_a_channel_that_is_switched_off(
    channel: Channel,
    event: InboundEvent,
    monkeypatch: pytest.MonkeyPatch,
    switched_off: str,
) -> None:
    platform = use(Flaky(), monkeypatch)
    await now(outbox.add, event, ["one", "two"])
    if switched_off == "channel":
        await now(Channel.objects.update, enabled=False)
    else:
        await now(User.objects.filter(pk=channel.owner_id).update, is_active=False)
    await outbox.deliver_due(channel.pk)
    assert platform.tried == []
    assert {row.state for row in await now(rows)} == {State.FAILED}


async def test_secret_that_cannot_be_read_is_no_reason_to_give_up_at_once(
    channel: Channel, event: InboundEvent, monkeypatch: pytest.MonkeyPatch
) -> None:
    platform = use(Flaky(), monkeypatch)
    await now(Channel.objects.update, secrets={"secret": "of another installation"})
    await now(outbox.add, event, ["one"])
    assert await outbox.deliver_due(channel.pk) == 0
    (row,) = await now(rows)
    assert (row.state, platform.tried) == (State.PENDING, [])
    assert "cannot be read" in row.error


async def test_channel_may_go_while_something_is_being_sent(
    channel: Channel,
    event: InboundEvent,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for failure in ((), (AWAY,)):
        platform = use(Flaky(*failure), monkeypatch)
        platform.gate.clear()
        mine = await now(Channel.objects.filter(pk=channel.pk).first)
        if mine is None:
            mine = await now(make_channel, await now(lambda: channel.persona))
            await now(make_room, mine, "room1")
            event = await now(make_event, mine, "m9")
        await now(outbox.add, event, ["one"])
        outbox.wake(mine.pk)
        async with asyncio.timeout(5):
            while not platform.tried:
                await asyncio.sleep(0.001)
        await now(mine.delete)
        platform.gate.set()
        async with asyncio.timeout(5):
            while outbox.COURIERS.running():
                await asyncio.sleep(0.001)
    assert "stopped" not in caplog.text


async def test_late_end_of_a_lost_claim_changes_nothing(
    channel: Channel, event: InboundEvent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that slept through its lease must not undo what came after."""
    platform = use(Flaky(AWAY), monkeypatch)
    platform.gate.clear()
    await now(outbox.add, event, ["one"])
    outbox.wake(channel.pk)
    async with asyncio.timeout(5):
        while not platform.tried:
            await asyncio.sleep(0.001)
    lease_over = timezone.now() - timedelta(seconds=1)
    await now(OutboundReply.objects.update, next_at=lease_over)
    (taken,) = await now(deliveries.claim_due, OutboundReply.objects.all(), 1)
    await now(deliveries.settle_sent, taken.row, text="")
    platform.gate.set()
    await outbox.deliver_due(channel.pk)
    assert (await now(rows))[0].state == State.SENT
