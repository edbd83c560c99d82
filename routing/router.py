"""Which models to try for a request, in which order, and why. Pure: no database.

Where the candidates come from:

* an explicit model is strict: it alone, or an error;
* with a tier, all enabled models: the cheapest that is capable enough first, dearer
  ones behind it as fallbacks, weaker ones only where nothing else is left;
* without a tier, the role's chain: the person's own, the shared one, the setting
  ``CORTEX_ROLE_<NAME>``. For ``chat`` without any chain the choice is automatic, and
  the built-in model answers where nothing usable is set up; it is never added behind
  anything configured.

A plain id (``claude_cli``) means its type's model of the tier that was judged.

What they pass, in this order: abilities, privacy, budget, context size, health. What is
left out is kept with its reason; what the person should know becomes a notice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from routing.candidates import (
    BudgetLeft,
    Candidate,
    LeftOut,
    Sieve,
    by_price,
    lowered,
)
from routing.catalogue import (
    BUILTIN_LABEL,
    PLAIN_IDS,
    Catalogue,
    not_set_up,
)
from routing.chains import chain, first_chain, hard_coded
from routing.errors import RoutingError
from routing.events import Notice
from routing.health import HEALTHY, Health

__all__ = [
    "AskedBy",
    "BudgetLeft",
    "Candidate",
    "RoutePlan",
    "RouteRequest",
    "Tier",
    "needs_judgement",
    "route",
    "stand_ins_in_the_house",
]

SET_BEFORE: Final = "set for this conversation"
"""Why it is that model or tier, where nobody asked for it with the message."""
MOST_CANDIDATES: Final = 20
"""So many of a large registry are worth trying for one request."""
Tier = int | Literal["auto"] | None
AskedBy = Literal["explicit", "policy", "rules", "classifier", "sticky", "default"]
"""Who decided the model or the tier: the person for this message, the persona or
conversation, or one of the steps of ``routing.tiers``."""


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
    judged: int | None = None
    """The tier that was judged where ``needs_judgement`` says so; ``None`` = the
    default tier."""
    why: str = ""
    """Why that tier, for the reason of the choice."""


@dataclass(frozen=True, slots=True)
class RoutePlan:
    """The models to try, best first; never empty."""

    candidates: tuple[Candidate, ...]
    tier: int
    """The tier that was decided; that of the first candidate if none was."""
    reason: str
    notices: tuple[Notice, ...] = ()
    """What the person should know about the choice."""
    left_out: tuple[LeftOut, ...] = ()
    """What was considered and cannot be used, with the reason."""


def route(
    request: RouteRequest,
    catalogue: Catalogue,
    budget_left: BudgetLeft | None = None,
    health: Health = HEALTHY,
) -> RoutePlan:
    """Return the plan for a request.

    Args:
        request: With the tier judged, where ``needs_judgement`` says so.
        catalogue: What the person may call.
        budget_left: ``None`` = no limit.
        health: The hosts that rest; their models come last.

    Raises:
        RoutingError: ``no_model`` – nothing is set up, nothing has the abilities, or
            the model is unknown; ``private_only`` – something is, but text may not be
            sent there; ``bad_request`` – the tier is none.
    """
    tier = _tier_of(request, catalogue)
    sieve = Sieve(request.private, request.needs, budget_left, health)
    if request.model:
        only = _explicit(request, request.model, tier, catalogue)
        return _plan(sieve.permitted([only]), None, sieve)
    if request.tier is None:
        listed = chain(request.role, tier, catalogue, sieve)
        if listed:
            usable = sieve.affordable(sieve.permitted(listed), asked=False)
            usable = sieve.cheapest_only(_large_enough(usable, request, sieve))
            return _plan(sieve.healthy_first(usable), None, sieve)
        if not _chooses(request, catalogue):
            return _plan(sieve.permitted(hard_coded(request.role, sieve)), None, sieve)
    elif not _usable(request, catalogue):
        candidates = chain(request.role, tier, catalogue, sieve)
        candidates = candidates or hard_coded(request.role, sieve)
        return _plan(sieve.permitted(candidates), tier, sieve)
    return _by_tier(request, tier, catalogue, sieve)


def needs_judgement(request: RouteRequest, catalogue: Catalogue) -> bool:
    """Say whether somebody must judge which tier the request needs.

    Not for a tier that was asked for, nor for a chain that names its models.
    """
    if request.model:
        return request.model in _TYPES and not isinstance(request.tier, int)
    if request.tier is not None:
        return request.tier == "auto" and bool(catalogue.models)
    entries = first_chain(request.role, catalogue)
    if entries:
        return any(entry in _TYPES for entry in entries if isinstance(entry, str))
    return _chooses(request, catalogue)


def stand_ins_in_the_house(
    request: RouteRequest, catalogue: Catalogue
) -> list[Candidate]:
    """Return the models that cost nothing, for a person whose budget is used up.

    The most capable first; none for an explicit model, which is strict, and none for
    roles other than ``chat``, whose chain says what is able to do their work.
    """
    if request.model or request.role != "chat":
        return []
    models = [
        model
        for model in catalogue.models
        if model.host.is_local and request.needs <= model.abilities
    ]
    models.sort(key=lambda model: (-model.tier, model.label))
    return [Candidate(model, "in the house, so it costs nothing") for model in models]


_TYPES = PLAIN_IDS.keys() - {BUILTIN_LABEL}
"""Plain ids that stand for models of several tiers."""


def _plan(candidates: list[Candidate], tier: int | None, sieve: Sieve) -> RoutePlan:
    first = candidates[0]
    return RoutePlan(
        tuple(candidates),
        tier or first.model.tier,
        first.reason,
        tuple(sieve.notices),
        tuple(sieve.left_out),
    )


def _tier_of(request: RouteRequest, catalogue: Catalogue) -> int:
    """Return the tier that counts: asked for, judged, or the default."""
    tier = request.tier
    if tier is None or tier == "auto":
        return request.judged or catalogue.default_tier
    if isinstance(tier, int) and 1 <= tier <= 3:
        return tier
    raise RoutingError("bad_request", "The tier must be auto, 1, 2 or 3.")


def _explicit(
    request: RouteRequest, name: str, tier: int, catalogue: Catalogue
) -> Candidate:
    model = catalogue.find(name, tier)
    if model is None and name in PLAIN_IDS:
        raise RoutingError("no_model", not_set_up(name))
    if model is None:
        raise RoutingError("no_model", f"There is no model “{name[:100]}” for you.")
    by_policy = request.asked_by == "policy"
    return Candidate(model, SET_BEFORE if by_policy else "chosen by name")


# --- tiers --------------------------------------------------------------------------


def _chooses(request: RouteRequest, catalogue: Catalogue) -> bool:
    """Say whether a chat without a chain has models to choose from."""
    return request.role == "chat" and _usable(request, catalogue)


def _usable(request: RouteRequest, catalogue: Catalogue) -> bool:
    return any(model.host.is_local or not request.private for model in catalogue.models)


def _by_tier(
    request: RouteRequest, tier: int, catalogue: Catalogue, sieve: Sieve
) -> RoutePlan:
    """Return the cheapest model that is capable enough, with dearer ones behind it."""
    # Also for the conversation or persona: somebody set it, nobody judged it.
    asked = isinstance(request.tier, int)
    models = sieve.permitted([Candidate(model, "") for model in catalogue.models])
    if not asked:
        tier = lowered(tier, sieve)
    models = sieve.affordable(models, asked=asked, tier=tier)
    capable = _large_enough(
        [each for each in models if each.model.tier >= tier], request, sieve
    )
    weaker: list[Candidate] = []
    if not capable or not _fits(capable[0], request):
        weaker = [each for each in models if each.model.tier < tier]
        weaker = [each for each in weaker if _fits(each, request)] or weaker
    if capable and not (weaker and _fits(weaker[0], request)):
        capable = by_price(capable)
        reason = f"cheapest of tier {tier} or above ({_asked(request)})"
        behind = f"next of tier {tier} or above"
    else:
        capable = sorted(by_price(weaker), key=lambda each: -each.model.tier)
        reason = behind = f"most capable one, as none has tier {tier}"
    chosen = sieve.healthy_first(sieve.cheapest_only(capable))[:MOST_CANDIDATES]
    first, *others = chosen
    return _plan(
        [
            Candidate(first.model, first.reason or reason),
            *(Candidate(each.model, each.reason or behind) for each in others),
        ],
        tier,
        sieve,
    )


def _asked(request: RouteRequest) -> str:
    if request.why:
        return request.why
    if request.asked_by == "policy":
        return f"as {SET_BEFORE}"
    return "as asked" if isinstance(request.tier, int) else "by default"


def _fits(candidate: Candidate, request: RouteRequest) -> bool:
    return candidate.model.input_tokens >= request.input_tokens


def _large_enough(
    candidates: list[Candidate], request: RouteRequest, sieve: Sieve
) -> list[Candidate]:
    """Leave out models that the prompt does not fit, unless it fits none."""
    large = [each for each in candidates if _fits(each, request)]
    if not large or len(large) == len(candidates):
        return candidates
    sieve.leave_out(candidates, large, "has no room for this text")
    return large
