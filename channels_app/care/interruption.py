"""Signals that would end a restore half way: taken as a wish, at a good moment.

Until something is changed a signal ends the work at once. From then on it is only
remembered: the work asks for it where everything can still be put back, and putting
back is never interrupted. Source: signal(7); Python documentation, "signal".
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Final

_TAKEN: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(BaseException):
    """A signal came; the text is its name."""


class Signals:
    """What came while something was done that must be whole."""

    def __init__(self) -> None:
        """Nothing came yet, and it may end the work at once."""
        self._came: str | None = None
        self._held = False

    def hold(self) -> None:
        """From now on only remember what comes.

        Raises:
            Interrupted: Something came before.
        """
        self._held = True
        self.check()

    def check(self) -> None:
        """End the work here if a signal came.

        Raises:
            Interrupted: One did.
        """
        if self._came is not None:
            raise Interrupted(self._came)

    def _take(self, number: int, _: FrameType | None) -> None:
        self._came = signal.Signals(number).name
        if not self._held:
            self.hold()  # a second one must not disturb the clearing up


@contextlib.contextmanager
def taken() -> Iterator[Signals]:
    """Take over the signals that end a process, where that is possible.

    One that is ignored, as ``nohup`` does, stays so.
    """
    signals = Signals()
    before = {}
    if threading.current_thread() is threading.main_thread():
        for number in _TAKEN:
            if signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, signals._take)
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
