"""Who is asked, in which order: tables of cases without a database."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ledger.budgets import BudgetLeft
from ledger.types import Prices
from routing.backends.base import (
    AuthenticationFailed,
    BackendError,
    BadRequest,
    ConnectionFailed,
    ContextTooLong,
    RateLimited,
    Refused,
    TimedOut,
    UnknownModel,
    UpstreamFailed,
)
from routing.catalogue import BUILTIN, Catalogue, ChainEntry, HostInfo, ModelInfo
from routing.errors import RoutingError
from routing.fallback import after_failure
from routing.health import Health, key_of
from routing.router import Candidate, RouteRequest, Tier, needs_judgement, route

HOUSE = HostInfo(1, "house", "local_openai", is_local=True)
CLOUD = HostInfo(2, "cloud", "local_openai")


def model(
    label: str,
    *,
    tier: int = 1,
    usd: float | None = 0,
    host: HostInfo = CLOUD,
    context: int = 8192,
) -> ModelInfo:
    """Return a model with a price in dollars per million tokens, both ways."""
    nano = None if usd is None else int(usd * 1e9)
    return ModelInfo(
        hash(label), label, label, host, context, 1024, tier, Prices(nano, nano)
    )


SMALL = model("small", host=HOUSE)
MIDDLE = model("middle", tier=2, usd=1)
LARGE = model("large", tier=3, usd=10)
UNPRICED = model("unpriced", tier=3, usd=None)
ALL = Catalogue(models=(LARGE, UNPRICED, MIDDLE, SMALL))


def labels(request: RouteRequest, catalogue: Catalogue = ALL) -> list[str]:
    """Return the labels of the plan's candidates."""
    return [c.model.label for c in route(request, catalogue).candidates]


@pytest.mark.parametrize(
    ("tier", "expected"),
    [
        ("auto", ["small", "middle", "large", "unpriced"]),
        (1, ["small", "middle", "large", "unpriced"]),
        (2, ["middle", "large", "unpriced"]),
        (3, ["large", "unpriced"]),
    ],
)
def test_tier_takes_the_cheapest_that_suffices(tier: Tier, expected: list[str]) -> None:
    assert labels(RouteRequest(tier=tier)) == expected


def test_auto_uses_the_default_tier() -> None:
    plan = route(RouteRequest(tier="auto"), replace(ALL, default_tier=2))
    assert (plan.tier, plan.candidates[0].model.label) == (2, "middle")


def test_tier_above_all_takes_the_most_capable() -> None:
    plan = route(RouteRequest(tier=3), Catalogue(models=(SMALL, MIDDLE)))
    assert [c.model.label for c in plan.candidates] == ["middle", "small"]
    assert "none has tier 3" in plan.reason


@pytest.mark.parametrize("tier", [0, 4, "high"])
def test_other_tiers_are_refused(tier: Tier) -> None:
    with pytest.raises(RoutingError) as caught:
        route(RouteRequest(tier=tier), ALL)
    assert caught.value.code == "bad_request"


def test_context_must_suffice() -> None:
    wide = model("wide", usd=5, context=100_000)
    catalogue = Catalogue(models=(SMALL, wide))
    assert labels(RouteRequest(tier=1, input_tokens=50_000), catalogue) == ["wide"]
    assert labels(RouteRequest(tier=1, input_tokens=500_000), catalogue) == [
        "small",
        "wide",
    ]


def test_steps_of_resolution() -> None:
    own, shared = {"chat": (MIDDLE, SMALL)}, {"chat": (LARGE,)}
    full = replace(
        ALL, own_chains=own, shared_chains=shared, role_settings={"chat": "unpriced"}
    )
    assert labels(RouteRequest(model="small"), full) == ["small"]
    assert labels(RouteRequest(), full) == ["middle", "small"]
    without_own = replace(full, own_chains={})
    assert labels(RouteRequest(), without_own) == ["large"]
    only_setting = replace(without_own, shared_chains={})
    assert labels(RouteRequest(), only_setting) == ["unpriced"]
    assert labels(RouteRequest(), ALL) == labels(RouteRequest(tier="auto"), ALL)
    assert labels(
        RouteRequest("coder"), Catalogue(role_settings={"coder": "builtin"})
    ) == ["builtin"]


@pytest.mark.parametrize(
    "role", ["orchestrator", "distill", "coder", "research", "classify", "own-role"]
)
def test_only_chat_falls_to_the_builtin_model(role: str) -> None:
    with pytest.raises(RoutingError) as caught:
        route(RouteRequest(role), Catalogue())
    assert caught.value.code == "no_model"
    assert role in str(caught.value)


@pytest.mark.parametrize("tier", [None, "auto", 1, 3])
def test_empty_catalogue_still_chats(tier: Tier) -> None:
    assert labels(RouteRequest(tier=tier), Catalogue()) == ["builtin"]


def test_setting_that_names_nothing_says_so() -> None:
    catalogue = replace(ALL, role_settings={"coder": "gone"})
    with pytest.raises(RoutingError, match="gone"):
        route(RouteRequest("coder"), catalogue)


def test_explicit_model_is_strict() -> None:
    catalogue = replace(ALL, own_chains={"chat": (MIDDLE, SMALL)})
    assert labels(RouteRequest(model="large"), catalogue) == ["large"]
    with pytest.raises(RoutingError) as caught:
        route(RouteRequest(model="other"), catalogue)
    assert caught.value.code == "no_model"


def test_builtin_always_resolves() -> None:
    assert route(RouteRequest(model="builtin"), ALL).candidates[0].model is BUILTIN


def test_host_and_label_tell_models_apart() -> None:
    one, two = model("m", host=HOUSE), model("m", host=CLOUD)
    catalogue = Catalogue(models=(one, two))
    assert catalogue.find("m") is one
    assert catalogue.find("cloud:m") is two


def test_private_stays_in_the_house() -> None:
    chain = replace(ALL, own_chains={"chat": (MIDDLE, SMALL)})
    assert labels(RouteRequest(private=True), chain) == ["small"]
    assert labels(RouteRequest(tier=3, private=True), chain) == ["small"]
    assert labels(RouteRequest(private=True), Catalogue()) == ["builtin"]


@pytest.mark.parametrize(
    "request_",
    [
        RouteRequest(private=True),
        RouteRequest(model="large", private=True),
        RouteRequest(tier=1, private=True),
    ],
)
def test_private_without_a_local_model_is_an_error(request_: RouteRequest) -> None:
    catalogue = Catalogue(models=(LARGE,), own_chains={"chat": (LARGE,)})
    with pytest.raises(RoutingError) as caught:
        route(request_, catalogue)
    assert caught.value.code == "private_only"


REST = (
    Candidate(model("same"), ""),
    Candidate(model("larger", context=32_000), ""),
)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ConnectionFailed("x"), ["same", "larger"]),
        (TimedOut("x"), ["same", "larger"]),
        (UpstreamFailed("x"), ["same", "larger"]),
        (RateLimited("x", retry_after_s=5), ["same", "larger"]),
        (AuthenticationFailed("x"), ["same", "larger"]),
        (UnknownModel("x"), ["same", "larger"]),
        (ContextTooLong("x"), ["larger"]),
        (Refused("x"), []),
        (BadRequest("x"), []),
    ],
)
def test_fallback_by_error_class(error: BackendError, expected: list[str]) -> None:
    rest = after_failure(error, model("failed"), REST)
    assert [candidate.model.label for candidate in rest] == expected


# --- automatic choice and plain ids -------------------------------------------------

PROGRAM = HostInfo(7, "Claude CLI", "claude_cli", credential="login")
HAIKU = model("haiku", tier=1, usd=2, host=PROGRAM)
OPUS = model("opus", tier=3, usd=30, host=PROGRAM)


def test_chat_without_a_chain_chooses_among_what_is_enabled() -> None:
    assert labels(RouteRequest(judged=2)) == ["middle", "large", "unpriced"]
    assert labels(RouteRequest("orchestrator", tier=2)) == labels(RouteRequest(tier=2))


@pytest.mark.parametrize(("judged", "first"), [(1, "haiku"), (2, "opus"), (3, "opus")])
def test_plain_id_means_the_model_of_the_tier_that_was_judged(
    judged: int, first: str
) -> None:
    catalogue = Catalogue(
        models=(HAIKU, OPUS, SMALL), own_chains={"chat": ("claude_cli", SMALL)}
    )
    assert labels(RouteRequest(judged=judged), catalogue) == [first, "small"]
    explicit = RouteRequest(model="claude_cli", judged=judged)
    assert labels(explicit, catalogue) == [first]


def test_chain_of_which_nothing_is_set_up_gives_way() -> None:
    catalogue = Catalogue(
        own_chains={"chat": ("claude_cli",)}, shared_chains={"chat": (SMALL,)}
    )
    plan = route(RouteRequest(), catalogue)
    assert [c.model.label for c in plan.candidates] == ["small"]
    assert plan.left_out[0].label == "claude_cli"
    with pytest.raises(RoutingError, match="Claude CLI is not set up"):
        route(RouteRequest("coder"), Catalogue(own_chains={"coder": ("claude_cli",)}))
    with pytest.raises(RoutingError, match="Claude CLI is not set up"):
        route(RouteRequest(model="claude_cli"), catalogue)


@pytest.mark.parametrize(
    ("request_", "chains", "expected"),
    [
        (RouteRequest(), {}, True),
        (RouteRequest(tier="auto"), {}, True),
        (RouteRequest(tier=2), {}, False),
        (RouteRequest(model="small"), {}, False),
        (RouteRequest(model="claude_cli"), {}, True),
        (RouteRequest(model="claude_cli", tier=2), {}, False),
        (RouteRequest(), {"chat": (SMALL,)}, False),
        (RouteRequest(), {"chat": (SMALL, "claude_cli")}, True),
        (RouteRequest(), {"chat": ("builtin",)}, False),
        (RouteRequest("distill"), {}, False),
    ],
)
def test_who_needs_a_judgement(
    request_: RouteRequest, chains: dict[str, Any], expected: bool
) -> None:
    assert needs_judgement(request_, replace(ALL, own_chains=chains)) is expected


# --- abilities, privacy, size -------------------------------------------------------


def test_needed_abilities_leave_the_others_out() -> None:
    seeing = replace(model("seeing", usd=3), tags=("images", "tools"))
    catalogue = Catalogue(models=(SMALL, seeing, HAIKU))
    plan = route(RouteRequest(tier=1, needs=frozenset({"images"})), catalogue)
    assert [c.model.label for c in plan.candidates] == ["seeing"]
    assert {each.label for each in plan.left_out} == {"small", "haiku"}
    chain = replace(catalogue, own_chains={"chat": (SMALL, seeing)})
    assert labels(RouteRequest(needs=frozenset({"tools"})), chain) == ["seeing"]
    with pytest.raises(RoutingError, match="can call tools; haiku cannot"):
        route(RouteRequest(model="haiku", needs=frozenset({"tools"})), catalogue)


def test_a_missing_ability_names_some_of_the_models() -> None:
    many = tuple(model(f"m{number}", usd=number + 1) for number in range(5))
    with pytest.raises(RoutingError) as caught:
        route(RouteRequest(tier=1, needs=frozenset({"tools"})), Catalogue(models=many))
    assert str(caught.value) == (
        "No model is set up that can call tools; m0, m1, m2, 2 more cannot."
    )
    with pytest.raises(RoutingError, match="builtin cannot"):
        route(RouteRequest(needs=frozenset({"tools"})), Catalogue())


def test_private_chat_never_leaves_for_want_of_a_model() -> None:
    cloud = Catalogue(models=(MIDDLE, LARGE, HAIKU))
    assert labels(RouteRequest(tier="auto", private=True), cloud) == ["builtin"]
    assert labels(RouteRequest(private=True), cloud) == ["builtin"]
    with pytest.raises(RoutingError) as caught:
        route(RouteRequest(model="claude_cli", private=True), cloud)
    assert caught.value.code == "private_only"


def test_weaker_model_that_has_room_is_better_than_none() -> None:
    wide = model("wide", tier=1, usd=5, context=100_000)
    request = RouteRequest(tier=3, input_tokens=50_000)
    assert labels(request, Catalogue(models=(LARGE, wide))) == ["wide"]


# --- budget -------------------------------------------------------------------------

MONEY = Catalogue(models=(LARGE, MIDDLE, SMALL))


def left(fraction: float) -> BudgetLeft:
    return BudgetLeft(fraction, int(fraction * 1e9))


@pytest.mark.parametrize(
    ("request_", "fraction", "expected", "words"),
    [
        (RouteRequest(tier="auto", judged=3), 0.6, ["large"], ""),
        (RouteRequest(tier="auto", judged=3), 0.4, ["middle"], "on request"),
        # Nothing changes for these: the top tier would not have answered anyway.
        (RouteRequest(tier="auto", judged=1), 0.4, ["small", "middle"], ""),
        (RouteRequest(tier="auto", judged=2), 0.4, ["middle"], ""),
        (RouteRequest(tier=3, asked_by="policy"), 0.4, ["large"], ""),
        (RouteRequest(tier=3, asked_by="policy"), 0.05, ["large"], ""),
        (RouteRequest(tier=3), 0.4, ["large"], ""),
        (RouteRequest(tier="auto", judged=3), 0.05, ["small"], "cheapest"),
        (RouteRequest(tier=2), 0.05, ["middle"], "cheapest"),
        (RouteRequest(tier=3), 0.0, ["small"], "in the house"),
        (RouteRequest(tier="auto", judged=2), 0.0, ["small"], "in the house"),
        (RouteRequest(model="large"), 0.0, ["large"], ""),
    ],
)
def test_what_is_left_of_the_budget_decides(
    request_: RouteRequest, fraction: float, expected: list[str], words: str
) -> None:
    plan = route(request_, MONEY, left(fraction))
    assert [c.model.label for c in plan.candidates] == expected
    assert [notice.code for notice in plan.notices] == (["budget"] if words else [])
    assert words in "".join(notice.text for notice in plan.notices)


@pytest.mark.parametrize(
    ("fraction", "expected"),
    [
        (0.6, ["large", "middle", "small"]),
        (0.4, ["middle", "small"]),
        (0.05, ["small"]),
        (0.0, ["small"]),
    ],
)
def test_budget_also_counts_for_chains(fraction: float, expected: list[str]) -> None:
    chain = replace(MONEY, own_chains={"chat": (LARGE, MIDDLE, SMALL)})
    plan = route(RouteRequest(), chain, left(fraction))
    assert [c.model.label for c in plan.candidates] == expected
    told = [notice.code for notice in plan.notices]
    assert told == ([] if fraction > 0.5 else ["budget"])


def test_a_chain_that_loses_only_its_last_model_tells_nothing() -> None:
    chain = replace(MONEY, own_chains={"chat": (SMALL, LARGE)})
    plan = route(RouteRequest(), chain, left(0.4))
    assert [c.model.label for c in plan.candidates] == ["small"]
    assert plan.notices == ()


def test_where_nothing_is_free_the_ledger_decides() -> None:
    plan = route(RouteRequest(tier=2), Catalogue(models=(MIDDLE, LARGE)), left(0))
    assert [c.model.label for c in plan.candidates] == ["middle"]
    (notice,) = plan.notices
    assert "used up" in notice.text
    assert "only the cheapest model" in notice.text


def test_used_up_budget_leaves_out_subscriptions_too_and_says_why() -> None:
    paid = replace(LARGE, host=replace(LARGE.host, credential="login"))
    assert paid.host.billing == "notional"
    plan = route(RouteRequest(tier=3), Catalogue(models=(paid, SMALL)), left(0))
    assert [c.model.label for c in plan.candidates] == ["small"]
    (out,) = plan.left_out
    assert (out.label, out.why) == (
        "large",
        "your budget is used up, so only models in the house are asked",
    )


def test_reason_names_who_chose_the_model() -> None:
    requests = [
        RouteRequest(model="large"),
        RouteRequest(model="large", asked_by="policy"),
    ]
    reasons = [route(each, MONEY).reason for each in requests]
    assert reasons == ["chosen by name", "set for this conversation"]


# --- health -------------------------------------------------------------------------


def test_what_rests_comes_last() -> None:
    health = Health({key_of(MIDDLE): "failing"})
    plan = route(RouteRequest(tier=2), ALL, None, health)
    assert [c.model.label for c in plan.candidates] == ["large", "unpriced", "middle"]
    assert [each.label for each in plan.left_out] == ["middle"]
    chain = replace(ALL, own_chains={"chat": (MIDDLE, SMALL)})
    plan = route(RouteRequest(), chain, None, health)
    assert [c.model.label for c in plan.candidates] == ["small", "middle"]
    everybody = Health({key_of(each): "cooling" for each in ALL.models})
    assert route(RouteRequest(), chain, None, everybody).candidates[0].model is MIDDLE


def test_builtin_is_passed_over_where_the_work_is_too_much_for_it() -> None:
    """Wherever in a chain it stands, and whoever's chain it is."""
    off = frozenset({"distill"})
    behind = Catalogue(
        (SMALL,), {"distill": (SMALL, "builtin")}, too_much_for_builtin=off
    )
    assert labels(RouteRequest("distill"), behind) == ["small"]
    left = route(RouteRequest("distill"), behind).left_out
    assert [each.label for each in left] == ["builtin"]
    chains: dict[str, tuple[ChainEntry, ...]] = {"distill": ("builtin",)}
    own_is_too_small = Catalogue(
        (SMALL,), chains, {"distill": (SMALL,)}, too_much_for_builtin=off
    )
    assert labels(RouteRequest("distill"), own_is_too_small) == ["small"]
    for alone in (
        Catalogue(own_chains=chains, too_much_for_builtin=off),
        Catalogue(role_settings={"distill": "builtin"}, too_much_for_builtin=off),
    ):
        with pytest.raises(RoutingError, match="too small") as caught:
            route(RouteRequest("distill"), alone)
        assert caught.value.code == "no_model"
        forced = replace(alone, too_much_for_builtin=frozenset())
        assert labels(RouteRequest("distill"), forced) == ["builtin"]
    assert labels(RouteRequest(), behind) == ["small"]
