"""The bookkeeping of one dispatch: candidates, reservations, settlements.

Everything here that touches the database is synchronous and runs in the database pool,
one crossing per step. Every attempt has one ``reserve`` row before its network call
and exactly one closing row:

* ``release`` (no tokens, no cost) when the host refused or could not be reached
  before it began to work: no connection, HTTP errors;
* ``settle`` in all other cases: complete, incomplete, interrupted by the person, and
  failed after the host had accepted the call.

Where the host sent no usable count, tokens are estimated from the texts and marked.
"""

from __future__ import annotations

import json
import logging
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from django.db import OperationalError

from accounts import secrets
from accounts.models import User
from ledger import entries
from ledger.types import Caller, Cost, Outcome, Reservation, Settlement
from routing.backends.base import (
    AuthenticationFailed,
    BackendError,
    ConnectionFailed,
    Event,
    Finished,
    Prompt,
    Target,
    TextDelta,
    ThinkingDelta,
    ToolCall,
    UpstreamFailed,
    Usage,
    UsageReported,
)
from routing.catalogue import Catalogue, ModelInfo
from routing.errors import ErrorInfo
from routing.models import Host
from routing.registry import catalogue_for
from routing.router import Candidate, RoutePlan, RouteRequest, after_failure, route
from routing.tokens import estimate_tokens, tokens_of_bytes

logger = logging.getLogger(__name__)

PromptBuilder = Callable[[int], Prompt]
"""Builds the prompt for a candidate; the argument is its room in tokens."""
Shown = TextDelta | ThinkingDelta | ToolCall
"""What an attempt shows to the person who asked."""
PREVIEW_CHARACTERS: Final = 80
SETTLE_TRIES: Final = 3


@dataclass(frozen=True, slots=True)
class Job:
    """What one dispatch is asked to do."""

    prompt: Prompt | PromptBuilder
    caller: Caller
    user: User
    request: RouteRequest
    preview: bool
    max_output_tokens: int | None


@dataclass(slots=True)
class Attempt:
    """One try with one model, from its reservation to its closing row."""

    id: uuid.UUID
    number: int
    candidate: Candidate
    reason: str
    prompt: Prompt
    max_output_tokens: int
    started_s: float = field(default_factory=time.monotonic)
    first_token_s: float | None = None
    opened: bool = False
    """The host accepted the call."""
    answered: bool = False
    """Something of the answer was shown, so there is no falling back any more."""
    finished: bool = False
    output_bytes: int = 0
    usage: Usage | None = None
    """The host's own count."""
    outcome: Outcome = "interrupted"
    error: BackendError | None = None
    booked: Usage | None = None
    cost: Cost | None = None
    closed: bool = False

    @property
    def model(self) -> ModelInfo:
        """The model that is tried."""
        return self.candidate.model

    def target(self) -> Target:
        """Return where the call goes, with the key decrypted for this host alone.

        Raises:
            AuthenticationFailed: The stored key cannot be read.
        """
        host = self.model.host
        try:
            key = (
                secrets.decrypt("host_key", host.key_encrypted)
                if host.key_encrypted
                else ""
            )
        except secrets.Undecryptable:
            raise AuthenticationFailed(
                "The host's stored key cannot be read; enter it again."
            ) from None
        return Target(
            host_type=host.type,
            base_url=host.base_url,
            api_key=key,
            model_name=self.model.name,
            context_tokens=self.model.context_tokens,
            trusted_origin=host.trusted_origin,
        )

    def take(self, event: Event) -> Shown | None:
        """Note an event; return it if it is for the person who asked."""
        if isinstance(event, UsageReported):
            self.usage = event.usage
            return None
        if isinstance(event, Finished):
            self.finished = True
            self.outcome = "complete" if event.complete else "incomplete"
            return None
        if isinstance(event, ToolCall):
            self.answered = True
            self._wrote(event.name + json.dumps(event.arguments))
            return event
        if isinstance(event, TextDelta):
            self.answered = True
        self._wrote(event.text)
        return event

    def check_end(self) -> None:
        """Make sure that the host ended the answer, and that there is one.

        Raises:
            BackendError: It is cut or empty.
        """
        if not self.finished:
            raise ConnectionFailed("The host cut the answer short.")
        if self.answered:
            return
        if self.outcome == "incomplete":
            raise UpstreamFailed("The model reached its length limit before answering.")
        raise UpstreamFailed("The model returned an empty answer.")

    def fail(self, error: BackendError) -> None:
        """Note a failure; what was shown before it stays."""
        self.error = error
        self.outcome = "incomplete" if self.answered else "failed"

    def _wrote(self, text: str) -> None:
        if self.first_token_s is None:
            self.first_token_s = time.monotonic()
        self.output_bytes += len(text.encode(errors="replace"))

    def measured(self) -> Usage:
        """Return the host's count, completed by estimates where it is silent."""
        usage = self.usage or Usage()
        output, input_ = usage.output_tokens, usage.input_tokens
        estimated = False
        if output is None or (output == 0 and self.output_bytes):
            output, estimated = tokens_of_bytes(self.output_bytes), True
        if not input_:
            input_, estimated = prompt_tokens(self.prompt), True
        return Usage(
            input_, output, usage.cache_read_tokens, usage.cache_write_tokens, estimated
        )


def prompt_tokens(prompt: Prompt) -> int:
    """Return about how many tokens a prompt has on the wire."""
    texts = [prompt.system, *(message.text for message in prompt.messages)]
    return estimate_tokens("".join(texts))


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
            self.plan = self._route(catalogue_for(self.job.user))
            self._rest = self.plan.candidates
        attempt = self._prepare_next()
        entries.reserve(self._reservation(attempt))
        self.current = attempt

    def close(self, attempt: Attempt) -> None:
        """Write the attempt's closing row and decide what may be tried next.

        A ledger that cannot be written is tried again; after that the reservation
        stays open for the worker's tick, and the cost counts as unknown.
        """
        self.current = None
        self.done.append(attempt)
        attempt.closed = True
        for left in reversed(range(SETTLE_TRIES)):
            try:
                self._book(attempt)
                break
            except OperationalError:
                logger.warning("attempt %s: the ledger is busy", attempt.id)
                if not left:
                    logger.exception("attempt %s was not settled", attempt.id)
        self._note_key(attempt)
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
            request = RouteRequest(
                request.role, request.model, request.tier, request.private, size
            )
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
        code = failed.error.code if failed.error else "failed"
        return f"{candidate.reason}, after {failed.model.label}: {code}"

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
            billing="local" if model.host.is_local else "metered",
            preview=_preview(attempt.prompt) if job.preview else None,
        )

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


def error_of(attempt: Attempt) -> ErrorInfo | None:
    """Return what people are told about an attempt's end; ``None`` = all is well."""
    error = attempt.error
    if error is not None:
        return ErrorInfo(error.code, str(error), error.retryable)
    if attempt.outcome == "incomplete":
        return ErrorInfo("too_long", "The answer reached its length limit.", True)
    return None


def _preview(prompt: Prompt) -> str | None:
    for message in reversed(prompt.messages):
        if message.role == "user":
            return message.text[:PREVIEW_CHARACTERS] or None
    return None


def _milliseconds(start_s: float, end_s: float) -> int:
    return max(0, round((end_s - start_s) * 1000))
