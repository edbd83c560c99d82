"""What one request may cost at most: room for the answer, or no call at all.

Pure. A cap holds for all attempts of a request together. What is left of it after the
prompt bounds how long the answer may become; a model with too little room for an
answer is passed over like one that a budget refuses, so that a cheaper one is asked.
Models in the house and those that a subscription pays for are not bounded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from ledger.errors import BudgetExceeded
from ledger.money import format_usd, reserved_for
from ledger.types import Prices
from routing.attempt import Attempt, prompt_tokens

LEAST_OUTPUT_TOKENS: Final = 200
"""An answer with less room than this is not worth its prompt."""
_PER_PRICE: Final = 1_000_000


def bound(
    attempt: Attempt,
    cap_nano_usd: int | None,
    done: Sequence[Attempt],
    stand_in_prices: Callable[[], Prices | None],
) -> None:
    """Shorten what an attempt may write to what its request may still cost.

    Args:
        attempt: Not yet reserved; its ``max_output_tokens`` is lowered.
        cap_nano_usd: For all attempts of the request; ``None`` = no cap.
        done: The attempts before it.
        stand_in_prices: Gives the dearest prices known, where the model has none.

    Raises:
        BudgetExceeded: Too little is left for an answer by this model, or nobody knows
            what it costs.
    """
    model = attempt.model
    if cap_nano_usd is None or model.host.billing != "metered":
        return
    prices = model.prices
    if prices.input is None or prices.output is None:
        prices = stand_in_prices() or prices
    least = min(LEAST_OUTPUT_TOKENS, attempt.max_output_tokens)
    tokens = prompt_tokens(attempt.prompt)
    needed = reserved_for(prices, tokens, least)
    spent = _spent(done)
    cap = f"This may cost at most ${format_usd(cap_nano_usd)}"
    if needed is None or spent is None:
        raise BudgetExceeded(f"{cap}, and what “{model.label}” costs is not known.")
    if spent + needed > cap_nano_usd:
        raise BudgetExceeded(
            f"{cap}, and “{model.label}” would cost at least "
            f"${format_usd(spent + needed)}."
        )
    if prices.output:
        left = cap_nano_usd - spent - (reserved_for(prices, tokens, 0) or 0)
        fits = left * _PER_PRICE // prices.output
        attempt.max_output_tokens = min(attempt.max_output_tokens, fits)


def _spent(done: Sequence[Attempt]) -> int | None:
    """Return what earlier attempts cost; ``None`` where one is unknown."""
    total = 0
    for attempt in done:
        if attempt.model.host.billing != "metered":
            continue
        if attempt.cost is None or attempt.cost.cost_nano_usd is None:
            return None
        total += attempt.cost.cost_nano_usd
    return total
