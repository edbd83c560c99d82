"""One dispatch from its first attempt to its result: call, fall back, settle.

The only caller of a back end in the project. It tries the router's candidates in
order, but never after anything of the answer was shown – unless the person lets another
model finish, which then only appends; it backs off and tries the chain again where
everybody is overloaded; it books every attempt, also those that fail, are stopped or
are cancelled; and it never raises for a failed call: the reason stands in the result,
as one sentence with a code.

``stop()`` and leaving the context end the upstream call at once. A cancelled task
settles first, as interrupted, and then goes on being cancelled.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, aclosing
from types import TracebackType
from typing import Final, Self

from django.db import Error

from ledger.errors import BudgetExceeded
from routing import classifier
from routing.attempt import Attempt, Shown
from routing.attempts import Attempts
from routing.backends import get_backend
from routing.backends.base import (
    BackendError,
    Event,
    TextDelta,
    Timeouts,
    UpstreamFailed,
)
from routing.db_pool import finish_in_db_pool
from routing.errors import ErrorInfo, RoutingError
from routing.events import DispatchEvent, DispatchResult, Notice, Routed
from routing.interrupts import Interrupt, Interrupted
from routing.outcome import result_of
from routing.planning import Job
from routing.prospects import Pause

logger = logging.getLogger(__name__)

BUSY_NOTICE_S: Final = 5.0
"""After so long a wait for overloaded hosts the person is told of it."""


class Dispatch:
    """One dispatch: enter it as a context, iterate it for its events, once.

    ``result`` is set when the context has been left. ``ask`` makes the classifier's
    call, which is a dispatch of its own.
    """

    result: DispatchResult

    def __init__(
        self, job: Job, timeouts: Timeouts | None, ask: classifier.Ask
    ) -> None:
        self._attempts = Attempts(job, timeouts=timeouts)
        self._job = job
        self._ask = ask
        self._stop = Interrupt()
        self._refusal: ErrorInfo | None = None
        self._prepared = False
        self._obstacle: Exception | None = None
        """What the preparation raised; it is dealt with when the dispatch runs."""
        self._told = 0
        self._waited_s = 0.0
        self._events = self._run()

    def prepare(self) -> None:
        """Plan and reserve the first attempt already; never raises.

        Synchronous, for a caller who is in the database pool anyway and saves the
        dispatch a crossing. The dispatch must be entered soon after, for there the
        attempt is booked in any case.
        """
        self._prepared = True
        try:
            self._attempts.begin()
        except Exception as error:
            self._obstacle = error

    async def __aenter__(self) -> Self:
        """Return the dispatch; nothing happens before it is iterated."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the dispatch."""
        await self.close()

    def __aiter__(self) -> AsyncIterator[DispatchEvent]:
        """Iterate over the events.

        ``Routed`` for each attempt, then what it brings; ``Notice`` at any time.
        """
        return self._events

    def stop(self) -> None:
        """End the upstream call and the iteration; what was used is booked.

        Call it in the event loop of the dispatch. The outcome becomes interrupted,
        unless the answer was complete already.
        """
        self._stop.fire()

    async def close(self) -> None:
        """End everything that still runs and set ``result``."""
        try:
            await self._events.aclose()
            if (attempt := self._attempts.current) is not None:  # nobody iterated
                await finish_in_db_pool(self._attempts.close, attempt)
        finally:
            self.result = result_of(self._attempts, self._refusal)

    async def _run(self) -> AsyncGenerator[DispatchEvent, None]:
        attempts = self._attempts
        while True:
            attempt = await self._begin()
            for notice in self._new_notices():
                yield notice
            if attempt is not None:
                async with aclosing(self._try(attempt)) as events:
                    async for event in events:
                        yield event
                if not attempts.goes_on:
                    break
            if attempts.pause is None and attempt is None:
                break
            async for notice in self._wait(attempts.pause):
                yield notice
        for notice in self._new_notices():
            yield notice

    async def _wait(self, pause: Pause | None) -> AsyncGenerator[Notice, None]:
        """Back off; Stop ends it at once, and the next ``_begin`` finds it pressed."""
        for seconds in self._steps_of(pause) if pause is not None else ():
            try:
                await self._stop.wait(functools.partial(asyncio.sleep, seconds))
            except Interrupted:
                return
            for notice in self._new_notices():
                yield notice

    async def _try(self, attempt: Attempt) -> AsyncGenerator[DispatchEvent, None]:
        """Make one attempt; it is booked whatever happens."""
        try:
            yield self._routed(attempt)
            async with AsyncExitStack() as stack:
                events = await self._open(attempt, stack)
                while (event := await self._next(events)) is not None:
                    shown = attempt.take(event)
                    self._attempts.heard(attempt)
                    if shown is not None:
                        yield self._show(shown)
                    elif attempt.finished:
                        break
            attempt.check_end()
            if (held := attempt.rest()) is not None:
                yield self._show(held)
        except Interrupted:
            pass
        except BackendError as error:
            attempt.fail(error)
        except Exception:
            logger.exception("attempt %s: the back end is at fault", attempt.id)
            attempt.fail(UpstreamFailed("The host sent something unreadable."))
        finally:
            await finish_in_db_pool(self._attempts.close, attempt)

    def _show(self, event: Shown) -> Shown:
        if isinstance(event, TextDelta):
            self._attempts.shown.append(event.text)
        return event

    async def _open(
        self, attempt: Attempt, stack: AsyncExitStack
    ) -> AsyncIterator[Event]:
        """Open the upstream call; it ends with ``stack``."""
        target = attempt.target()
        call = get_backend(target.host_type).stream(
            attempt.prompt,
            target,
            max_output_tokens=attempt.max_output_tokens,
            timeouts=self._attempts.deadline.limits_for(attempt.model),
        )
        attempt.sent = not self._stop.fired
        events = await self._stop.wait(lambda: stack.enter_async_context(call))
        attempt.opened = True
        return events

    async def _next(self, events: AsyncIterator[Event]) -> Event | None:
        try:
            return await self._stop.wait(events.__anext__)
        except StopAsyncIteration:
            return None

    async def _begin(self) -> Attempt | None:
        """Reserve the next attempt; ``None`` when there is none, or not yet."""
        try:
            await self._reserve()
        except Interrupted:
            self._attempts.current = self._attempts.pause = None
        except RoutingError as error:
            self._refusal = error.info
        except (BackendError, BudgetExceeded) as error:
            self._refusal = ErrorInfo(error.code, str(error), error.retryable)
        except Error:
            logger.exception("no attempt could be reserved")
            self._refusal = ErrorInfo(
                "internal", "The ledger is busy; please try again.", True
            )
        except asyncio.CancelledError:
            if self._attempts.current is not None:
                await finish_in_db_pool(self._attempts.close, self._attempts.current)
            raise
        except Exception:
            logger.exception("no attempt could be prepared")
            self._refusal = ErrorInfo(
                "internal", "Something went wrong in Cortex.", True
            )
        return self._attempts.current

    async def _reserve(self) -> None:
        """Plan and reserve; where nobody can judge the tier, ask the classifier.

        Raises:
            Interrupted: Stop was pressed before there was an attempt.
        """
        if self._prepared:
            self._take_prepared()
        elif self._stop.fired:
            raise Interrupted
        else:
            await finish_in_db_pool(self._attempts.begin)
        question = self._attempts.planning.question
        if question is not None:
            verdict = await self._stop.wait(
                functools.partial(
                    classifier.judge,
                    question.text,
                    question.kind,
                    ask=self._ask,
                    user=self._job.user,
                    caller=self._job.caller,
                    private=self._job.request.private,
                )
            )
            await finish_in_db_pool(self._attempts.begin, verdict)

    def _take_prepared(self) -> None:
        """Go on with what ``prepare`` did; raises what it met."""
        obstacle, self._obstacle = self._obstacle, None
        self._prepared = False
        if obstacle is not None:
            raise obstacle

    def _steps_of(self, pause: Pause) -> list[float]:
        """Return a pause in two parts where the time to say something is within it.

        The notice is made when the first part begins and told when it has passed.
        """
        before, self._waited_s = self._waited_s, self._waited_s + pause.seconds
        if not before < BUSY_NOTICE_S <= self._waited_s:
            return [pause.seconds]
        self._attempts.tell(
            "busy", f"{pause.names}: too busy at the moment. Cortex keeps trying."
        )
        first = BUSY_NOTICE_S - before
        return [first, pause.seconds - first]

    def _new_notices(self) -> list[Notice]:
        new = self._attempts.notices[self._told :]
        self._told += len(new)
        return new

    def _routed(self, attempt: Attempt) -> Routed:
        model, done = attempt.model, self._attempts.done
        return Routed(
            model.label,
            model.tier,
            attempt.reason,
            attempt.number,
            fallback=bool(done) and done[0].model != model,
            continues=attempt.seam is not None,
        )
