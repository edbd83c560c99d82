"""Ending one await of a task from outside: the stop button and the time limits.

Works like ``asyncio.timeout``: the task is cancelled and the cancellation is taken
back where it was meant to land, so that a cancellation by somebody else at the same
moment still goes through.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeVar

from routing.backends.base import TimedOut, Timeouts

T = TypeVar("T")


class Interrupted(Exception):
    """The await was ended by ``Interrupt.fire``."""


class Interrupt:
    """A button that ends the present await of ``wait``, and every later one at once."""

    __slots__ = ("_task", "fired")

    def __init__(self) -> None:
        self.fired = False
        self._task: asyncio.Task[object] | None = None

    @property
    def waiting(self) -> bool:
        """Whether a task is inside ``wait``."""
        return self._task is not None

    def fire(self) -> None:
        """End the await; again has no effect. Call it in the task's own event loop."""
        if not self.fired:
            self.fired = True
            if self._task is not None:
                self._task.cancel()

    async def wait(self, func: Callable[[], Awaitable[T]]) -> T:
        """Await ``func()`` and return its result.

        Raises:
            Interrupted: ``fire`` was called before or meanwhile.
        """
        if self.fired:
            raise Interrupted
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 -- tells mypy; coroutines run in tasks
        before = task.cancelling()
        self._task = task
        try:
            return await func()
        except asyncio.CancelledError:
            if self.fired and task.uncancel() <= before:
                raise Interrupted from None
            raise
        finally:
            self._task = None


class Patience:
    """The time limits of one call; every network wait of a back end goes through it.

    One timer serves the whole call: progress only moves a deadline, which the timer
    reads when it rings. Time in which the reader of the answer is busy does not count
    as the host's silence.
    """

    __slots__ = ("_began", "_deadline", "_end", "_fresh", "_interrupt", "_loop",
                 "_timeouts", "_timer")  # fmt: skip

    def __init__(self, timeouts: Timeouts) -> None:
        self._loop = asyncio.get_running_loop()
        self._timeouts = timeouts
        now = self._loop.time()
        self._end = now + timeouts.total_s
        self._deadline = min(now + timeouts.first_token_s, self._end)
        self._began = False
        self._fresh = False
        self._interrupt = Interrupt()
        self._timer = self._loop.call_at(self._deadline, self._ring)

    def progress(self) -> None:
        """Note that the model said something; the next wait counts from its start."""
        self._began = self._fresh = True

    async def wait(self, func: Callable[[], Awaitable[T]]) -> T:
        """Await ``func()`` within the limits.

        Raises:
            TimedOut: The sentence names the limit that passed.
        """
        if self._fresh:
            self._fresh = False
            next_deadline = self._loop.time() + self._timeouts.between_tokens_s
            self._deadline = min(next_deadline, self._end)
            if self._deadline < self._timer.when():
                self._timer.cancel()
                self._timer = self._loop.call_at(self._deadline, self._ring)
        try:
            return await self._interrupt.wait(func)
        except Interrupted:
            raise TimedOut(self._sentence()) from None

    def hasten(self, limit_s: float) -> None:
        """Let each silence last at most ``limit_s`` from now on; once is enough."""
        if limit_s < self._timeouts.between_tokens_s:
            self._timeouts = replace(self._timeouts, between_tokens_s=limit_s)
            self.progress()

    def close(self) -> None:
        """Stop the timer; call it when the call is over."""
        self._timer.cancel()

    def _ring(self) -> None:
        now = self._loop.time()
        if now < self._deadline:
            self._timer = self._loop.call_at(self._deadline, self._ring)
        elif self._interrupt.waiting or now >= self._end:
            self._interrupt.fire()
        else:
            self._timer = self._loop.call_later(0.25, self._ring)

    def _sentence(self) -> str:
        limits = self._timeouts
        if self._loop.time() >= self._end:
            return f"The answer took longer than {limits.total_s:g} s."
        if self._began:
            return f"The model fell silent for {limits.between_tokens_s:g} s."
        return f"The model did not begin to answer within {limits.first_token_s:g} s."
