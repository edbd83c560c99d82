"""The beginning of an attempt: its prompt and reason, its reservation, the decision.

Synchronous, for the database pool. The decision is written in the transaction of the
first reservation, so that neither stands without the other.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Final

from django.db import IntegrityError, transaction

from ledger import entries
from ledger.types import Reservation
from routing import bookings, decisions
from routing.attempt import Attempt
from routing.candidates import Candidate
from routing.continuation import Seam, continued
from routing.models import RouteDecision
from routing.planning import Job, Planning
from routing.router import RoutePlan

_HAPPENED: Final = {
    "upstream_unavailable": "did not answer",
    "upstream_timeout": "took too long",
    "too_many": "was too busy",
    "upstream_auth": "did not accept its key",
    "no_model": "was not to be found",
    "too_long": "had no room for the text",
    "refused": "declined",
}
"""What a failure's code means in the reason for the next attempt."""


def attempt_for(
    job: Job, candidate: Candidate, done: Sequence[Attempt], shown: str
) -> Attempt:
    """Return an attempt that nothing is written of yet.

    Args:
        job: What is asked for.
        candidate: The model.
        done: The attempts before it.
        shown: The text that was shown; the attempt goes on inside it.

    Raises:
        BackendError: The prompt cannot be built for this model.
    """
    model = candidate.model
    if shown:
        prompt = continued(job.prompt_for, model.input_tokens, shown)
    else:
        prompt = job.prompt_for(model.input_tokens)
    limit = min(job.max_output_tokens or model.output_tokens, model.output_tokens)
    return Attempt(
        id=uuid.uuid4(),
        number=len(done) + 1,
        candidate=candidate,
        reason=_reason(candidate, done, shown),
        prompt=prompt,
        max_output_tokens=limit,
        caller=job.caller,
        seam=Seam(shown) if shown else None,
        starts_at=len(shown),
    )


def _reason(candidate: Candidate, done: Sequence[Attempt], shown: str) -> str:
    if not done:
        return candidate.reason
    failed = done[-1]
    name = failed.model.label
    if shown:
        return f"goes on where {name} broke off"
    code = failed.error.code if failed.error else ""
    happened = _HAPPENED.get(code, "failed")
    return f"{candidate.reason}, after {name} {happened}"


def reserve(attempt: Attempt, job: Job, planning: Planning) -> None:
    """Write a reservation alone; raises ``BudgetExceeded``."""
    entries.reserve(bookings.reservation_of(attempt, job, planning.stand_in_prices))


def decide_and_reserve(
    attempt: Attempt, job: Job, planning: Planning, plan: RoutePlan
) -> RouteDecision | None:
    """Write the first reservation with the decision; raises ``BudgetExceeded``.

    Calls of nobody, such as the installation's own tests, have no decision.
    """
    if job.caller.user_id is None:
        reserve(attempt, job, planning)
        return None
    reservation = bookings.reservation_of(attempt, job, planning.stand_in_prices)
    turn_id = job.caller.turn_id
    try:
        return _write_both(attempt, job, planning, plan, reservation, turn_id)
    except IntegrityError:
        if turn_id is None:
            raise
        # A turn has one decision; its further calls have rows without its id.
        return _write_both(attempt, job, planning, plan, reservation, None)


def _write_both(
    attempt: Attempt,
    job: Job,
    planning: Planning,
    plan: RoutePlan,
    reservation: Reservation,
    turn_id: uuid.UUID | None,
) -> RouteDecision:
    with transaction.atomic():
        decision = decisions.begin(
            job.user,
            planning.decision_for(attempt.prompt),
            plan,
            job.request,
            turn_id=turn_id,
            thread_id=job.thread_id,
            redo_of=job.redo_of,
            undecided=planning.undecided,
        )
        entries.reserve(reservation)
    return decision
