"""Processes of the measurement of the queue; they read ``go`` lines and print JSON.

``python -m bench.queue_work fill TASKS SINGLE`` queues tasks of several people and
prints ``ready``; after ``go`` it waits until all are done and prints how long that took
and how many are done; after another ``go`` it queues ``SINGLE`` single tasks at a
steady rate and prints, for each, when it was queued.

``python -m bench.queue_work work`` prints ``ready``, works from ``go`` on until its
input ends, and prints how long each claim took and when each single task began.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from typing import TYPE_CHECKING, Any

import django

if TYPE_CHECKING:
    from channels_app.jobs.kinds import Done
    from channels_app.models import QueuedTask

PEOPLE = 4
RATE = 50
MANY = "many"


def say(value: object) -> None:
    """Print one line at once."""
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def fill(count: int, single: int) -> None:
    """Queue tasks, wait for their end, then queue single ones."""
    from django.db.models import Max, Min

    from accounts.models import User
    from channels_app.jobs import queue
    from channels_app.models import QueuedTask

    people = [User.objects.create_user(f"queue{number}") for number in range(PEOPLE)]
    for person in people:
        new = queue.NewTask(MANY, kind="bench")
        queue.enqueue_many(person, [new] * (count // PEOPLE), most=None)
    say("ready")
    sys.stdin.readline()
    open_tasks = QueuedTask.objects.filter(state__in=["pending", "processing"])
    while open_tasks.exists():
        time.sleep(0.2)
    ends = QueuedTask.objects.aggregate(
        first=Min("started_at"), last=Max("finished_at")
    )
    seconds = (ends["last"] - ends["first"]).total_seconds()
    say({"done": QueuedTask.objects.filter(state="done").count(), "seconds": seconds})
    sys.stdin.readline()
    queued = {}
    for number in range(single):
        task = queue.enqueue(people[number % PEOPLE], queue.NewTask("", kind="bench"))
        queued[str(task.pk)] = time.time()
        time.sleep(1 / RATE)
    while open_tasks.exists():
        time.sleep(0.05)
    say(queued)


class Times:
    """What one worker saw."""

    def __init__(self) -> None:
        self.claims_s: list[float] = []
        self.begun: dict[str, float] = {}

    async def work(self, task: QueuedTask) -> Done:
        """Do nothing, as quickly as can be."""
        from channels_app.jobs.kinds import Done

        if task.text != MANY:
            self.begun[str(task.pk)] = time.time()
        return Done()

    def timed(self, claim: Any) -> Any:
        """Wrap a function that claims tasks so that its times are kept."""

        def measured(*values: Any) -> Any:
            started = time.perf_counter()
            tasks = claim(*values)
            if tasks:
                self.claims_s.append(time.perf_counter() - started)
            return tasks

        return measured


async def work() -> None:
    """Do tasks until the input ends."""
    from channels_app.jobs import kinds, leases
    from channels_app.jobs.task_loop import TaskLoop

    times = Times()
    kinds.register("bench", times.work)
    leases.claim = times.timed(leases.claim)
    leases.claim_these = times.timed(leases.claim_these)
    loop = TaskLoop()
    say("ready")
    await asyncio.to_thread(sys.stdin.readline)
    running = asyncio.create_task(loop.run())
    await asyncio.to_thread(sys.stdin.readline)
    await loop.stop(2)
    await running
    say({"claims_s": times.claims_s, "begun": times.begun})


if __name__ == "__main__":
    os.environ["DJANGO_SETTINGS_MODULE"] = "cortex_site.settings"
    django.setup()
    if sys.argv[1] == "fill":
        fill(int(sys.argv[2]), int(sys.argv[3]))
    else:
        asyncio.run(work())
