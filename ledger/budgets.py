"""What a person may still spend: the check before a call, and a hint for the router.

A *hard* budget refuses what does not fit, a *soft* one warns and lets the router choose
cheap models. Background work counts towards the budgets for it as well. A call without
a known price is held against a budget at the dearest price known, or refused
(``CORTEX_UNKNOWN_PRICE``); without any budget it is let through.
"""

from __future__ import annotations

from dataclasses import dataclass

from django.conf import settings

from accounts.models import User
from ledger.allowances import Standing, standings_of
from ledger.budget_requests import grant
from ledger.budget_warnings import warnings_due
from ledger.budget_words import moment, name_of
from ledger.errors import BudgetExceeded
from ledger.money import format_usd, reserved_for
from ledger.person_periods import keep
from ledger.types import BudgetWarning, Prices, Reservation

__all__ = [
    "BudgetLeft",
    "BudgetWarning",
    "check",
    "estimate",
    "grant",
    "left_for",
    "warnings_due",
]

SOFT_FLOOR = 0.01
"""A soft budget never leaves less than this part, so that nothing is refused for it:
the router takes its cheapest models, not local ones alone."""


@dataclass(frozen=True, slots=True)
class BudgetLeft:
    """What is left, as the router needs it."""

    fraction: float
    """From 0 to 1, of the budget that is used up furthest."""
    left_nano_usd: int
    """The least that is left of any budget."""


def left_for(user: User, *, background: bool = False) -> BudgetLeft | None:
    """Return what is left for the person's calls; ``None`` = no limit.

    One cheap question to the database where nobody has a budget. A hint for the
    router; only ``entries.reserve`` decides. ``background`` = for background work.
    """
    found = [_usable(each) for each in standings_of(user, background=background)]
    if not found:
        return None
    return BudgetLeft(
        min(each.fraction for each in found), min(each.left_nano_usd for each in found)
    )


def _usable(standing: Standing) -> BudgetLeft:
    fraction, left = standing.fraction_left, max(0, standing.left)
    if not standing.budget.hard:
        fraction = max(fraction, SOFT_FLOOR)
        left = max(left, int(standing.allowed * SOFT_FLOOR), 1)
    return BudgetLeft(fraction, left)


def estimate(reservation: Reservation) -> int | None:
    """Return the most a call can cost, at stand-in prices where its own are unknown.

    ``None`` = there is nothing to go by, or such calls are refused by the settings.
    """
    prices, stand_in = reservation.prices, reservation.stand_in_prices
    if stand_in is not None and settings.CORTEX_UNKNOWN_PRICE == "dearest":
        prices = Prices(
            input=stand_in.input if prices.input is None else prices.input,
            output=stand_in.output if prices.output is None else prices.output,
        )
    return reserved_for(
        prices, reservation.estimated_input_tokens, reservation.max_output_tokens
    )


def check(reservation: Reservation, reserved_nano_usd: int | None) -> None:
    """Raise ``BudgetExceeded`` when the call does not fit into a hard budget.

    Call it inside the transaction that reserves, after ``chain.lock``; the amount is
    what ``estimate`` gave.
    """
    if reservation.billing == "local" or reserved_nano_usd == 0:
        return
    user_id = reservation.caller.user_id
    found = standings_of(None, user_id=user_id, background=reservation.background)
    for standing in found:
        if not standing.budget.hard or not standing.counts(reservation.billing):
            continue
        if reserved_nano_usd is None:
            raise BudgetExceeded(_no_price(reservation, standing))
        if reserved_nano_usd > standing.left:
            raise BudgetExceeded(_does_not_fit(standing, reserved_nano_usd))
    _keep_periods(found)


def _keep_periods(standings: list[Standing]) -> None:
    """Keep the periods in which the call counts against a change of time zone."""
    new = {
        (each.user_id, each.budget.period): each.span
        for each in standings
        if not each.span.is_kept
    }
    for (user_id, period), span in new.items():
        if user_id is not None:
            keep(user_id, period, span)


def _no_price(reservation: Reservation, standing: Standing) -> str:
    name = name_of(standing.budget, own=True)
    return (
        f"The price of “{reservation.model_id}” is not known, so the call cannot be "
        f"held against {name}. Choose another model, or ask an administrator to set "
        "its price."
    )


def _does_not_fit(standing: Standing, reserved_nano_usd: int) -> str:
    name = name_of(standing.budget, own=True)
    return (
        f"{name[0].upper()}{name[1:]} ({format_usd(standing.allowed)} USD) does not "
        f"cover this call: {format_usd(max(0, standing.left))} USD are left and it "
        f"may cost up to {format_usd(reserved_nano_usd)} USD. It starts anew on "
        f"{moment(standing.renews_at)}; until then you can ask for more under "
        "Money → Budgets."
    )
