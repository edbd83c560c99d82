"""Who decides how capable a model must be, and what came of it. Pure.

In this order:

1. *explicit*: the person named a tier for this message, or a model;
2. *policy*: the persona or the conversation has a tier or a model;
3. *rules* that are sure of more than the tier of the conversation so far;
4. *sticky*: the tier of the conversation, for 5 minutes after it was judged, so that
   follow-ups neither bounce between models nor pay the classifier again. It can be
   raised (step 3) but is not lowered meanwhile. Greetings and thanks never set it, and
   a default that stands for an undecided classifier holds for 30 s only;
5. *rules* without a tier so far;
6. *classifier*: the role ``classify`` is asked where the rules are undecided;
7. *default*.

Rules and classifier can be switched off separately, by the installation and by each
person.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from routing.router import SET_BEFORE, AskedBy, RouteRequest
from routing.rules import Features, Judgement, judge, kind_of

STICKY_FOR: Final = timedelta(minutes=5)
STICKY_DEFAULT_FOR: Final = timedelta(seconds=30)
SURE: Final = 0.75
"""Confidence from which the rules may raise the tier of a conversation."""
LEAST_CONFIDENCE: Final = 0.5
"""Below it the classifier's tier counts only if it is above the default."""
NEVER_STICKS: Final = frozenset({"greeting"})


@dataclass(frozen=True, slots=True)
class Switches:
    """Which steps may judge."""

    rules: bool = True
    classifier: bool = True


@dataclass(frozen=True, slots=True)
class TierDecision:
    """A tier, who decided it, and why."""

    tier: int | None
    """``None`` = nobody judged; that of the first candidate counts."""
    decided_by: AskedBy
    reason: str
    """Empty where nobody judged: then the plan's own reason counts."""
    confidence: float | None = None
    features: Features = field(default_factory=Features)

    @property
    def kind(self) -> str:
        """Return the class of the request."""
        return kind_of(self.features)


def given(request: RouteRequest, features: Features) -> TierDecision:
    """Return the decision where nobody has to judge; the plan says why a chain's."""
    tier = request.tier if isinstance(request.tier, int) else None
    if request.model or tier is not None:
        by: AskedBy = "policy" if request.asked_by == "policy" else "explicit"
        asked = "chosen by name" if request.model else "as asked"
        reason = SET_BEFORE if by == "policy" else asked
        if request.model:
            tier = None
        return TierDecision(tier, by, reason, features=features)
    return TierDecision(None, "default", "", features=features)


def by_rules(
    features: Features, switches: Switches, sticky: int | None
) -> TierDecision | None:
    """Return what costs nothing to decide; ``None`` = somebody must be asked."""
    judgement = judge(features) if switches.rules else None
    if sticky is not None:
        raised = judgement is not None and judgement.confidence >= SURE
        if judgement is None or not raised or judgement.tier <= sticky:
            reason = "as a moment ago in this conversation"
            return TierDecision(sticky, "sticky", reason, features=features)
    if judgement is None:
        return None
    return TierDecision(
        judgement.tier, "rules", judgement.reason, judgement.confidence, features
    )


def by_classifier(
    judgement: Judgement | None, failure: str, features: Features, default_tier: int
) -> TierDecision:
    """Return what the classifier said, or the default with the reason for it."""
    if judgement is None:
        return by_default(failure, features, default_tier)
    tier = judgement.tier
    if judgement.confidence < LEAST_CONFIDENCE:
        tier = max(tier, default_tier)
    return TierDecision(
        tier, "classifier", judgement.reason, judgement.confidence, features
    )


def by_default(why: str, features: Features, default_tier: int) -> TierDecision:
    """Return the default tier."""
    reason = f"by default: {why}" if why else "by default"
    return TierDecision(default_tier, "default", reason, features=features)
