"""How a dispatch ended, from its attempts."""

from __future__ import annotations

from ledger.types import Outcome
from routing.attempt import error_of
from routing.attempts import Attempts
from routing.decisions import total_usage
from routing.errors import ErrorInfo
from routing.events import DispatchResult


def result_of(attempts: Attempts, refusal: ErrorInfo | None) -> DispatchResult:
    """Return the result; ``refusal`` is why no further attempt could be begun."""
    done = attempts.done
    writing = [attempt for attempt in done if attempt.answered] or done[-1:]
    last = writing[-1] if writing else None
    booked = [attempt for attempt in writing if attempt.booked is not None]
    cost, estimated = attempts.total_cost()
    outcome, error = _ending(attempts, refusal)
    return DispatchResult(
        outcome=outcome,
        model=last.model.label if last else "",
        tier=last.model.tier if last else None,
        reason=last.reason if last else "",
        attempts=len(done),
        usage=total_usage(booked) if booked else None,
        cost_nano_usd=cost,
        estimated=estimated,
        error=error,
        notices=tuple(attempts.notices),
        decision_id=attempts.decision.id if attempts.decision else None,
        budget_warnings=tuple(attempts.budget_warnings),
    )


def _ending(
    attempts: Attempts, refusal: ErrorInfo | None
) -> tuple[Outcome, ErrorInfo | None]:
    """Return how it ended, and why.

    It was interrupted where no attempt began, or another one was still to come. What
    was shown stays, so then nothing is wholly failed.
    """
    last = attempts.done[-1] if attempts.done else None
    answered = any(attempt.answered for attempt in attempts.done)
    if refusal is not None:
        return "incomplete" if answered else "failed", refusal
    if last is None or (last.error is not None and attempts.goes_on):
        return "interrupted", None
    if last.outcome == "failed" and answered:
        return "incomplete", error_of(last)
    return last.outcome, error_of(last)
