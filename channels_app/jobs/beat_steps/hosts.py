"""Hosts: those that wait go in use once they answer, those with a complaint recover."""

from __future__ import annotations

from typing import Final

from channels_app.jobs.beat_step import BeatStep
from routing import discovery, recovery


def find() -> int:
    """Count the hosts that are due for a test, or in use with a complaint."""
    return discovery.count_hosts_to_look_at() + recovery.flagged_hosts().count()


async def work() -> int:
    """Look at each; only the test of one that waits calls a model."""
    put_in_use = await discovery.enable_hosts_that_answer()
    return put_in_use + await recovery.look_after_flagged()


STEP: Final = BeatStep("hosts", "Hosts that wait or failed", find, work, within_s=900)
