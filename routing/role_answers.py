"""What would answer for each role, and the drill: what if these hosts were down?

Everything is decided by ``router.route``, which knows nothing of a host that is down:
a real request asks the models of its plan in order, and none besides. So the drill
strikes those on the hosts out of the plan. Nothing is called and nothing is changed.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from ledger.money import format_usd
from routing.catalogue import Catalogue, ModelInfo
from routing.errors import RoutingError
from routing.router import RouteRequest, route

TYPICAL_MESSAGE = "1,000 tokens in and 500 out"
"""What ``typical_cost_nano_usd`` is the price of."""
ALL_DOWN = "The chain is empty: every host in it is down."
"""Why nobody answers where somebody is set up."""
WITHOUT = {
    "chat": "each message ends with an error",
    "orchestrator": "it is off",
    "distill": "it is off",
    "coder": "it is off",
    "research": "it is off",
    "classify": "plain rules decide",
}
"""What holds for a role that nobody answers for."""


@dataclass(frozen=True, slots=True)
class RoleAnswer:
    """What answers for one role, first to last."""

    role: str
    models: tuple[ModelInfo, ...]
    """Empty when nobody answers."""
    reason: str
    """Why the first one, or why nobody."""
    error_code: str = ""
    """``no_model`` and so on when nobody answers."""

    @property
    def first(self) -> ModelInfo | None:
        """The model that would be asked."""
        return self.models[0] if self.models else None

    @property
    def fallbacks(self) -> tuple[ModelInfo, ...]:
        """The models that would be asked next."""
        return self.models[1:]


@dataclass(frozen=True, slots=True)
class DrillRow:
    """One role before and while hosts are down."""

    role: str
    before: RoleAnswer
    after: RoleAnswer

    @property
    def changes(self) -> bool:
        """Whether another model would be asked, or nobody."""
        return self.before.first != self.after.first


def price_of(model: ModelInfo) -> str:
    """Return in words what a typical message costs with a model."""
    if model.host.billing == "local":
        return "free"
    cost = format_usd(model.typical_cost_nano_usd)
    if cost is None:
        return "price unknown"
    by_subscription = model.host.billing == "notional"
    return f"{cost} USD{' by subscription' if by_subscription else ''}"


def answer_for(
    role: str, catalogue: Catalogue, down: Collection[int | None] = ()
) -> RoleAnswer:
    """Return what would answer for a role while the hosts ``down`` do not."""
    try:
        plan = route(RouteRequest(role), catalogue)
    except RoutingError as error:
        return RoleAnswer(role, (), str(error), error.info.code)
    left = [each for each in plan.candidates if each.model.host.id not in down]
    if not left:
        return RoleAnswer(role, (), ALL_DOWN, "no_model")
    return RoleAnswer(role, tuple(each.model for each in left), left[0].reason)


def drill(
    catalogue: Catalogue, down: Collection[int | None], roles: Sequence[str]
) -> tuple[DrillRow, ...]:
    """Return for each role what would answer if the hosts ``down`` did not."""
    return tuple(
        DrillRow(role, answer_for(role, catalogue), answer_for(role, catalogue, down))
        for role in roles
    )
