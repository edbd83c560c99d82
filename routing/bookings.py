"""What one attempt leaves in the ledger: its reservation and its closing row.

Synchronous, for the database pool. Every attempt has one ``reserve`` row before its
network call and exactly one closing row:

* ``release`` (no tokens, no cost) when the host refused or could not be reached
  before it began to work: no connection, HTTP errors;
* ``settle`` in all other cases: complete, incomplete, interrupted by the person, and
  failed after the host had been sent the call and may have worked.

Where the host sent no usable count, tokens are estimated from the texts and marked.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

from django.db import Error, connection

from ledger import entries
from ledger.errors import LedgerError
from ledger.types import Cost, Prices, Reservation, Settlement
from routing.attempt import Attempt, milliseconds, prompt_tokens
from routing.backends.base import BackendError, Usage
from routing.catalogue import PROGRAM_TYPES
from routing.planning import Job, last_message

logger = logging.getLogger(__name__)

PREVIEW_CHARACTERS: Final = 80
SETTLE_PAUSES_S: Final = (0.0, 0.1, 0.4)
"""How long to wait before each try to write a closing row."""


def reservation_of(
    attempt: Attempt, job: Job, stand_in_prices: Callable[[], Prices | None]
) -> Reservation:
    """Return the row that must stand before an attempt leaves the house.

    ``stand_in_prices`` gives the dearest prices known, where the model has none.
    """
    model = attempt.model
    unpriced = model.prices.input is None or model.prices.output is None
    preview = last_message(attempt.prompt) if job.preview and not attempt.seam else ""
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
        billing=model.host.billing,
        preview=preview[:PREVIEW_CHARACTERS] or None,
        background=job.background,
        stand_in_prices=stand_in_prices() if unpriced else None,
    )


def settle(attempt: Attempt) -> None:
    """Write the closing row, again if need be; never raises for want of a database.

    After that the reservation stays open for the worker's tick. The cost counts as
    unknown then, and also when the row proves to be written already: by the tick, or by
    a try whose confirmation was lost.
    """
    attempt.elapsed_ms = milliseconds(attempt.started_s, time.monotonic())
    for pause_s in SETTLE_PAUSES_S:
        if pause_s:
            time.sleep(pause_s)  # even 0 would hand the interpreter to others
        try:
            _book(attempt)
        except LedgerError as error:
            logger.warning("attempt %s: %s", attempt.id, error)
        except Error as error:
            logger.warning("attempt %s: no closing row: %s", attempt.id, error)
            connection.close_if_unusable_or_obsolete()
            continue
        return
    logger.error("attempt %s was not settled", attempt.id)


def _cost_nothing(attempt: Attempt, error: BackendError) -> bool:
    """Say whether an attempt failed before its host began to work.

    An API's call is open when the host has agreed to answer; a program's is before it
    has asked its host anything, so that only what it brought and its error can tell.
    """
    if error.worked or attempt.first_token_s is not None or attempt.answered:
        return False
    is_program = attempt.model.host.type in PROGRAM_TYPES
    return not attempt.opened or (is_program and attempt.usage is None)


def _book(attempt: Attempt) -> None:
    error = attempt.error
    elapsed_ms = attempt.elapsed_ms or 0
    if error is not None and _cost_nothing(attempt, error):
        entries.release(attempt.id, error.code, elapsed_ms=elapsed_ms)
        attempt.booked, attempt.cost = Usage(0, 0), Cost(0, estimated=False)
        return
    usage = attempt.booked = attempt.measured()
    attempt.cost = entries.settle(
        attempt.id,
        Settlement(
            outcome=attempt.outcome,
            elapsed_ms=elapsed_ms,
            first_token_ms=attempt.first_token_ms,
            error_code=error.code if error else "",
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            cache_read_tokens=usage.cache_read_tokens,
            cache_write_tokens=usage.cache_write_tokens,
            estimated=usage.estimated,
        ),
    )
