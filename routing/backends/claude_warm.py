"""Claude programs kept ready, so that the next message need not wait for a start.

A program has booted and waits for the one message that it will ever get. It is used
only for exactly what it was started for: the same person, persona, host, model, limit,
instructions and credential (a ``Recipe``). At most two wait in this process, for at
most five minutes each; ``CORTEX_CLAUDE_WARM=0`` keeps none.

They end with their event loop, or by ``close``; with a killed process their guards
end them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from weakref import WeakKeyDictionary

from routing.backends.base import BackendError
from routing.backends.cli_process import Program

logger = logging.getLogger(__name__)

MAX_WAITING: Final = 2
WAIT_S: Final = 300.0


@dataclass(frozen=True, slots=True)
class Recipe:
    """All that a program is started with, and for whom: equal = interchangeable."""

    user_id: int | None
    persona_id: int | None
    host_id: int | None
    command: tuple[str, ...]
    environment: tuple[tuple[str, str], ...] = field(repr=False)
    """With the credential."""
    config_folder: Path | None
    instructions: str = field(repr=False)


class WarmPrograms:
    """The programs that wait in one event loop, oldest first."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Recipe, Program, asyncio.TimerHandle]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._starting: set[Recipe] = set()
        self._closed = False
        self._lifetime = self._until_closed()

    async def begin(self) -> None:
        """Tie the programs to the loop: it closes its generators when it ends."""
        await anext(self._lifetime)

    @property
    def pids(self) -> list[int]:
        """The process groups of those that wait."""
        return [program.pid for _, program, _ in self._waiting]

    def take(self, recipe: Recipe) -> Program | None:
        """Return a program started by this recipe, for good; ``None`` if there is none.

        One that has died meanwhile is cleaned away.
        """
        for entry in self._waiting[:]:
            if entry[0] == recipe:
                program = self._leave(entry)
                if program.alive:
                    return program
                self._do(program.stop())
        return None

    def keep(
        self, recipe: Recipe, start: Callable[[Recipe], Awaitable[Program]]
    ) -> None:
        """Start a program by this recipe in the background, if none waits yet.

        Only for a known person and persona: nobody else's next message is foreseen.
        """
        waits = recipe in self._starting or any(
            entry[0] == recipe for entry in self._waiting
        )
        if recipe.user_id is None or recipe.persona_id is None or waits:
            return
        if not self._closed:
            self._starting.add(recipe)
            self._do(self._start(recipe, start))

    async def close(self) -> None:
        """End all that wait; nothing is kept any more."""
        await self._lifetime.aclose()

    async def _end_all(self) -> None:
        self._closed = True
        for entry in self._waiting[:]:
            self._do(self._leave(entry).stop())
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _start(
        self, recipe: Recipe, start: Callable[[Recipe], Awaitable[Program]]
    ) -> None:
        try:
            program = await start(recipe)
        except BackendError:
            return
        finally:
            self._starting.discard(recipe)
        if self._closed:
            await program.stop()
            return
        loop = asyncio.get_running_loop()
        timer = loop.call_later(WAIT_S, self._expire, program)
        self._waiting.append((recipe, program, timer))
        while len(self._waiting) > MAX_WAITING:
            self._do(self._leave(self._waiting[0]).stop())

    def _expire(self, program: Program) -> None:
        for entry in self._waiting[:]:
            if entry[1] is program:
                self._do(self._leave(entry).stop())

    def _leave(self, entry: tuple[Recipe, Program, asyncio.TimerHandle]) -> Program:
        self._waiting.remove(entry)
        entry[2].cancel()
        return entry[1]

    def _do(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            logger.error("a kept program failed", exc_info=task.exception())

    async def _until_closed(self) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            await self._end_all()


_programs: Final[WeakKeyDictionary[asyncio.AbstractEventLoop, WarmPrograms]] = (
    WeakKeyDictionary()
)


async def warm_programs() -> WarmPrograms:
    """Return the running loop's kept programs."""
    loop = asyncio.get_running_loop()
    if loop not in _programs:
        _programs[loop] = WarmPrograms()
        await _programs[loop].begin()
    return _programs[loop]


async def close() -> None:
    """End the running loop's kept programs, before the loop ends."""
    programs = _programs.pop(asyncio.get_running_loop(), None)
    if programs is not None:
        await programs.close()
