"""What the worker looks after beside the tick."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from accounts.models import User
from channels_app.bots import answering, outbox
from channels_app.jobs import chores
from channels_app.models import (
    Channel,
    InboundEvent,
    OutboundReply,
    WebhookDelivery,
    WebhookEndpoint,
)
from channels_app.webhooks import sending
from routing.db_pool import run_in_db_pool

pytestmark = pytest.mark.django_db(transaction=True)
PAST, FUTURE = timedelta(seconds=-90), timedelta(seconds=90)


@pytest.fixture
def channel(alice: User) -> Channel:
    """A channel that something comes and goes by."""
    return Channel.objects.create(owner=alice, kind=Channel.Kind.NEXTCLOUD_TALK)


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of those that were asked to work."""
    names: list[str] = []

    async def work() -> int:
        names.append("events")
        return 0

    monkeypatch.setattr(answering, "process_left_over", work)
    monkeypatch.setattr(outbox.COURIERS, "wake", lambda _: names.append("replies"))
    monkeypatch.setattr(sending.COURIERS, "wake", lambda _: names.append("webhooks"))
    return names


async def look_after_everything() -> None:
    for chore in chores.CHORES.values():
        await chore()


async def test_nothing_is_begun_while_nothing_waits(
    channel: Channel, called: list[str]
) -> None:
    def make() -> None:
        now = timezone.now()
        InboundEvent.objects.create(channel=channel, external_id="a", state="done")
        InboundEvent.objects.create(
            channel=channel, external_id="b", next_at=now + FUTURE
        )
        InboundEvent.objects.create(
            channel=channel, external_id="c", state="processing", claimed_at=now
        )
        OutboundReply.objects.create(channel=channel, state="failed")
        OutboundReply.objects.create(channel=channel, next_at=now + FUTURE)
        hook = WebhookEndpoint.objects.create(owner=channel.owner, url="https://a.b/")
        WebhookDelivery.objects.create(endpoint=hook, next_at=now + FUTURE)

    await run_in_db_pool(make)
    await look_after_everything()
    assert called == []


@pytest.mark.parametrize(
    ("waiting", "who"),
    [
        ("new event", "events"),
        ("event of a process that died", "events"),
        ("reply", "replies"),
        ("reply of a process that died", "replies"),
        ("webhook", "webhooks"),
    ],
)
async def test_whoever_is_needed_is_asked(
    channel: Channel, called: list[str], waiting: str, who: str
) -> None:
    def make() -> None:
        then = timezone.now() + PAST
        if waiting == "new event":
            InboundEvent.objects.create(channel=channel, external_id="a")
        elif waiting == "event of a process that died":
            InboundEvent.objects.create(
                channel=channel, external_id="a", state="processing", claimed_at=then
            )
        elif waiting == "reply":
            OutboundReply.objects.create(channel=channel)
        elif waiting == "reply of a process that died":
            OutboundReply.objects.create(
                channel=channel, state="sending", claimed_at=then, next_at=then
            )
        else:
            hook = WebhookEndpoint.objects.create(
                owner=channel.owner, url="https://a.b/"
            )
            WebhookDelivery.objects.create(endpoint=hook)

    await run_in_db_pool(make)
    await look_after_everything()
    assert called == [who]
