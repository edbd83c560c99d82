"""The seam between the queue and what brings its tasks to workers.

The row, its lease, its fence and its rescue are ``channels_app.jobs.leases``, whatever
the engine. An engine only says which worker looks when, and at what: it may bring a
task twice or late, because a claim decides who works at it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from channels_app.models import QueuedTask

WorkAt = Callable[[QueuedTask], Awaitable[None]]
"""Works at a claimed task and settles it; raises nothing. Cancelled, it gives the task
back and ends."""


class Engine(Protocol):
    """Brings tasks to the workers of one kind of database."""

    def announce(self, tasks: Sequence[QueuedTask]) -> None:
        """Make known that tasks wait; in the transaction that let them wait.

        Synchronous. Called for new tasks and for those that wait once more: asked for
        again, tried again, given back or rescued; ``not_before`` says from when on.
        """

    def wake(self) -> None:
        """Let the workers of this process look now; from any thread, after a commit."""

    def sweep(self) -> int:
        """Announce what waits and was never announced here; return how many.

        Synchronous, for the worker's tick.
        """

    async def run(self, work_at: WorkAt, *, worker: str, concurrency: int) -> None:
        """Claim tasks in the name of ``worker`` and work at them until ``stop``.

        At most ``concurrency`` at once. No failure of the database ends it.
        """

    async def stop(self, grace_s: float) -> None:
        """Take nothing more, let what runs end for a while, then cancel it.

        Returns when nothing of it runs any more.
        """
