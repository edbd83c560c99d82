"""The processes below this one, for tests that must leave none behind."""

from __future__ import annotations

import psutil


class Children:
    """The processes that were started since this was made.

    Servers that a whole run of tests shares may have been started before.
    """

    def __init__(self) -> None:
        self._before = set(_all())

    def __call__(self) -> list[psutil.Process]:
        """Return those that still run."""
        return [process for process in _all() if process not in self._before]

    def end(self, within_s: float = 5) -> None:
        """Wait until all have ended; an ``AssertionError`` names those that do not."""
        left = psutil.wait_procs(self(), timeout=within_s)[1]
        assert not left, f"Left running: {left}"


def _all() -> list[psutil.Process]:
    found: list[psutil.Process] = psutil.Process().children(recursive=True)
    return found
