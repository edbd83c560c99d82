"""What a model must pass to become a candidate: the sieves of the router. Pure.

Each sieve takes candidates and returns those that stay, in order. It notes what it
left out and why, and what the person should be told.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from routing.catalogue import ABILITIES, ModelInfo
from routing.errors import RoutingError
from routing.events import Notice
from routing.health import WHY_IT_RESTS, Health, Rest

HALF, TENTH = 0.5, 0.1
"""Shares of a budget: below the first the top tier answers only on request, below the
second only the cheapest model does."""
TOP_TIER: Final = 3
MOST_EXPLAINED: Final = 40
"""For so many models it is noted why they were left out."""
MOST_NAMED: Final = 3
"""So many models are named in a sentence."""
_HALF_TEXT = (
    "Less than half of your budget is left, so the top tier answers only on request."
)
_TENTH_TEXT = (
    "Less than a tenth of your budget is left, so only the cheapest model is asked."
)
_NOTHING_TEXT = "Your budget is used up, so only models in the house are asked."
_NOTHING_ELSE_TEXT = (
    "Your budget is used up and nothing is in the house, so only the cheapest model is "
    "asked."
)


class BudgetLeft(Protocol):
    """What is left of the person's tightest budget, see ``ledger.budgets``."""

    @property
    def fraction(self) -> float:
        """Between 0 and 1."""

    @property
    def left_nano_usd(self) -> int:
        """What may still be spent."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One model to try, with the reason for its place."""

    model: ModelInfo
    reason: str


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A model that cannot be used this time, or a plain id, and why."""

    label: str
    why: str


@dataclass(slots=True)
class Sieve:
    """The conditions of one request, and what they did."""

    private: bool
    needs: frozenset[str]
    budget_left: BudgetLeft | None
    health: Health
    left_out: list[LeftOut] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)

    def permitted(self, candidates: list[Candidate]) -> list[Candidate]:
        """Keep what has the abilities, and in private only what is in the house.

        Raises:
            RoutingError: Nothing is left.
        """
        able = candidates
        if self.needs:
            able = [each for each in candidates if self.needs <= each.model.abilities]
        if not able:
            things = " and ".join(
                ABILITIES.get(need, need).lower() for need in sorted(self.needs)
            )
            others = _names(candidates)
            raise RoutingError(
                "no_model", f"No model is set up that {things}; {others} cannot."
            )
        if len(able) < len(candidates):
            self.leave_out(candidates, able, "lacks an ability that is needed")
        if not self.private:
            return able
        local = [each for each in able if each.model.host.is_local]
        if not local:
            raise RoutingError(
                "private_only",
                "This conversation is private, and no model in the house is set up "
                "for it.",
            )
        if len(local) < len(able):
            self.leave_out(able, local, "is not in the house, and this is private")
        return local

    def affordable(
        self, candidates: list[Candidate], *, asked: bool, tier: int | None = None
    ) -> list[Candidate]:
        """Keep what the budget suggests; never nothing.

        Only the ledger refuses a call: where a person has nothing in the house, the
        rest stays and the reservation decides. That the top tier is left out is told
        only where it would have come first: by price from ``tier`` on, without it in
        the order given.
        """
        left = self.budget_left
        if left is None or left.fraction >= HALF:
            return candidates
        if left.fraction <= 0 or left.left_nano_usd <= 0:
            local = [each for each in candidates if each.model.host.is_local]
            return self._told(candidates, local, _NOTHING_TEXT)
        if asked or left.fraction < TENTH:
            return candidates
        below = [each for each in candidates if each.model.tier < TOP_TIER]
        able = candidates
        if tier is not None:
            able = by_price(each for each in able if each.model.tier >= tier)
        changes = bool(able) and able[0].model.tier >= TOP_TIER
        return self._told(candidates, below, _HALF_TEXT, aloud=changes)

    def cheapest_only(self, candidates: list[Candidate]) -> list[Candidate]:
        """Keep only the cheapest when little is left of the budget."""
        left = self.budget_left
        if left is None or left.fraction >= TENTH or len(candidates) < 2:
            return candidates
        price = min(_price_order(each.model)[:2] for each in candidates)
        kept = [each for each in candidates if _price_order(each.model)[:2] == price]
        if left.fraction > 0:
            return self._told(candidates, kept, _TENTH_TEXT)
        if all(each.model.host.is_local for each in kept):
            return candidates
        return self._told(candidates, kept, _NOTHING_ELSE_TEXT)

    def healthy_first(self, candidates: list[Candidate]) -> list[Candidate]:
        """Put models whose host rests behind the others, in the same order."""
        if not self.health.resting or len(candidates) < 2:
            return candidates
        well: list[Candidate] = []
        resting: list[tuple[Candidate, Rest]] = []
        for each in candidates:
            rest = self.health.rest_of(each.model)
            if rest is None:
                well.append(each)
            else:
                resting.append((each, rest))
        if not resting or not well:
            return candidates
        self.left_out += [
            LeftOut(each.model.label, f"comes last: its host {WHY_IT_RESTS[rest]}")
            for each, rest in resting[: max(0, MOST_EXPLAINED - len(self.left_out))]
        ]
        return well + [each for each, _ in resting]

    def leave_out(
        self, before: Sequence[Candidate], kept: Sequence[Candidate], why: str
    ) -> None:
        """Note for everything that is not kept why."""
        models = {id(each.model) for each in kept}
        for each in before:
            if len(self.left_out) >= MOST_EXPLAINED:
                return
            if id(each.model) not in models:
                self.left_out.append(LeftOut(each.model.label, why))

    def tell(self, text: str) -> None:
        """Add a notice about the budget, once."""
        notice = Notice("budget", text)
        if notice not in self.notices:
            self.notices.append(notice)

    def _told(
        self,
        before: list[Candidate],
        kept: list[Candidate],
        text: str,
        *,
        aloud: bool = True,
    ) -> list[Candidate]:
        if not kept or len(kept) == len(before):
            return before
        self.leave_out(before, kept, text[0].lower() + text[1:].rstrip("."))
        if aloud:
            self.tell(text)
        return kept


def lowered(tier: int, sieve: Sieve) -> int:
    """Return the tier that the budget allows where nobody asked for a higher one."""
    left = sieve.budget_left
    if left is None or left.fraction >= HALF:
        return tier
    if left.fraction < TENTH:
        return 1
    if tier == TOP_TIER:
        sieve.tell(_HALF_TEXT)
        return TOP_TIER - 1
    return tier


def by_price(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Return candidates in order of price, unknown ones last, then tier and label."""
    return sorted(candidates, key=lambda each: _price_order(each.model))


def _names(candidates: Sequence[Candidate]) -> str:
    """Return the first labels, for a sentence."""
    labels = [each.model.label for each in candidates[:MOST_NAMED]]
    more = len(candidates) - len(labels)
    return ", ".join([*labels, f"{more} more"] if more else labels)


def _price_order(model: ModelInfo) -> tuple[bool, int, int, str]:
    cost = model.typical_cost_nano_usd
    return (cost is None, cost or 0, model.tier, model.label)
