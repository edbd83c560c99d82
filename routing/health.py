"""Which models are better left alone right now, as a frozen view for the router.

Also the rules by which a failed call speaks against its host. Pure; the moving part
is in ``routing.breakers``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from routing.backends.base import (
    BackendError,
    ConnectionFailed,
    Overloaded,
    RateLimited,
    TimedOut,
    UpstreamFailed,
)
from routing.catalogue import ModelInfo

Rest = Literal["cooling", "failing"]
"""``cooling``: the host asked for it; ``failing``: it failed several times in a row."""
WHY_IT_RESTS: dict[Rest, str] = {
    "cooling": "asked to be left alone for a while",
    "failing": "failed several times in a row",
}


class NoAnswer(UpstreamFailed):
    """The call itself went well, but the model said nothing."""


ModelKey = tuple[int | None, str]
"""Host and name of a model; ``None`` = the built-in host."""


def key_of(model: ModelInfo) -> ModelKey:
    """Return what tells a model from all others, whatever its label."""
    return model.host.id, model.name


@dataclass(frozen=True, slots=True)
class Health:
    """The models that rest, or whose host does, and why."""

    resting: Mapping[ModelKey, Rest] = field(default_factory=dict)

    def rest_of(self, model: ModelInfo) -> Rest | None:
        """Return why a model rests; ``None`` = it may be called."""
        return self.resting.get(key_of(model))


HEALTHY = Health()


def counts_against_host(error: BackendError) -> bool:
    """Say whether a failure brings the host's breaker nearer to opening.

    Only what shows that the host itself is in trouble: no connection, silence, server
    errors. A refused key, a wrong call or a refusal is an answer; 429 has a rule of
    its own.
    """
    if isinstance(error, NoAnswer):
        return False
    return isinstance(error, (ConnectionFailed, TimedOut, UpstreamFailed))


def is_overload(error: BackendError | None) -> bool:
    """Say whether the host would have answered if it were less busy."""
    return isinstance(error, (RateLimited, Overloaded))
