"""Who may still answer in one dispatch: the candidates, round by round.

Holds no database and no network. A *round* asks the candidates one after the other;
hosts that rest are passed over. Where everybody who could answer is overloaded, the
same candidates come again after a pause, until the deadline.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from routing.backends.base import BackendError, Overloaded, RateLimited
from routing.breakers import Breakers, pause_s
from routing.candidates import Candidate
from routing.catalogue import ModelInfo
from routing.errors import EverybodyRests
from routing.fallback import after_failure, prospect_of
from routing.health import ModelKey, counts_against_host, is_overload, key_of

OVERLOAD_PATIENCE_S: Final = 120.0
"""How long an overloaded chain is tried again at most."""


@dataclass(frozen=True, slots=True)
class Pause:
    """Everybody is overloaded: try again after so many seconds."""

    seconds: float
    names: str
    """Who is overloaded, for people."""


class Prospects:
    """The candidates of one dispatch that are worth asking."""

    def __init__(
        self,
        breakers: Breakers,
        *,
        total_s: float = OVERLOAD_PATIENCE_S,
        ignore_rest: bool = False,
        clock: Callable[[], float] = time.monotonic,
        rng: Callable[[], float] = random.random,
    ) -> None:
        self._breakers = breakers
        self._ignore_rest = ignore_rest
        """For the test of a host: it is called also while it rests."""
        self._clock, self._rng = clock, rng
        self._deadline_s = clock() + min(total_s, OVERLOAD_PATIENCE_S)
        self._pool: tuple[Candidate, ...] = ()
        """Who may answer, now or after a pause."""
        self._rest: tuple[Candidate, ...] = ()
        """Who has not been asked in this round."""
        self._rested: set[ModelKey] = set()
        """Who rested already when the plan was made."""
        self._on_trial: set[int | None] = set()
        """Hosts that this dispatch called as the probe of their breaker."""
        self._last_errors: dict[ModelInfo, BackendError] = {}
        self._rounds = 0

    @property
    def any_left(self) -> bool:
        """Whether somebody has not been asked in this round."""
        return bool(self._rest)

    def start(self, candidates: tuple[Candidate, ...]) -> None:
        """Begin the first round."""
        self._pool = self._rest = candidates
        self._note_rest(candidates)

    def _note_rest(self, candidates: Iterable[Candidate]) -> None:
        models = [each.model for each in candidates]
        self._rested |= self._breakers.health(models).resting.keys()

    def new_round(self) -> None:
        """Ask everybody again if nobody is left."""
        self._rest = self._rest or self._pool

    def next(self) -> Candidate | None:
        """Return the next candidate whose host may be called now; ``None`` = nobody.

        Each one that is returned must be reported: by ``ended`` or ``unused``.
        """
        while self._rest:
            candidate, *rest = self._rest
            self._rest = tuple(rest)
            if self._may_enter(candidate.model):
                return candidate
        return None

    def _may_enter(self, model: ModelInfo) -> bool:
        """Ask the breakers.

        A breaker that opened because of what failed in this very dispatch does not bar
        another model of the same host from its first try, which belongs to the plan.
        It does bar whoever rested when the plan was made, and everybody once the host
        has failed as a probe. A cool-down is always kept.
        """
        host_id = model.host.id
        if self._breakers.enter(model):
            if self._breakers.rest_of(model) is not None:  # for all others
                self._on_trial.add(host_id)
            return True
        if self._ignore_rest:
            return True
        if model in self._last_errors or key_of(model) in self._rested:
            return False
        if host_id in self._on_trial or self._breakers.rest_of(model) == "cooling":
            return False
        return any(failed.host.id == host_id for failed in self._last_errors)

    def unused(self, candidate: Candidate) -> None:
        """Report a candidate that was not called after all."""
        self._breakers.spared(candidate.model)

    def unfit(self, candidate: Candidate, error: BackendError) -> None:
        """Report a candidate for which no prompt can be built."""
        self._drop(candidate.model, error, refusal_goes_on=False)

    def too_dear(self, refused: Candidate, stand_ins: Iterable[Candidate]) -> bool:
        """Leave only what costs less than a candidate that the budget refused.

        ``stand_ins`` are added at the end; returns whether anybody is left.
        """
        known = {each.model for each in self._pool}
        added = [each for each in stand_ins if each.model not in known]
        self._note_rest(added)
        self._rest = self._pool = tuple(
            each for each in (*self._rest, *added) if _is_cheaper(each, refused)
        )
        return self.any_left

    def failed(
        self, model: ModelInfo, error: BackendError, *, refusal_goes_on: bool
    ) -> None:
        """Note a failure: who may be asked after it."""
        self._last_errors[model] = error
        self._drop(model, error, refusal_goes_on=refusal_goes_on)

    def _drop(
        self, model: ModelInfo, error: BackendError, *, refusal_goes_on: bool
    ) -> None:
        self._rest, self._pool = (
            after_failure(error, model, each, refusal_goes_on=refusal_goes_on)
            for each in (self._rest, self._pool)
        )
        if prospect_of(error) == "never":
            self._pool = tuple(each for each in self._pool if each.model != model)

    def heard(self, model: ModelInfo) -> None:
        """Tell the breakers that a model began to answer."""
        self._breakers.heard(model)

    def report(
        self, model: ModelInfo, error: BackendError | None, *, heard: bool, sent: bool
    ) -> float | None:
        """Tell the breakers how a call ended; return for how long its host must rest.

        Args:
            model: Who was called.
            error: Why it failed.
            heard: The host said something, also if it was stopped later.
            sent: The call left the house.
        """
        if isinstance(error, RateLimited) or (
            isinstance(error, Overloaded) and error.retry_after_s is not None
        ):
            return self._breakers.cool(model, error.retry_after_s)
        if error is not None and counts_against_host(error):
            self._breakers.failed(model)
        elif heard or (error is not None and sent):
            self._breakers.succeeded(model)
        else:
            self._breakers.spared(model)
        return None

    def pause(self) -> Pause | None:
        """Return how long to back off; ``None`` = waiting would not help.

        It helps where everybody who could answer at all is overloaded: the host cools
        down or said so just now. Somebody who failed otherwise in this dispatch is a
        reason to give up; somebody who is left alone because of earlier failures is
        not.
        """
        busy = [each for each in self._pool if self._is_busy(each.model)]
        if not busy or any(
            prospect_of(error) == "not now" for error in self._last_errors.values()
        ):
            return None
        first_s = min(self._breakers.wait_s(each.model) for each in busy)
        seconds = pause_s(self._rounds, first_s, self._rng)
        if self._clock() + seconds > self._deadline_s:
            return None
        self._rounds += 1
        names = dict.fromkeys(f"“{each.model.host.name}”" for each in busy)
        return Pause(seconds, " and ".join(names))

    def _is_busy(self, model: ModelInfo) -> bool:
        error = self._last_errors.get(model)
        if error is not None:
            return is_overload(error)
        return self._breakers.rest_of(model) == "cooling"

    def everybody_rests(self) -> EverybodyRests:
        """Return the error where nobody can be asked and waiting would not help."""
        models = [each.model for each in self._pool]
        model = min(models, key=self._breakers.wait_s)
        host, seconds = model.host, max(1, round(self._breakers.wait_s(model)))
        if self._breakers.rest_of(model) == "cooling":
            return EverybodyRests(
                "too_many",
                f"“{host.name}” asked to be left alone for another {seconds} s.",
            )
        return EverybodyRests(
            "upstream_unavailable",
            f"“{host.name}” failed several times in a row; it is tried again in "
            f"{seconds} s.",
        )


def _is_cheaper(candidate: Candidate, refused: Candidate) -> bool:
    if candidate.model.host.is_local:
        return True
    cost = candidate.model.typical_cost_nano_usd
    limit = refused.model.typical_cost_nano_usd
    return cost is not None and (limit is None or cost < limit)
