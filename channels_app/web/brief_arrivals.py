"""Tells open pages that a brief has answered.

Briefs run in the worker, and without Redis no note of the worker reaches the sockets of
the web process. So each process that has sockets looks into the database now and then;
one query, by an index, for all of its people.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any, Final

from channels_app import presence
from channels_app.jobs.brief_turns import answers_of
from channels_app.jobs.clock import now as clock_now
from channels_app.jobs.schedules import KIND
from channels_app.models import QueuedTask
from routing.db_pool import run_in_db_pool

OVERLAP: Final = timedelta(seconds=10)
"""What ended so long before the last one may have been committed after it."""
_FIELDS: Final = ("id", "owner_id", "attempts", "finished_at", "conversation_id")


class BriefArrivals:
    """Remembers which runs have been told."""

    def __init__(self) -> None:
        self._since: datetime | None = None
        self._told: set[uuid.UUID] = set()

    async def look(self, people: Collection[int]) -> list[dict[str, Any]]:
        """Return a note of ``presence`` for each run of these people that has ended.

        The first look goes back a few seconds; each run is told once.
        """
        return await run_in_db_pool(self._look, list(people)) if people else []

    def _look(self, people: list[int]) -> list[dict[str, Any]]:
        since = self._since or clock_now()
        ended = QueuedTask.objects.filter(
            finished_at__gt=since - OVERLAP,
            kind=KIND,
            owner__in=people,
            conversation__isnull=False,
        )
        runs = list(ended.only(*_FIELDS).order_by("finished_at"))
        new = [run for run in runs if run.pk not in self._told]
        self._told = {run.pk for run in runs}
        self._since = max(
            [since, *(run.finished_at for run in runs if run.finished_at)]
        )
        return [_note(run) for run in new]


def _note(run: QueuedTask) -> dict[str, Any]:
    note = {
        "type": presence.EVENT,
        "user_id": run.owner_id,
        "conversation": str(run.conversation_id),
    }
    if answers := answers_of(run):
        note["turn"] = str(answers[-1].pk)
    return note
