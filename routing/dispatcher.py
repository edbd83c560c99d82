"""Every call to a model goes through here: route, reserve, call, fall back, settle.

The only caller of a back end in the project. It tries the router's candidates in
order, but never after anything of the answer was shown; it books every attempt, also
those that fail, are stopped or are cancelled; and it never raises for a failed call:
the reason stands in the result, as one sentence with a code.

``stop()`` and leaving the context end the upstream call at once. A cancelled task
settles first, as interrupted, and then goes on being cancelled.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Literal

from django.db import Error

from accounts.models import User
from ledger.errors import BudgetExceeded
from ledger.types import Caller, Outcome
from routing.attempt import Attempt, error_of
from routing.attempts import Attempts, Job, PromptBuilder
from routing.backends import get_backend
from routing.backends.base import (
    LOCAL_TIMEOUTS,
    REMOTE_TIMEOUTS,
    BackendError,
    Event,
    Prompt,
    PromptMessage,
    TextDelta,
    Timeouts,
    UpstreamFailed,
)
from routing.db_pool import finish_in_db_pool
from routing.errors import ErrorInfo, RoutingError
from routing.events import Completion, DispatchEvent, DispatchResult, Notice, Routed
from routing.interrupts import Interrupt, Interrupted
from routing.router import AskedBy, RouteRequest, Tier

__all__ = [
    "Completion",
    "Dispatch",
    "DispatchEvent",
    "DispatchResult",
    "Notice",
    "PromptBuilder",
    "Routed",
    "complete",
    "stream",
]

logger = logging.getLogger(__name__)

TierSource = Literal["asked", "policy"]


class Dispatch:
    """One running dispatch; iterate it for its events, once.

    ``result`` is set when the context that ``stream`` opened has been left.
    """

    result: DispatchResult

    def __init__(self, job: Job, timeouts: Timeouts | None) -> None:
        self._attempts = Attempts(job)
        self._timeouts = timeouts
        self._stop = Interrupt()
        self._refusal: ErrorInfo | None = None
        self._events = self._run()

    def __aiter__(self) -> AsyncIterator[DispatchEvent]:
        """Iterate over the events: ``Routed`` for each attempt, then what it brings."""
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
        finally:
            self.result = self._summary()

    async def _run(self) -> AsyncGenerator[DispatchEvent, None]:
        while (attempt := await self._begin()) is not None:
            try:
                yield _routed(attempt)
                async with AsyncExitStack() as stack:
                    events = await self._open(attempt, stack)
                    while (event := await self._next(events)) is not None:
                        shown = attempt.take(event)
                        if shown is not None:
                            yield shown
                        elif attempt.finished:
                            break
                attempt.check_end()
            except Interrupted:
                pass
            except BackendError as error:
                attempt.fail(error)
            except Exception:
                logger.exception("attempt %s: the back end is at fault", attempt.id)
                attempt.fail(UpstreamFailed("The host sent something unreadable."))
            finally:
                await finish_in_db_pool(self._attempts.close, attempt)
            if attempt.outcome != "failed" or self._attempts.exhausted:
                return

    async def _open(
        self, attempt: Attempt, stack: AsyncExitStack
    ) -> AsyncIterator[Event]:
        """Open the upstream call; it ends with ``stack``."""
        target = attempt.target()
        local = attempt.model.host.is_local
        call = get_backend(target.host_type).stream(
            attempt.prompt,
            target,
            max_output_tokens=attempt.max_output_tokens,
            timeouts=self._timeouts or (LOCAL_TIMEOUTS if local else REMOTE_TIMEOUTS),
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
        """Reserve the next attempt; ``None`` when there will be none."""
        try:
            if self._stop.fired:
                return None
            await finish_in_db_pool(self._attempts.begin)
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

    def _ending(self) -> tuple[Outcome, ErrorInfo | None]:
        """Return how the dispatch ended, and why.

        It was interrupted where no attempt began, or another one was still to come.
        """
        if self._refusal is not None:
            return "failed", self._refusal
        last = self._attempts.done[-1] if self._attempts.done else None
        if last is None or (last.outcome == "failed" and not self._attempts.exhausted):
            return "interrupted", None
        return last.outcome, error_of(last)

    def _summary(self) -> DispatchResult:
        done = self._attempts.done
        last = done[-1] if done else None
        cost, estimated = self._attempts.total_cost()
        outcome, error = self._ending()
        return DispatchResult(
            outcome=outcome,
            model=last.model.label if last else "",
            tier=last.model.tier if last else None,
            reason=last.reason if last else "",
            attempts=len(done),
            usage=last.booked if last else None,
            cost_nano_usd=cost,
            estimated=estimated,
            error=error,
        )


def _routed(attempt: Attempt) -> Routed:
    model = attempt.model
    return Routed(
        model.label, model.tier, attempt.reason, attempt.number, attempt.number > 1
    )


@asynccontextmanager
async def stream(
    prompt: Prompt | PromptBuilder,
    *,
    caller: Caller,
    user: User,
    role: str = "chat",
    model: str | None = None,
    tier: Tier = None,
    private: bool = False,
    preview: bool = True,
    max_output_tokens: int | None = None,
    timeouts: Timeouts | None = None,
    only_host: int | None = None,
    thread_id: uuid.UUID | None = None,
    attachments: int = 0,
    needs: frozenset[str] = frozenset(),
    policy: TierSource = "asked",
    redo_of: uuid.UUID | None = None,
    background: bool = False,
) -> AsyncIterator[Dispatch]:
    """Open one dispatch; iterate what it gives, then read ``result`` after the context.

    Args:
        prompt: The prompt, or a function that builds it for a room in tokens; it is
            called for each attempt, on a thread, and must be pure.
        caller: On whose behalf the ledger books.
        user: Whose models, chains and budget count.
        model: A label; strict, without fallback.
        tier: 1, 2, 3 or ``"auto"``; ``None`` = the role's chain.
        private: Only hosts marked local.
        preview: Whether the start of the last message is kept for the owner.
        max_output_tokens: Below the model's own limit.
        timeouts: Instead of those for hosts in or outside the house.
        only_host: Id of a host to test: its models alone count, also while it is not
            in use.
        thread_id: The conversation; its tier stays the same for some minutes.
        attachments: How many files came with the message, for the rules.
        needs: Abilities that the model must have: ``tools``, ``images``.
        policy: Who set ``tier``: the person for this message (``asked``), or the
            persona or conversation (``policy``).
        redo_of: The answer that this one is asked to better; kept as a label.
        background: Nobody waits for it; it counts against its own daily amount.
    """
    asked_by: AskedBy = "policy" if policy == "policy" else "explicit"
    job = Job(
        prompt=prompt,
        caller=caller,
        user=user,
        request=RouteRequest(
            role, model, tier, private, needs=needs, asked_by=asked_by
        ),
        preview=preview,
        max_output_tokens=max_output_tokens,
        only_host=only_host,
        thread_id=thread_id,
        attachments=attachments,
        redo_of=redo_of,
        background=background,
    )
    dispatch = Dispatch(job, timeouts)
    try:
        yield dispatch
    finally:
        await dispatch.close()


async def complete(
    prompt: Prompt | str,
    *,
    user: User,
    role: str = "chat",
    model: str | None = None,
    tier: Tier = None,
    private: bool = False,
    preview: bool = True,
    caller: Caller | None = None,
    channel: str = "api",
    max_output_tokens: int | None = None,
    timeouts: Timeouts | None = None,
) -> Completion:
    """Ask and return the whole answer; arguments as for ``stream``.

    A failed call gives what text there was and an error in ``result``.
    """
    if isinstance(prompt, str):
        prompt = Prompt("", (PromptMessage("user", prompt),))
    text: list[str] = []
    async with stream(
        prompt,
        caller=caller or Caller(user.id, user.username, channel=channel),
        user=user,
        role=role,
        model=model,
        tier=tier,
        private=private,
        preview=preview,
        max_output_tokens=max_output_tokens,
        timeouts=timeouts,
    ) as dispatch:
        async for event in dispatch:
            if isinstance(event, TextDelta):
                text.append(event.text)
    return Completion("".join(text), dispatch.result)
