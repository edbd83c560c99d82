"""What the worker looks after beside the tick: events and deliveries that wait.

Mostly the process that stored something also deals with it at once. The worker takes
what is due again after a failure, and what a process that died has left.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from channels_app import webhooks
from channels_app.bots import answering, claims, outbox
from channels_app.deliveries import due
from channels_app.models import OutboundReply, WebhookDelivery
from routing.db_pool import run_in_db_pool

EVERY_S: Final = 2.0

Chore = Callable[[], Awaitable[object]]


def replies_wait() -> bool:
    """Say whether some answer is due to be sent."""
    return due(OutboundReply.objects.all()).exists()


def webhooks_wait() -> bool:
    """Say whether some webhook is due to be sent."""
    return due(WebhookDelivery.objects.all()).exists()


async def see_to_events() -> None:
    """Answer events that nobody works at."""
    if await run_in_db_pool(claims.some_are_due):
        await answering.process_left_over()


async def see_to_replies() -> None:
    """Send answers that are due."""
    if await run_in_db_pool(replies_wait):
        await outbox.deliver_due()


async def see_to_webhooks() -> None:
    """Send webhooks that are due."""
    if await run_in_db_pool(webhooks_wait):
        await webhooks.deliver_due()


CHORES: Final[dict[str, Chore]] = {
    "events": see_to_events,
    "replies": see_to_replies,
    "webhooks": see_to_webhooks,
}
"""Each is looked after in a loop of its own, so that none waits for another."""
