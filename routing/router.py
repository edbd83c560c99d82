"""Which models to try for a request, in which order, and why. Pure: no database.

Without a tier the role's chain decides: the person's own, the shared one, the setting
``CORTEX_ROLE_<NAME>``, then the built-in model, which stands in for ``chat`` only and
is never added behind anything configured. With a tier the cheapest model that is
capable enough comes first and the others follow as fallbacks. An explicit model is
strict: it alone, or an error.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from routing.backends.base import (
    BackendError,
    BadRequest,
    ContextTooLong,
    Refused,
)
from routing.catalogue import BUILTIN, Catalogue, ModelInfo
from routing.errors import RoutingError

Tier = int | Literal["auto"] | None
AskedBy = Literal["explicit", "policy", "rules", "classifier", "sticky", "default"]
"""Who decided the tier: the person for this message, the persona or conversation, or
one of the steps of ``routing.tiers``."""


@dataclass(frozen=True, slots=True)
class RouteRequest:
    """What is asked for; ``None`` leaves the choice to Cortex."""

    role: str = "chat"
    model: str | None = None
    tier: Tier = None
    private: bool = False
    """Only hosts marked local may see the text."""
    input_tokens: int = 0
    """Size of the prompt; 0 when it adapts to the model."""
    needs: frozenset[str] = frozenset()
    """Abilities that the model must have: ``tools``, ``images``."""
    asked_by: AskedBy = "explicit"
    """Who decided the tier."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One model to try, with the reason for its place."""

    model: ModelInfo
    reason: str


@dataclass(frozen=True, slots=True)
class RoutePlan:
    """The models to try, best first; never empty."""

    candidates: tuple[Candidate, ...]
    tier: int
    """The tier that was decided; that of the first candidate if none was asked for."""
    reason: str


def route(request: RouteRequest, catalogue: Catalogue) -> RoutePlan:
    """Return the plan for a request.

    Raises:
        RoutingError: ``no_model`` – nothing is set up, or the model is unknown;
            ``private_only`` – something is, but text may not be sent there;
            ``bad_request`` – the tier is none.
    """
    if request.model:
        candidates = [_explicit(request.model, catalogue)]
        tier = None
    elif request.tier is not None:
        tier = _tier_of(request.tier, catalogue)
        candidates = _by_tier(request, tier, catalogue)
    else:
        tier = None
        candidates = _by_role(request.role, catalogue)
    if not candidates:
        raise RoutingError(
            "no_model", f"No model is set up for the role “{request.role}”."
        )
    if request.private:
        candidates = _in_the_house(candidates)
    candidates = _large_enough(candidates, request.input_tokens)
    first = candidates[0]
    return RoutePlan(tuple(candidates), tier or first.model.tier, first.reason)


def after_failure(
    error: BackendError, failed: ModelInfo, rest: Sequence[Candidate]
) -> tuple[Candidate, ...]:
    """Return which of the remaining candidates may be tried after a failure.

    Only for failures before any text was shown. A wrong request would be wrong
    everywhere and a refusal is an answer, so both stop here; a prompt that was too
    long goes to larger models only; everything else goes to the next.
    """
    if isinstance(error, (BadRequest, Refused)):
        return ()
    if isinstance(error, ContextTooLong):
        return tuple(
            candidate
            for candidate in rest
            if candidate.model.input_tokens > failed.input_tokens
        )
    return tuple(rest)


def _explicit(name: str, catalogue: Catalogue) -> Candidate:
    model = catalogue.find(name)
    if model is None:
        raise RoutingError("no_model", f"There is no model “{name[:100]}” for you.")
    return Candidate(model, "chosen by name")


def _tier_of(tier: int | str, catalogue: Catalogue) -> int:
    if tier == "auto":
        return catalogue.default_tier
    if isinstance(tier, int) and 1 <= tier <= 3:
        return tier
    raise RoutingError("bad_request", "The tier must be auto, 1, 2 or 3.")


def _by_tier(request: RouteRequest, tier: int, catalogue: Catalogue) -> list[Candidate]:
    models = catalogue.models
    if request.private:
        models = tuple(m for m in models if m.host.is_local) or models
    capable = sorted((m for m in models if m.tier >= tier), key=_price_order)
    if capable:
        asked = "by default" if request.tier == "auto" else "as asked"
        reason = f"cheapest of tier {tier} or above ({asked})"
        behind = f"next of tier {tier} or above"
        first, *others = capable
        return [Candidate(first, reason), *(Candidate(m, behind) for m in others)]
    weaker = sorted(models, key=lambda m: (-m.tier, *_price_order(m)))
    if weaker:
        reason = f"most capable one, as none has tier {tier}"
        return [Candidate(model, reason) for model in weaker]
    return _by_role(request.role, catalogue)


def _price_order(model: ModelInfo) -> tuple[bool, int, int, str]:
    """Order by price, unknown prices last, then by tier and label."""
    cost = model.typical_cost_nano_usd
    return (cost is None, cost or 0, model.tier, model.label)


def _by_role(role: str, catalogue: Catalogue) -> list[Candidate]:
    for chain, whose in (
        (catalogue.own_chains.get(role), "your"),
        (catalogue.shared_chains.get(role), "the shared"),
    ):
        if chain:
            return [
                Candidate(model, f"{whose} chain for {role}, place {place}")
                for place, model in enumerate(chain, start=1)
            ]
    label = catalogue.role_settings.get(role)
    if label:
        model = catalogue.find(label)
        if model is None:
            raise RoutingError(
                "no_model",
                f"The model “{label}” of the setting for the role “{role}” "
                "does not exist.",
            )
        return [Candidate(model, f"the setting for the role {role}")]
    return [Candidate(BUILTIN, "nothing else is set up")] if role == "chat" else []


def _in_the_house(candidates: list[Candidate]) -> list[Candidate]:
    local = [candidate for candidate in candidates if candidate.model.host.is_local]
    if not local:
        raise RoutingError(
            "private_only",
            "This conversation is private, and no model in the house is set up for it.",
        )
    return local


def _large_enough(candidates: list[Candidate], input_tokens: int) -> list[Candidate]:
    """Leave out models that the prompt does not fit, unless it fits none."""
    return [
        candidate
        for candidate in candidates
        if candidate.model.input_tokens >= input_tokens
    ] or candidates
