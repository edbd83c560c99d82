"""Briefs for tests: made as a person makes them, and run as a worker runs them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from channels_app.jobs import leases, schedules
from channels_app.jobs.running import Runner
from channels_app.models import QueuedTask, Schedule
from personas.models import Persona
from routing.db_pool import run_in_db_pool

WORKER = "worker-1"


def moment(text: str) -> datetime:
    """Return a moment in UTC, as “2026-11-23 07:00”."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def make_brief(persona: Persona, next_at: str = "", **fields: Any) -> Schedule:
    """Save a brief of the persona's owner, every day at 07:00 UTC.

    ``next_at`` is when it comes next, instead of what the clock says.
    """
    values = {"name": "Morning paper", "prompt": "What is new?"}
    values |= {"cron": "0 7 * * *", "time_zone": "UTC"} | fields
    schedule = schedules.save(Schedule(owner=persona.owner, persona=persona, **values))
    if next_at:
        schedule.next_at = moment(next_at)
        schedule.save(update_fields=["next_at"])
    return schedule


async def run_all(worker: str = WORKER) -> list[QueuedTask]:
    """Run what waits as a worker does, one after the other; return how it ended."""
    tasks = await run_in_db_pool(leases.claim, worker, 10)
    for task in tasks:
        await Runner(worker).work_at(task)
    return [await run_in_db_pool(QueuedTask.objects.get, pk=task.pk) for task in tasks]


async def run_now(schedule: Schedule) -> QueuedTask:
    """Run a brief as by “run now”; return how that ended."""
    await run_in_db_pool(schedules.run_now, schedule)
    (task,) = await run_all()
    return task
