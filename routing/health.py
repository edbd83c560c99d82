"""Which hosts are better left alone right now, as a frozen view for the router.

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
from routing.catalogue import HostInfo

Rest = Literal["cooling", "failing"]
"""``cooling``: the host asked for it; ``failing``: it failed several times in a row."""
WHY_IT_RESTS: dict[Rest, str] = {
    "cooling": "asked to be left alone for a while",
    "failing": "failed several times in a row",
}


class NoAnswer(UpstreamFailed):
    """The call itself went well, but the model said nothing."""


@dataclass(frozen=True, slots=True)
class Health:
    """The hosts that rest, by id (``None`` = the built-in one), and why."""

    resting: Mapping[int | None, Rest] = field(default_factory=dict)

    def rest_of(self, host: HostInfo) -> Rest | None:
        """Return why a host rests; ``None`` = it may be called."""
        return self.resting.get(host.id)


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
