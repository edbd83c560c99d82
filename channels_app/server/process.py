"""Puts the web process together: application, server, and what has to end before it."""

from __future__ import annotations

import asyncio
import gc
import logging

from channels_app.server.daphne import CortexServer  # isort: skip - before the rest

from channels.routing import get_default_application
from django.conf import settings

from channels_app import couriers, turns
from channels_app.bots import answering
from channels_app.server import lifeline
from routing import net
from routing.backends import claude_warm, cli_scratch

logger = logging.getLogger(__name__)

GRACE_S = 12.0
"""Answers that are being written when the process is asked to stop get this long.

What is cut off then has ``turns.SETTLE_S`` to be booked, answers to bots have
``SEND_GRACE_S`` to be stored and as long to be sent, and connections
``daphne.CLOSE_WITHIN_S`` to end: 20 s in all.
"""
SEND_GRACE_S = 1.0


def run() -> int:
    """Serve on ``HOST`` and ``PORT``; return the exit status."""
    cli_scratch.remove_leftovers()
    server = CortexServer(
        get_default_application(),
        host=settings.ADDRESS.host,
        port=settings.ADDRESS.port,
        drain=_drain,
    )

    begun: list[asyncio.Task[None]] = []

    def ready() -> None:
        loop = asyncio.get_event_loop()
        lifeline.watch(loop, server.start_drain)
        begun.append(loop.create_task(answering.go_on(), name="events left before"))
        # What was loaded at the start need not be looked at by every later collection.
        gc.collect()
        gc.freeze()

    server.ready_callable = ready
    return server.run()


async def _drain() -> None:
    """Let running answers end, then close the connections and kept programs."""
    if waiting := turns.running_count():
        answers = "1 answer" if waiting == 1 else f"{waiting} answers"
        logger.info("stopping: waiting for %s, at most %d s", answers, GRACE_S)
    try:
        await turns.drain(GRACE_S)
        await answering.drain(SEND_GRACE_S)
        await couriers.drain(SEND_GRACE_S)
    finally:
        await claude_warm.close()
        await net.close()
