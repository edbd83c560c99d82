"""Child processes of the supervisor: started, restarted with back-off, stopped.

A child gets a session of its own, so that Ctrl-C in the terminal reaches the supervisor
alone, which then lets the children drain. It also gets the reading end of a pipe (its
number in ``CORTEX_LIFELINE_FD``) that closes when the supervisor dies, however it dies.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import time
from collections.abc import Sequence

from cortex_site.env import BASE_DIR

logger = logging.getLogger("cortex.serve")

FIRST_DELAY_S = 1.0
LONGEST_DELAY_S = 30.0
HEALTHY_AFTER_S = 60.0
"""A child that lived this long starts the back-off from the beginning."""


class Backoff:
    """Waits between restarts: 1, 2, 4 … 30 s, and 1 s again after a healthy life."""

    def __init__(self) -> None:
        """Begin with the shortest wait."""
        self._next_s = FIRST_DELAY_S

    def delay_s(self, lived_s: float) -> float:
        """Return how long to wait after a life of ``lived_s`` seconds."""
        if lived_s >= HEALTHY_AFTER_S:
            self._next_s = FIRST_DELAY_S
        delay, self._next_s = self._next_s, min(self._next_s * 2, LONGEST_DELAY_S)
        return delay


class Lifeline:
    """A pipe that nobody writes to; its end says that the supervisor died."""

    def __init__(self) -> None:
        """Open the pipe; only ``fd`` is handed on."""
        self.fd, self._kept = os.pipe()

    def environment(self) -> dict[str, str]:
        """Return this process's environment with the number of the pipe.

        With an allocation arena for each thread, large texts that pass through the
        database threads would leave their size behind several times over.
        Source: the GNU C library's manual, "Memory Allocation Tunables".
        """
        own = {"CORTEX_LIFELINE_FD": str(self.fd)}
        return {"MALLOC_ARENA_MAX": "2", **os.environ, **own}


def command(*words: str) -> list[str]:
    """Return the command line of ``manage.py`` with ``words``, run by this Python."""
    return [sys.executable, str(BASE_DIR / "manage.py"), *words]


class Child:
    """One process that is to run for as long as the supervisor does.

    Attributes:
        name: As the log calls it.
        stopping: Set by ``stop``; the process is not started again.
    """

    def __init__(self, name: str, argv: Sequence[str], lifeline: Lifeline) -> None:
        """Describe the process; ``run`` starts it."""
        self.name = name
        self.stopping = False
        self._argv = argv
        self._lifeline = lifeline
        self._backoff = Backoff()
        self._process: asyncio.subprocess.Process | None = None
        self._wake = asyncio.Event()

    @property
    def pid(self) -> int | None:
        """The number of the running process."""
        running = self._process is not None and self._process.returncode is None
        return self._process.pid if running and self._process else None

    async def run(self) -> None:
        """Keep the process running until ``stop``; return when it has ended."""
        while not self.stopping:
            started = time.monotonic()
            end = await self._live()
            if self.stopping:
                return
            delay_s = self._backoff.delay_s(time.monotonic() - started)
            logger.warning(
                "%s ended (%s); starting it again in %.0f s", self.name, end, delay_s
            )
            try:
                await asyncio.wait_for(self._wake.wait(), delay_s)
            except TimeoutError:
                continue

    async def _live(self) -> str:
        """Start the process and return in words how it ended, or why it did not start.

        A machine that has no memory or no process left for a moment refuses to start
        it; that is an end like any other.
        """
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self._argv,
                stdin=asyncio.subprocess.DEVNULL,
                env=self._lifeline.environment(),
                pass_fds=(self._lifeline.fd,),
                start_new_session=True,
            )
        except OSError as error:
            return f"not started: {error.strerror}"
        if self.stopping:
            self.signal(signal.SIGTERM)
        return describe_exit(await self._process.wait())

    def stop(self) -> None:
        """Ask the process to finish what it does and end; it is not started again."""
        self.stopping = True
        self._wake.set()
        self.signal(signal.SIGTERM)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the running process, if there is one."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(number)


def describe_exit(code: int) -> str:
    """Return ``code`` in words: ``exit 1``, or the name of the signal that ended it."""
    if code >= 0:
        return f"exit {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
