"""How long one dispatch may take in all, whatever number of models it asks.

Each attempt has its back end's limits, but never more than the dispatch has left:

* ``total_s`` counts from the start of the dispatch, not of the attempt;
* while nothing is shown, all attempts together have ``PATIENCE_S``: enough for a model
  in the house that was loaded in vain and a quick one behind it. A model in the house
  may use ``LOCAL_PATIENCE_S``, so that it is loaded also behind hosts that are silent.
  What is shown starts the count anew.

Limits that a caller gives count instead, and then ``total_s`` is the whole patience.
Pure but for the clock.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from routing.backends.base import LOCAL_TIMEOUTS, REMOTE_TIMEOUTS, Timeouts
from routing.catalogue import ModelInfo
from routing.errors import RoutingError

PATIENCE_S: Final = 240.0
LOCAL_PATIENCE_S: Final = 360.0
LEAST_S: Final = 0.1
"""With less than this no further attempt is worth beginning."""


class OutOfTime(RoutingError):
    """There is somebody left to ask, but no time."""

    retryable = True

    def __init__(self, waited_s: float) -> None:
        super().__init__(
            "upstream_timeout", f"No model answered within {round(waited_s, 1):g} s."
        )


class Deadline:
    """The time limit of one dispatch; it runs from when it is made."""

    def __init__(
        self, timeouts: Timeouts | None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._timeouts = timeouts
        self._clock = clock
        self._started_s = self._silent_since_s = clock()

    def progress(self) -> None:
        """Note that something was shown: the patience counts anew."""
        self._silent_since_s = self._clock()

    def has_time_for(self, model: ModelInfo) -> bool:
        """Say whether another attempt, with this model, is worth beginning."""
        return min(self._left_s(model)) >= LEAST_S

    def limits_for(self, model: ModelInfo) -> Timeouts:
        """Return the limits of an attempt that begins now."""
        limits = self._limits(model)
        patience_s, total_s = (_rounded_up(left) for left in self._left_s(model))
        return replace(
            limits,
            first_token_s=min(limits.first_token_s, patience_s),
            total_s=min(limits.total_s, total_s),
        )

    def out_of_time(self) -> OutOfTime:
        """Return the error where nobody can be asked any more."""
        return OutOfTime(self._clock() - self._silent_since_s)

    def _limits(self, model: ModelInfo) -> Timeouts:
        defaults = LOCAL_TIMEOUTS if model.host.is_local else REMOTE_TIMEOUTS
        return self._timeouts or defaults

    def _left_s(self, model: ModelInfo) -> tuple[float, float]:
        """Return what is left of the patience and of the whole time."""
        now = self._clock()
        total_s = self._limits(model).total_s
        patience_s = LOCAL_PATIENCE_S if model.host.is_local else PATIENCE_S
        if self._timeouts is not None:
            patience_s = total_s
        return self._silent_since_s + patience_s - now, self._started_s + total_s - now


def _rounded_up(seconds: float) -> float:
    """Return whole tenths of a second, which sentences name; at least one."""
    return max(0.1, math.ceil(seconds * 10) / 10)
