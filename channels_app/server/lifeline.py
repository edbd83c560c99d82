"""The thread by which a child process hangs on its supervisor.

The supervisor holds the writing end of a pipe and hands the reading end to its children
(``CORTEX_LIFELINE_FD``). When it dies, even by SIGKILL, the pipe ends, and the child
stops as it would on SIGTERM. A process that was started by hand has no lifeline.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable


def is_held() -> bool:
    """Say whether a supervisor started this process, which prepared everything."""
    return os.environ.get("CORTEX_LIFELINE_FD", "").isdigit()


def watch(loop: asyncio.AbstractEventLoop, stop: Callable[[], None]) -> None:
    """Call ``stop`` once when the supervisor is gone."""
    if not is_held():
        return
    fd = int(os.environ["CORTEX_LIFELINE_FD"])
    # Programs that this process starts are not the supervisor's children.
    os.set_inheritable(fd, False)

    def ended() -> None:
        loop.remove_reader(fd)
        stop()

    loop.add_reader(fd, ended)
