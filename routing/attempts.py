"""The attempts of one dispatch: whom to ask next, and what each end means.

Everything here that touches the database is synchronous and runs in the database pool,
one crossing per step: ``begin`` plans, reserves and writes the decision; ``close``
books, notes what the attempt says about its host, and decides whether somebody else is
asked:

* before anything was shown, by the table of ``routing.fallback``; where everybody
  who is left is overloaded, ``pause`` says how long to back off before the next round;
* after text was shown nobody, unless the person lets another model finish: that one
  goes on inside the text.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable

from accounts.transactions import quick_transaction
from ledger import budgets
from ledger.errors import BudgetExceeded
from routing import bookings, caps, decisions, host_notes, reserving
from routing.attempt import Attempt
from routing.backends.base import BackendError, Refused, Timeouts
from routing.breakers import BREAKERS, Breakers
from routing.candidates import Candidate
from routing.classifier import Verdict
from routing.deadline import Deadline, OutOfTime
from routing.events import Notice, NoticeCode
from routing.health import is_overload
from routing.models import RouteDecision
from routing.planning import Job, Planning
from routing.preferences import Preferences, preferences_of
from routing.prospects import OVERLOAD_PATIENCE_S, Pause, Prospects
from routing.router import RoutePlan, stand_ins_in_the_house

logger = logging.getLogger(__name__)


class Attempts:
    """The attempts of one job, one after the other."""

    def __init__(
        self,
        job: Job,
        *,
        timeouts: Timeouts | None = None,
        breakers: Breakers = BREAKERS,
        clock: Callable[[], float] = time.monotonic,
        rng: Callable[[], float] = random.random,
    ) -> None:
        self.job = job
        self.planning = Planning(job)
        self.plan: RoutePlan | None = None
        self.done: list[Attempt] = []
        self.current: Attempt | None = None
        self.pause: Pause | None = None
        self.goes_on = False
        """After ``close``: whether there will be another attempt."""
        self.notices: list[Notice] = []
        self.budget_warnings: list[budgets.BudgetWarning] = []
        self.decision: RouteDecision | None = None
        self.shown: list[str] = []
        """The pieces of the answer that were shown."""
        self.deadline = Deadline(timeouts, clock)
        self._heard: Attempt | None = None
        self._breakers = breakers
        self._prospects = Prospects(
            breakers,
            total_s=timeouts.total_s if timeouts else OVERLOAD_PATIENCE_S,
            ignore_rest=job.only_host is not None,
            clock=clock,
            rng=rng,
        )
        self._preferences: Preferences | None = None

    # --- begin ------------------------------------------------------------------

    def begin(self, verdict: Verdict | None = None) -> None:
        """Choose the next candidate, build its prompt and reserve; sets ``current``.

        Where it stays ``None``, either ``planning.question`` waits for the classifier
        (whose answer comes as ``verdict``), or everybody rests and ``pause`` is set.

        Raises:
            RoutingError: No call is possible.
            BackendError: The prompt cannot be built for any candidate.
            BudgetExceeded: No candidate fits the budget; nothing was booked.
            OutOfTime: The dispatch has no time left for another attempt.
        """
        self.current = self.pause = None
        if self.plan is None and not self._make_plan(verdict):
            return
        self._prospects.new_round()
        self.current = self._reserve_next()

    def _make_plan(self, verdict: Verdict | None) -> bool:
        """Plan; ``False`` when the classifier has to be asked first."""
        planning = self.planning
        if verdict is None:
            planning.read()
            if planning.question is not None:
                return False
        else:
            planning.hear(verdict)
        self.plan = planning.plan(self._breakers)
        self._prospects.start(self.plan.candidates)
        self.notices += self.plan.notices
        return True

    def _reserve_next(self) -> Attempt | None:
        """Reserve the first remaining candidate that can be asked right now.

        ``None`` where all that are left rest for a while; then ``pause`` is set.
        """
        refusal: Exception | None = None
        while (candidate := self._prospects.next()) is not None:
            reserved = False
            try:
                self._check_time(candidate)
                attempt = self._reserve(candidate)
                reserved = True
                return attempt
            except BudgetExceeded as error:
                refusal = error
                self._go_cheaper(candidate, error)
            except OutOfTime as error:
                refusal = self._too_late(error)
            except BackendError as error:
                refusal = error
                self._prospects.unfit(candidate, error)
            finally:
                if not reserved:
                    self._prospects.unused(candidate)
        if refusal is not None:
            raise refusal
        self.pause = None if self.shown else self._prospects.pause()
        if self.pause is None:
            raise self._last_error() or self._prospects.everybody_rests()
        return None

    def _check_time(self, candidate: Candidate) -> None:
        if self.done and not self.deadline.has_time_for(candidate.model):
            raise self.deadline.out_of_time()

    def _too_late(self, error: OutOfTime) -> Exception:
        """Return the reason that helps most: why nothing came, or why it broke off."""
        last = self._last_error()
        return last if last and (self.shown or is_overload(last)) else error

    def _last_error(self) -> BackendError | None:
        return self.done[-1].error if self.done else None

    def _reserve(self, candidate: Candidate) -> Attempt:
        """Make the attempt and write its reservation; with the first the decision."""
        shown = "".join(self.shown)
        attempt = reserving.attempt_for(self.job, candidate, self.done, shown)
        cap = self.job.max_cost_nano_usd
        caps.bound(attempt, cap, self.done, self.planning.stand_in_prices)
        if self.plan is not None and self.decision is None:
            self.decision = reserving.decide_and_reserve(
                attempt, self.job, self.planning, self.plan
            )
        else:
            reserving.reserve(attempt, self.job, self.planning)
        return attempt

    def _go_cheaper(self, refused: Candidate, error: BudgetExceeded) -> None:
        """Turn to what costs less than a candidate that the budget refused."""
        job = self.job
        stand_ins = stand_ins_in_the_house(job.request, self.planning.catalogue)
        if self._prospects.too_dear(refused, stand_ins):
            self.tell("budget", f"{error} A cheaper model is asked instead.")

    def heard(self, attempt: Attempt) -> None:
        """Note the first sign of a model, while its answer goes on; cheap."""
        if attempt.first_token_s is not None and attempt is not self._heard:
            self._heard = attempt
            self._prospects.heard(attempt.model)

    # --- close ------------------------------------------------------------------

    def close(self, attempt: Attempt) -> None:
        """Write the attempt's closing row and decide what may be tried next.

        Never raises: the answer is there and must not be lost.
        """
        self.current = None
        self.done.append(attempt)
        if attempt.note:
            self.tell("context", attempt.note)
        try:
            bookings.settle(attempt)
        except Exception:  # the person has the answer; the tick closes the row
            logger.exception("attempt %s was not settled", attempt.id)
        if attempt.first_token_s is not None:
            self.deadline.progress()
        cooling_s = self._prospects.report(
            attempt.model,
            attempt.error,
            heard=attempt.finished or attempt.first_token_s is not None,
            sent=attempt.sent,
        )
        try:
            self._decide_next(attempt)
        except Exception:  # the failure so far is the better thing to tell
            logger.exception("attempt %s: no fallback", attempt.id)
            self.pause, self.goes_on = None, False
        try:
            self._note(attempt, cooling_s)
        except Exception:  # notes are for later calls, never against this one
            logger.exception("attempt %s: not all was noted", attempt.id)

    def _decide_next(self, attempt: Attempt) -> None:
        self.pause, self.goes_on = None, False
        error = attempt.error
        if error is None:
            return
        self._prospects.failed(
            attempt.model,
            error,
            refusal_goes_on=isinstance(error, Refused)
            and self._person().fallback_after_refusal,
        )
        if self.shown or attempt.answered:
            self.goes_on = self._prospects.any_left and self._may_finish()
            return
        if not self._prospects.any_left and self.job.only_host is None:
            self.pause = self._prospects.pause()
        self.goes_on = self._prospects.any_left or self.pause is not None

    def _may_finish(self) -> bool:
        """Say whether another model may go on inside the shown text."""
        if self.job.request.model or any(each.called_tools for each in self.done):
            return False
        return self._person().finish_with_another_model

    def _person(self) -> Preferences:
        if self._preferences is None:
            self._preferences = preferences_of(self.job.user)
        return self._preferences

    def _note(self, attempt: Attempt, cooling_s: float | None) -> None:
        """Keep what the attempt says about its host, its decision and the budget.

        It does not wait for the disk: the end of the answer does, which follows, and
        without that nothing here would be missed.
        """
        with quick_transaction():
            host_notes.note(attempt, cooling_s)
            if not self.goes_on:
                self._warn()
            if self.decision is not None:
                decisions.finish(
                    self.decision,
                    self.done,
                    self.planning.catalogue,
                    self.notices,
                    self.job.request.private,
                )

    def _warn(self) -> None:
        """Tell which parts of the budget are used; each is told once, so not to nobody.

        Nobody reads the notices of background work and of the test of a host.
        """
        if self.job.background or self.job.only_host is not None:
            return
        for warning in budgets.warnings_due(self.job.user):
            self.budget_warnings.append(warning)
            self.tell("budget", warning.text)

    # --- what came of it --------------------------------------------------------

    def total_cost(self) -> tuple[int | None, bool]:
        """Return the cost of all attempts (None = one is unknown), and if estimated."""
        costs = [attempt.cost for attempt in self.done]
        known = [c.cost_nano_usd for c in costs if c and c.cost_nano_usd is not None]
        estimated = any(cost is None or cost.estimated for cost in costs)
        return (sum(known) if len(known) == len(costs) else None), estimated

    def tell(self, code: NoticeCode, text: str) -> None:
        """Keep a sentence for the person who waits."""
        self.notices.append(Notice(code, text))
