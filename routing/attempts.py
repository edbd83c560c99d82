"""The bookkeeping of one dispatch: candidates, reservations, settlements.

Everything here that touches the database is synchronous and runs in the database pool,
one crossing per step. Every attempt has one ``reserve`` row before its network call
and exactly one closing row:

* ``release`` (no tokens, no cost) when the host refused or could not be reached
  before it began to work: no connection, HTTP errors;
* ``settle`` in all other cases: complete, incomplete, interrupted by the person, and
  failed after the host had been sent the call and may have worked.

Where the host sent no usable count, tokens are estimated from the texts and marked.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from django.db import Error, connection

from accounts.models import User
from ledger import entries
from ledger.errors import LedgerError
from ledger.types import Caller, Cost, Reservation, Settlement
from routing.attempt import Attempt, prompt_tokens
from routing.backends.base import AuthenticationFailed, BackendError, Prompt, Usage
from routing.catalogue import Catalogue
from routing.models import Host
from routing.registry import catalogue_for, catalogue_of_host
from routing.router import Candidate, RoutePlan, RouteRequest, after_failure, route

logger = logging.getLogger(__name__)

PromptBuilder = Callable[[int], Prompt]
"""Builds the prompt for a candidate; the argument is its room in tokens."""
PREVIEW_CHARACTERS: Final = 80
SETTLE_PAUSES_S: Final = (0.0, 0.1, 0.4)
"""How long to wait before each try to write a closing row."""
_HAPPENED: Final = {
    "upstream_unavailable": "did not answer",
    "upstream_timeout": "took too long",
    "too_many": "was too busy",
    "upstream_auth": "did not accept its key",
    "no_model": "was not to be found",
    "too_long": "had no room for the text",
}
"""What a failure's code means in the reason for the next attempt."""


@dataclass(frozen=True, slots=True)
class Job:
    """What one dispatch is asked to do."""

    prompt: Prompt | PromptBuilder
    caller: Caller
    user: User
    request: RouteRequest
    preview: bool
    max_output_tokens: int | None
    only_host: int | None = None
    """A host to test: nothing but its models."""
    thread_id: uuid.UUID | None = None
    attachments: int = 0
    redo_of: uuid.UUID | None = None
    background: bool = False

    def catalogue(self) -> Catalogue:
        """Read what may be called."""
        if self.only_host is not None:
            return catalogue_of_host(self.user, self.only_host)
        return catalogue_for(self.user)


class Attempts:
    """The attempts of one job, one after the other."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.plan: RoutePlan | None = None
        self.done: list[Attempt] = []
        self.current: Attempt | None = None
        self._rest: tuple[Candidate, ...] = ()

    def begin(self) -> None:
        """Choose the next candidate, build its prompt and reserve; sets ``current``.

        Raises:
            RoutingError: No call is possible.
            BackendError: The prompt cannot be built for any candidate.
            BudgetExceeded: The person's budget does not allow it; nothing was booked.
        """
        if self.plan is None:
            self.plan = self._route(self.job.catalogue())
            self._rest = self.plan.candidates
        attempt = self._prepare_next()
        entries.reserve(self._reservation(attempt))
        self.current = attempt

    def close(self, attempt: Attempt) -> None:
        """Write the attempt's closing row and decide what may be tried next.

        Never raises for want of a database: the answer is there and must not be lost.
        """
        self.current = None
        self.done.append(attempt)
        self._settle(attempt)
        try:
            self._note_key(attempt)
        except Error as error:
            logger.warning("attempt %s: its key was not noted: %s", attempt.id, error)
        if attempt.error is None or attempt.answered:
            self._rest = ()
        else:
            self._rest = after_failure(attempt.error, attempt.model, self._rest)

    @property
    def exhausted(self) -> bool:
        """Whether no candidate is left."""
        return not self._rest

    def total_cost(self) -> tuple[int | None, bool]:
        """Return the cost of all attempts (None = one is unknown), and if estimated."""
        costs = [attempt.cost for attempt in self.done]
        known = [c.cost_nano_usd for c in costs if c and c.cost_nano_usd is not None]
        estimated = any(cost is None or cost.estimated for cost in costs)
        return (sum(known) if len(known) == len(costs) else None), estimated

    def _route(self, catalogue: Catalogue) -> RoutePlan:
        request = self.job.request
        if isinstance(self.job.prompt, Prompt) and not request.input_tokens:
            size = prompt_tokens(self.job.prompt)
            request = replace(request, input_tokens=size)
        return route(request, catalogue)

    def _prepare_next(self) -> Attempt:
        """Return the first of the remaining candidates whose prompt can be built."""
        while True:
            candidate, *rest = self._rest
            try:
                attempt = self._prepare(candidate)
            except BackendError as error:
                self._rest = after_failure(error, candidate.model, rest)
                if not self._rest:
                    raise
            else:
                self._rest = tuple(rest)
                return attempt

    def _prepare(self, candidate: Candidate) -> Attempt:
        model, prompt = candidate.model, self.job.prompt
        limit = min(self.job.max_output_tokens or model.output_tokens,
                    model.output_tokens)  # fmt: skip
        return Attempt(
            id=uuid.uuid4(),
            number=len(self.done) + 1,
            candidate=candidate,
            reason=self._reason(candidate),
            prompt=prompt if isinstance(prompt, Prompt) else prompt(model.input_tokens),
            max_output_tokens=limit,
        )

    def _reason(self, candidate: Candidate) -> str:
        if not self.done:
            return candidate.reason
        failed = self.done[-1]
        code = failed.error.code if failed.error else ""
        happened = _HAPPENED.get(code, "failed")
        return f"{candidate.reason}, after {failed.model.label} {happened}"

    def _reservation(self, attempt: Attempt) -> Reservation:
        model, job = attempt.model, self.job
        return Reservation(
            attempt_id=attempt.id,
            caller=job.caller,
            role=job.request.role,
            host_type=model.host.type,
            model_id=model.label,
            model_name=model.name,
            prices=model.prices,
            estimated_input_tokens=prompt_tokens(attempt.prompt),
            max_output_tokens=attempt.max_output_tokens,
            tier=model.tier,
            attempt_number=attempt.number,
            billing=model.host.billing,
            preview=_preview(attempt.prompt) if job.preview else None,
        )

    def _settle(self, attempt: Attempt) -> None:
        """Write the closing row, again if need be.

        After that the reservation stays open for the worker's tick. The cost counts as
        unknown then, and also when the row proves to be written already: by the tick,
        or by a try whose confirmation was lost.
        """
        for pause_s in SETTLE_PAUSES_S:
            time.sleep(pause_s)
            try:
                self._book(attempt)
            except LedgerError as error:
                logger.warning("attempt %s: %s", attempt.id, error)
            except Error as error:
                logger.warning("attempt %s: no closing row: %s", attempt.id, error)
                connection.close_if_unusable_or_obsolete()
                continue
            return
        logger.error("attempt %s was not settled", attempt.id)

    def _book(self, attempt: Attempt) -> None:
        elapsed_ms = _milliseconds(attempt.started_s, time.monotonic())
        error = attempt.error
        if error is not None and not attempt.opened and not error.worked:
            entries.release(attempt.id, error.code, elapsed_ms=elapsed_ms)
            attempt.booked, attempt.cost = Usage(0, 0), Cost(0, estimated=False)
            return
        first = attempt.first_token_s
        usage = attempt.booked = attempt.measured()
        attempt.cost = entries.settle(
            attempt.id,
            Settlement(
                outcome=attempt.outcome,
                elapsed_ms=elapsed_ms,
                first_token_ms=(
                    None if first is None else _milliseconds(attempt.started_s, first)
                ),
                error_code=error.code if error else "",
                input_tokens=usage.input_tokens,
                output_tokens=usage.output_tokens,
                cache_read_tokens=usage.cache_read_tokens,
                cache_write_tokens=usage.cache_write_tokens,
                estimated=usage.estimated,
            ),
        )

    def _note_key(self, attempt: Attempt) -> None:
        """Flag the host whose key was refused; take the flag back when it answers."""
        host = attempt.model.host
        refused = isinstance(attempt.error, AuthenticationFailed)
        if host.id is None or bool(host.flagged) == refused:
            return
        if refused:
            Host.objects.filter(id=host.id).update(flagged=str(attempt.error))
        elif attempt.outcome == "complete":
            Host.objects.filter(id=host.id).update(flagged="")


def _preview(prompt: Prompt) -> str | None:
    for message in reversed(prompt.messages):
        if message.role == "user":
            return message.text[:PREVIEW_CHARACTERS] or None
    return None


def _milliseconds(start_s: float, end_s: float) -> int:
    return max(0, round((end_s - start_s) * 1000))
