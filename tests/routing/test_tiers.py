"""Who decides the tier: a table of what is known."""

from __future__ import annotations

import pytest

from routing.router import RouteRequest
from routing.rules import Judgement, features_of
from routing.tiers import Switches, by_classifier, by_rules, given

GREETING = features_of("Hi")
HARD = features_of("Prove the theorem and evaluate the strategy")
MILD = features_of("Why is it so that this holds")
UNCLEAR = features_of("I went to the market and it rained, so I went home again.")
ON, OFF = Switches(), Switches(rules=False)


@pytest.mark.parametrize(
    ("request_", "tier", "by"),
    [
        (RouteRequest(tier=2), 2, "explicit"),
        (RouteRequest(tier=2, asked_by="policy"), 2, "policy"),
        (RouteRequest(model="m"), None, "explicit"),
        (RouteRequest(model="m", asked_by="policy"), None, "policy"),
        (RouteRequest(), None, "default"),
    ],
)
def test_given(request_: RouteRequest, tier: int | None, by: str) -> None:
    decision = given(request_, HARD)
    assert (decision.tier, decision.decided_by, decision.kind) == (tier, by, "analysis")


@pytest.mark.parametrize(
    ("features", "switches", "sticky", "expected"),
    [
        (HARD, ON, None, (3, "rules")),
        (GREETING, ON, None, (1, "rules")),
        (UNCLEAR, ON, None, None),
        (UNCLEAR, ON, 2, (2, "sticky")),
        (GREETING, ON, 3, (3, "sticky")),  # follow-ups do not bounce
        (HARD, ON, 1, (3, "rules")),  # but what is surely harder goes up
        (MILD, ON, 1, (1, "sticky")),  # what is only perhaps harder does not
        (HARD, ON, 3, (3, "sticky")),
        (HARD, OFF, None, None),
        (HARD, OFF, 1, (1, "sticky")),
    ],
)
def test_rules_and_the_tier_so_far(
    features: object, switches: Switches, sticky: int | None, expected: object
) -> None:
    decision = by_rules(features, switches, sticky)  # type: ignore[arg-type]
    found = (decision.tier, decision.decided_by) if decision else None
    assert found == expected


@pytest.mark.parametrize(
    ("tier", "confidence", "default", "expected"),
    [(3, 0.9, 1, 3), (1, 0.9, 2, 1), (1, 0.3, 2, 2), (3, 0.3, 2, 3)],
)
def test_unsure_classifier_does_not_go_below_the_default(
    tier: int, confidence: float, default: int, expected: int
) -> None:
    judgement = Judgement(tier, confidence, "so it seems", "other")
    decision = by_classifier(judgement, "", UNCLEAR, default)
    assert (decision.tier, decision.decided_by) == (expected, "classifier")
    assert decision.confidence == confidence


def test_without_a_judgement_the_default_says_why() -> None:
    decision = by_classifier(None, "the classifier took too long", UNCLEAR, 2)
    assert (decision.tier, decision.decided_by) == (2, "default")
    assert decision.reason == "by default: the classifier took too long"
    assert decision.confidence is None
