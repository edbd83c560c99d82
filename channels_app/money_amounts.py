"""How sums and one's own budgets are written, on pages, in mails and in answers.

Unknown is never written as zero, and what a subscription covers is never written as
paid: it stands beside the amount.
"""

from __future__ import annotations

from dataclasses import dataclass

from ledger.allowances import Standing
from ledger.budget_words import name_of
from ledger.money import write_amount
from ledger.statistics import Totals


@dataclass(frozen=True, slots=True)
class Figure:
    """A sum with its name and its amount as it is written on the page."""

    name: str
    sums: Totals
    largest_nano_usd: int = 0
    """The largest cost beside which this one stands; 0 = there is nothing to draw."""
    all_nano_usd: int = 0
    """The cost of which this one is a part."""

    @property
    def amount(self) -> str:
        """What was paid in dollars, as far as it is known, or ``unknown``."""
        return write_amount(None if self.sums.is_unknown else self._paid)

    @property
    def by_subscription(self) -> str:
        """What a subscription covered, at list prices; empty = nothing."""
        covered = self.sums.notional_nano_usd
        return write_amount(covered) if covered else ""

    @property
    def unknown_beside(self) -> int:
        """How many calls of unknown cost come on top of the amount."""
        return 0 if self.sums.is_unknown else self.sums.unknown_cost_calls

    @property
    def bar(self) -> int:
        """The length of this sum's bar, where the largest one has 1000."""
        if self.largest_nano_usd <= 0:
            return 0
        return max(0, 1000 * self.sums.cost_nano_usd // self.largest_nano_usd)

    @property
    def share(self) -> str:
        """The share of the whole: ``42 %``, ``< 1 %``; empty without a known cost."""
        if self.all_nano_usd <= 0 or self.sums.cost_nano_usd <= 0:
            return ""
        percent = round(100 * self.sums.cost_nano_usd / self.all_nano_usd)
        return f"{percent} %" if percent else "< 1 %"

    @property
    def _paid(self) -> int:
        return self.sums.cost_nano_usd - self.sums.notional_nano_usd


@dataclass(frozen=True, slots=True)
class Own:
    """One budget of whoever looks, in its present period."""

    standing: Standing

    @property
    def name(self) -> str:
        """What it is called: ``Your budget for today``."""
        return self.short_name[0].upper() + self.short_name[1:]

    @property
    def left(self) -> int:
        """What may still be spent, in nano-dollars."""
        return max(0, self.standing.left)

    @property
    def short_name(self) -> str:
        """The same in a sentence: ``your budget for today``."""
        return name_of(self.standing.budget, own=True)

    @property
    def percent_left(self) -> int:
        """The part that is left."""
        return round(100 * self.standing.fraction_left)


def figures_of(groups: dict[str, Totals]) -> list[Figure]:
    """Return the sums of each name with their shares, the most expensive first."""
    costs = [sums.cost_nano_usd for sums in groups.values()]
    largest, whole = max(costs, default=0), sum(costs)
    figures = [Figure(name, sums, largest, whole) for name, sums in groups.items()]
    return sorted(figures, key=lambda each: (-each.sums.cost_nano_usd, each.name))
