"""``GET /status``: whether everything runs, and how much waits."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from accounts import tokens
from accounts.models import User
from channels_app.jobs import tick
from channels_app.models import (
    Beat,
    Clock,
    MailDelivery,
    QueuedTask,
    WebhookDelivery,
    WebhookEndpoint,
)
from routing.db_pool import run_in_db_pool as now
from tests.support.api import api_of
from tests.support.chat_fixtures import *  # noqa: F403

pytestmark = pytest.mark.usefixtures("turns_running", "persona", "scripted")
INTERVAL = timedelta(seconds=300)


def ticked(*, first: timedelta, last: timedelta) -> None:
    """Say how long ago the first and the last tick began."""
    now = timezone.now()
    values = {"first_at": now - first, "last_at": now - last}
    Clock.objects.update_or_create(pk=tick.NAME, defaults=values)


def beat(ago: timedelta, **columns: Any) -> Beat:
    """Add a heartbeat that ended so long ago."""
    then = timezone.now() - ago
    usual = {"running": None, "finished_at": then, "alive_at": then}
    return Beat.objects.create(started_at=then, **(usual | columns))


async def status_of(user: User) -> dict[str, Any]:
    answer: dict[str, Any] = (await (await api_of(user)).get("/status")).json()
    return answer


async def test_the_status_has_exactly_these_fields(alice: User) -> None:
    task = {"task": "one", "force_tier": 1}
    assert (await (await api_of(alice)).post("/task", task)).status_code == 200

    status = await status_of(alice)

    assert list(status) == [
        "status",
        "runtime",
        "queue_size",
        "last_heartbeat",
        "total_calls",
        "total_cost_estimated_usd",
        "by_model",
    ]
    assert status["runtime"] == "python/django"
    assert status["total_calls"] == 1
    assert set(status["by_model"]["scripted"]) == {"calls", "cost"}


async def test_without_a_tick_it_is_degraded(alice: User) -> None:
    status = await status_of(alice)
    assert (status["status"], status["last_heartbeat"]) == ("degraded", None)

    await now(ticked, first=INTERVAL / 2, last=timedelta(seconds=90))
    await now(beat, timedelta(seconds=90))
    assert (await status_of(alice))["status"] == "degraded"


async def test_a_new_installation_has_time_for_its_first_heartbeat(alice: User) -> None:
    await now(ticked, first=2.9 * INTERVAL, last=timedelta(seconds=5))
    status = await status_of(alice)
    assert (status["status"], status["last_heartbeat"]) == ("healthy", None)

    await now(ticked, first=3.1 * INTERVAL, last=timedelta(seconds=5))
    assert (await status_of(alice))["status"] == "degraded"


@pytest.mark.parametrize(
    ("intervals", "said"), [(0.5, "healthy"), (2.9, "healthy"), (3.1, "degraded")]
)
async def test_a_heartbeat_may_be_three_intervals_old(
    alice: User, intervals: float, said: str
) -> None:
    await now(ticked, first=100 * INTERVAL, last=timedelta(seconds=5))
    ended = await now(beat, intervals * INTERVAL)
    # One that did not get to its end proves nothing.
    await now(beat, timedelta(), finished_at=None)

    status = await status_of(alice)

    assert status["status"] == said
    assert ended.finished_at
    assert datetime.fromisoformat(status["last_heartbeat"]) == ended.finished_at


@pytest.mark.parametrize(("seconds", "said"), [(20, "healthy"), (70, "degraded")])
async def test_a_long_heartbeat_counts_while_it_is_alive(
    alice: User, seconds: int, said: str
) -> None:
    await now(ticked, first=100 * INTERVAL, last=timedelta(seconds=5))
    alive_at = timezone.now() - timedelta(seconds=seconds)
    await now(beat, 9 * INTERVAL, finished_at=None, running=True, alive_at=alive_at)

    assert (await status_of(alice))["status"] == said


async def test_what_waits_is_counted_for_its_owner(
    alice: User, bob: User, admin_user: User
) -> None:
    def wait() -> None:
        for owner, states in ((alice, ["pending", "sent"]), (bob, ["sending"])):
            endpoint = WebhookEndpoint.objects.create(owner=owner, url="", secret="")
            for number, state in enumerate(states):
                WebhookDelivery.objects.create(
                    endpoint=endpoint, event="x", subject=str(number), state=state
                )
                MailDelivery.objects.create(
                    owner=owner, key=f"{owner}{number}", state=state
                )
        for task_state in QueuedTask.State.values:
            QueuedTask.objects.create(owner=alice, text="x", state=task_state)

    await now(wait)
    hers = await status_of(alice)
    everything = await api_of(admin_user, scopes=tokens.ALL_SCOPES)

    assert hers["queue_size"] == 4  # with a task that waits and one that runs
    assert (await everything.get("/status")).json()["queue_size"] == 6
