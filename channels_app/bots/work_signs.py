"""The sign of work at an event, from when it is taken up until its answer is stored.

Nothing that goes wrong with it reaches the answer: what the work itself raises passes
through unchanged, and what the other side does is logged and forgotten.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import Final

from channels_app.bots.adapters import WorkSign, adapter_for
from channels_app.bots.asking import Ask
from channels_app.streams import TurnStream

logger = logging.getLogger(__name__)

FAILED: Final = "The sign of work at %s failed"


@contextmanager
def _forgiven(ask: Ask) -> Iterator[None]:
    try:
        yield
    except Exception:  # a platform's code may fail in any way, and the answer goes on
        logger.exception(FAILED, ask.key)


class ShownWork:
    """A sign of work that never fails; perhaps there is none."""

    def __init__(self, ask: Ask, sign: WorkSign | None) -> None:
        """Describe it; ``sign`` is what the platform shows, if it shows anything."""
        self._ask, self._sign = ask, sign

    @property
    def external_id(self) -> str:
        """The platform's message that stands for the answer, once it is known."""
        return str(getattr(self._sign, "external_id", ""))

    async def follow(self, stream: TurnStream) -> None:
        """Show the growing answer, and return at its end in any case."""
        if self._sign is not None:
            with _forgiven(self._ask):
                await self._sign.follow(stream)
        async for _ in stream.read():
            pass

    async def end(self) -> None:
        """End it as after an answer, before it is stored that none will come."""
        nothing = TurnStream(self._ask.key, self._ask.user_id)
        nothing.finish()
        await self.follow(nothing)

    async def withdraw(self) -> None:
        """Take back what stands for an answer when nothing takes its place."""
        if self._sign is not None:
            with _forgiven(self._ask):
                await self._sign.withdraw()


@asynccontextmanager
async def shown_work(ask: Ask) -> AsyncIterator[ShownWork]:
    """Show that somebody works at an event while the context lasts."""
    context, sign = await _entered(ask)
    try:
        yield ShownWork(ask, sign)
    except BaseException as error:
        await _leave(ask, context, error)
        raise
    await _leave(ask, context, None)


Context = AbstractAsyncContextManager[WorkSign]


async def _entered(ask: Ask) -> tuple[Context | None, WorkSign | None]:
    if ask.channel is None or ask.is_sync:
        return None, None
    with _forgiven(ask):
        adapter = adapter_for(ask.kind)
        context = adapter.showing_work(ask.channel, ask.incoming, ask.key)
        return context, await context.__aenter__()
    return None, None


async def _leave(
    ask: Ask, context: Context | None, error: BaseException | None
) -> None:
    if context is None:
        return
    with _forgiven(ask):
        kind, trace = (type(error), error.__traceback__) if error else (None, None)
        await context.__aexit__(kind, error, trace)
