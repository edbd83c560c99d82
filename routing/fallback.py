"""What a failure means for the candidates behind it, as one table. Pure.

==================  ==========================================
error               action
==================  ==========================================
ConnectionFailed    next
TimedOut            next
UpstreamFailed      next; ``Overloaded`` may be asked again
RateLimited         next; the host cools down, may be asked again
AuthenticationFailed next; the host is flagged
UnknownModel        next
ContextTooLong      next *larger*
Refused             next only where the person allows it
BadRequest          stop: it would be wrong everywhere
==================  ==========================================
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from routing.backends.base import (
    AuthenticationFailed,
    BackendError,
    BadRequest,
    ContextTooLong,
    Refused,
    UnknownModel,
)
from routing.candidates import Candidate
from routing.catalogue import ModelInfo
from routing.health import is_overload

Prospect = Literal["again", "never", "not now"]
"""Whether the same model is worth another try in the same dispatch."""


def after_failure(
    error: BackendError,
    failed: ModelInfo,
    rest: Iterable[Candidate],
    *,
    refusal_goes_on: bool = False,
) -> tuple[Candidate, ...]:
    """Return which of the remaining candidates may be tried after a failure."""
    if isinstance(error, BadRequest):
        return ()
    if isinstance(error, Refused) and not refusal_goes_on:
        return ()
    if isinstance(error, ContextTooLong):
        return tuple(
            candidate
            for candidate in rest
            if candidate.model.input_tokens > failed.input_tokens
        )
    return tuple(rest)


def prospect_of(error: BackendError) -> Prospect:
    """Say whether the model that failed may answer later in the same dispatch.

    ``again`` after an overload; ``never`` where waiting changes nothing; ``not now``
    after trouble of the host, which has a breaker for that.
    """
    if is_overload(error):
        return "again"
    hopeless = (AuthenticationFailed, UnknownModel, ContextTooLong, Refused, BadRequest)
    return "never" if isinstance(error, hopeless) else "not now"
