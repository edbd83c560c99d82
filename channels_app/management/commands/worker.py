"""``manage.py worker``: the background process, as the supervisor starts it."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

from django.core.management.base import BaseCommand

from channels_app.jobs.chores import CHORES
from channels_app.jobs.heartbeat import keep_beating
from channels_app.jobs.task_loop import TaskLoop
from channels_app.jobs.worker import Worker
from channels_app.server.alone import refuse_unprepared


class Command(BaseCommand):
    """Run the worker until SIGTERM."""

    help = "Do what happens without a request until a signal comes (see serve)."
    requires_system_checks = ()

    def handle(self, *args: Any, **options: Any) -> None:
        """Run the worker's event loop."""
        refuse_unprepared()
        gc.collect()
        gc.freeze()
        worker = Worker(heartbeat=keep_beating, look_after=CHORES, tasks=TaskLoop())
        asyncio.run(worker.run())
