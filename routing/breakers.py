"""What this process knows about its hosts: failures in a row, and cool-downs.

A *breaker* belongs to a host. It opens after three failures in a row and lets nobody
through for 5 s; then one call may probe (half-open). Its first sign of an answer lets
others through again, for an answer may take minutes; its success closes the breaker.

A *cool-down* belongs to a model on a host, for that is what vendors limit: after an
answer of 429 it is left alone for as long as the host says, bounded to an hour, else
for 5 s and twice as long each time. It is also written to ``Host.cooling_until``; other
processes, which do not know the model, leave the whole host alone until then.

Called from the threads of the database pool, ``heard`` from the event loop too; every
method is short and takes the lock.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from django.utils import timezone

from routing.catalogue import ModelInfo
from routing.health import HEALTHY, Health, Rest, key_of

FAILURES_TO_OPEN: Final = 3
OPEN_S: Final = 5.0
PROBE_S: Final = 60.0
"""How long a probe may take before another one is let through."""
COOL_S: Final = 5.0
LONGEST_GUESS_S: Final = 300.0
"""Bound of the doubling where a host does not say how long it wants to rest."""
LONGEST_S: Final = 3600.0
SHORTEST_S: Final = 0.25
CLOCK_TOLERANCE: Final = timedelta(seconds=1)
LONG_AGO: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(slots=True)
class _Breaker:
    failures: int = 0
    open_until_s: float | None = None
    """Set = the breaker is open, or half-open once the time has passed."""


@dataclass(slots=True)
class _CoolDown:
    refusals: int = 0
    """Answers of 429 in a row."""
    until_s: float = 0.0


class Breakers:
    """The hosts of one process, by id (``None`` = the built-in one)."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = timezone.now,
    ) -> None:
        self._clock = clock
        self._now = now
        self._breakers: dict[int | None, _Breaker] = {}
        self._cooling: dict[tuple[int | None, str], _CoolDown] = {}
        self._written: dict[int | None, datetime] = {}
        """Until when this process itself made other processes leave a host alone."""
        self._lock = threading.Lock()

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._breakers.clear()
            self._cooling.clear()
            self._written.clear()

    def health(self, models: Iterable[ModelInfo]) -> Health:
        """Return the frozen view for the router."""
        resting = {}
        for model in models:
            rest = self.rest_of(model)
            if rest is not None:
                resting[key_of(model)] = rest
        return Health(resting) if resting else HEALTHY

    def rest_of(self, model: ModelInfo) -> Rest | None:
        """Return why a model must not be called now; ``None`` = it may."""
        with self._lock:
            if self._cooling_s(model) > 0:
                return "cooling"
            return "failing" if self._open_s(model) > 0 else None

    def wait_s(self, model: ModelInfo) -> float:
        """Return for how many seconds a model must be left alone; 0 = call it now."""
        with self._lock:
            return max(self._cooling_s(model), self._open_s(model))

    def enter(self, model: ModelInfo) -> bool:
        """Ask for permission to call a model; every call that got it is reported.

        After the open time exactly one caller gets it: the probe.
        """
        with self._lock:
            if self._cooling_s(model) > 0 or self._open_s(model) > 0:
                return False
            breaker = self._breakers.get(model.host.id)
            if breaker is not None and breaker.open_until_s is not None:
                breaker.open_until_s = self._clock() + PROBE_S
            return True

    def heard(self, model: ModelInfo) -> None:
        """Report that a model began to answer: its host is open to all again.

        The failures stay counted until the answer has ended well, so that one more
        opens the breaker at once.
        """
        with self._lock:
            breaker = self._breakers.get(model.host.id)
            if breaker is not None:
                breaker.open_until_s = None

    def succeeded(self, model: ModelInfo) -> None:
        """Report that a model answered: the breaker of its host is closed."""
        with self._lock:
            self._breakers.pop(model.host.id, None)
            self._cooling.pop(key_of(model), None)

    def failed(self, model: ModelInfo) -> None:
        """Report a failure that speaks against the host."""
        with self._lock:
            breaker = self._breakers.setdefault(model.host.id, _Breaker())
            breaker.failures += 1
            if breaker.failures >= FAILURES_TO_OPEN:
                breaker.open_until_s = self._clock() + OPEN_S

    def spared(self, model: ModelInfo) -> None:
        """Report a call that was given up before it could tell anything."""
        with self._lock:
            breaker = self._breakers.get(model.host.id)
            if breaker is not None and breaker.open_until_s is not None:
                breaker.open_until_s = min(breaker.open_until_s, self._clock())

    def cool(self, model: ModelInfo, retry_after_s: float | None) -> float:
        """Report that a host asked for patience; return for how many seconds."""
        with self._lock:
            self._breakers.pop(model.host.id, None)  # it answered
            cooling = self._cooling.setdefault(key_of(model), _CoolDown())
            cooling.refusals += 1
            if retry_after_s is None:
                doubled = COOL_S * 2.0 ** min(cooling.refusals - 1, 20)
                seconds = min(doubled, LONGEST_GUESS_S)
            else:
                seconds = min(max(retry_after_s, SHORTEST_S), LONGEST_S)
            cooling.until_s = self._clock() + seconds
            until = self._now() + timedelta(seconds=seconds)
            known = self._written.get(model.host.id, until)
            self._written[model.host.id] = max(known, until)
            return seconds

    def _cooling_s(self, model: ModelInfo) -> float:
        cooling, host = self._cooling.get(key_of(model)), model.host
        left = cooling.until_s - self._clock() if cooling is not None else 0.0
        until = host.cooling_until
        if until is not None and until > self._known_until(host.id):
            left = max(left, (until - self._now()).total_seconds())
        return max(0.0, left)

    def _known_until(self, host_id: int | None) -> datetime:
        """Return until when a cool-down in the database may be this process's own."""
        written = self._written.get(host_id)
        return LONG_AGO if written is None else written + CLOCK_TOLERANCE

    def _open_s(self, model: ModelInfo) -> float:
        breaker = self._breakers.get(model.host.id)
        if breaker is None or breaker.open_until_s is None:
            return 0.0
        return max(0.0, breaker.open_until_s - self._clock())


BREAKERS: Final = Breakers()
"""The one of this process."""


FIRST_PAUSE_S: Final = 0.5
LONGEST_PAUSE_S: Final = 15.0


def pause_s(
    round_number: int,
    at_least_s: float = 0.0,
    rng: Callable[[], float] = random.random,
) -> float:
    """Return how long to back off before the chain is tried again.

    Doubles with each round up to 15 s; half of it is left to chance, so that callers
    who were refused together do not come back together. ``at_least_s`` is when the
    first host may be called again.
    """
    longest = min(FIRST_PAUSE_S * 2.0 ** min(round_number, 20), LONGEST_PAUSE_S)
    jittered = longest * (0.5 + rng() / 2)
    if at_least_s > jittered:
        return at_least_s + FIRST_PAUSE_S * rng()
    return jittered
