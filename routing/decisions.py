"""Keeps why a model answered: one row for each decision, without texts.

``begin`` writes the row in the transaction of the first reservation; ``finish`` says
after every attempt what came of it so far. "Why this model?", ``router report`` and the
sticky tier of a conversation read it.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import Any, Final

from django.db.models import Q, QuerySet
from django.utils import timezone

from accounts.inserts import insert
from accounts.models import User
from ledger.money import cost_of
from ledger.types import Settlement
from routing.attempt import Attempt
from routing.backends.base import Usage
from routing.catalogue import Catalogue, ModelInfo
from routing.events import Notice
from routing.models import RouteDecision
from routing.router import RoutePlan, RouteRequest
from routing.tiers import (
    NEVER_STICKS,
    STICKY_DEFAULT_FOR,
    STICKY_FOR,
    TierDecision,
)

TIERS: Final = (1, 2, 3)
UNDECIDED: Final = "undecided"
"""Kept among the features where the classifier was asked in vain."""
MOST_LISTED: Final = 20
"""How many candidates and removals of a plan are kept."""
TOLD_FOR: Final = timedelta(minutes=30)
"""So long a conversation is not told the same about a budget again."""


def decisions_visible_to(user: User) -> QuerySet[RouteDecision]:
    """Return a person's own decisions; nobody else sees them."""
    return RouteDecision.objects.filter(owner=user)


def decision_for_turn(user: User, turn_id: uuid.UUID) -> RouteDecision | None:
    """Return the decision behind one of the person's answers."""
    return decisions_visible_to(user).filter(turn_id=turn_id).first()


def notices_of(row: RouteDecision) -> tuple[Notice, ...]:
    """Return what was said beside an answer, as its decision keeps it."""
    return _notices(row.notices)


def notices_of_turns(
    user: User, turn_ids: Iterable[uuid.UUID]
) -> dict[uuid.UUID, tuple[Notice, ...]]:
    """Return what was said beside several of the person's answers, by one query."""
    rows = decisions_visible_to(user).filter(turn_id__in=list(turn_ids))
    kept = rows.values_list("turn_id", "notices")
    return {turn: _notices(notices) for turn, notices in kept if turn and notices}


def recently_told(user: User, thread_id: uuid.UUID | None) -> set[Notice]:
    """Return what was said in a conversation so lately that it need not be repeated."""
    if thread_id is None:
        return set()
    since = timezone.now() - TOLD_FOR
    rows = decisions_visible_to(user).filter(thread_id=thread_id, created_at__gte=since)
    lists = rows.values_list("notices", flat=True)
    return {notice for kept in lists for notice in _notices(kept)}


def _notices(kept: Sequence[dict[str, Any] | str]) -> tuple[Notice, ...]:
    """Read what was kept; rows from before codes were kept hold texts alone."""
    return tuple(
        Notice("budget", each) if isinstance(each, str) else Notice(**each)
        for each in kept
    )


def sticky_tier(user: User, thread_id: uuid.UUID | None) -> int | None:
    """Return the tier that a conversation keeps for some minutes after a judgement.

    Decisions that only kept it do not prolong it.
    """
    if thread_id is None:
        return None
    now = timezone.now()
    judged = Q(decided_by__in=("rules", "classifier"), created_at__gte=now - STICKY_FOR)
    default = Q(
        decided_by="default",
        features__has_key=UNDECIDED,
        created_at__gte=now - STICKY_DEFAULT_FOR,
    )
    rows = decisions_visible_to(user).filter(judged | default, thread_id=thread_id)
    rows = rows.exclude(kind__in=NEVER_STICKS).order_by("-created_at")
    return rows.values_list("tier", flat=True).first()


def begin(
    user: User,
    decision: TierDecision,
    plan: RoutePlan,
    request: RouteRequest,
    *,
    turn_id: uuid.UUID | None,
    thread_id: uuid.UUID | None,
    redo_of: uuid.UUID | None,
    undecided: bool = False,
) -> RouteDecision:
    """Write what was decided.

    Raises ``IntegrityError`` where the turn has a decision already.

    Args:
        user: Who asked.
        decision: The tier and who decided it.
        plan: The candidates.
        request: What was asked for.
        turn_id: The answer that it is for.
        thread_id: The conversation.
        redo_of: The answer that is asked for anew.
        undecided: The classifier was asked in vain.
    """
    row = RouteDecision(
        owner=user,
        turn_id=turn_id,
        thread_id=thread_id,
        role=request.role[:32],
        requested=_storable(request.model or _tier_word(request.tier), 200),
        tier=plan.tier,
        decided_by=decision.decided_by,
        kind=decision.kind,
        confidence=decision.confidence,
        reason=_storable(decision.reason or plan.reason, 200),
        features=decision.features.as_json() | ({UNDECIDED: 1} if undecided else {}),
        plan=_listed(plan),
        notices=[asdict(notice) for notice in plan.notices],
        redo_of=redo_of,
        redo_step=_redo_step(user, redo_of, plan.tier),
    )
    insert(row)
    return row


def finish(
    row: RouteDecision,
    attempts: Sequence[Attempt],
    catalogue: Catalogue,
    notices: Sequence[Notice],
    private: bool,
) -> None:
    """Write what came of a decision so far, in one statement."""
    answering = [attempt for attempt in attempts if attempt.answered]
    last = (answering or list(attempts))[-1]
    usage = total_usage(answering or [last])
    costs = [attempt.cost.cost_nano_usd for attempt in attempts if attempt.cost]
    known = [cost for cost in costs if cost is not None]
    complete = len(known) == len(attempts)
    RouteDecision.objects.filter(id=row.id).update(
        chosen=_storable(last.model.label, 200),
        attempts=[as_json(attempt) for attempt in attempts],
        neighbours=_neighbours(last.model, usage, catalogue, private),
        notices=[asdict(notice) for notice in notices],
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cost_nano_usd=sum(known) if complete else None,
    )


def forget_threads(thread_ids: Collection[uuid.UUID]) -> None:
    """Take what could tell of their content out of the decisions of conversations.

    For conversations that are removed for good. The classifier's words about a message
    go, in the reason and in the plan; numbers and names stay for ``router report``.
    """
    rows = RouteDecision.objects.filter(thread_id__in=thread_ids)
    rows.update(thread_id=None, reason="", plan=[])


def forget_turns(turn_ids: Collection[uuid.UUID]) -> None:
    """Take the same out of the decisions behind some answers.

    For messages that their person deleted while the conversation stays.
    """
    rows = RouteDecision.objects.filter(turn_id__in=turn_ids)
    rows.update(reason="", plan=[])


def total_usage(attempts: Sequence[Attempt]) -> Usage:
    """Return what several attempts used together; ``None`` where one is unknown."""

    def total(name: str) -> int | None:
        counts = [getattr(a.booked, name) if a.booked else None for a in attempts]
        known = [count for count in counts if count is not None]
        return sum(known) if len(known) == len(counts) else None

    return Usage(
        total("input_tokens"),
        total("output_tokens"),
        total("cache_read_tokens"),
        total("cache_write_tokens"),
        any(a.booked.estimated for a in attempts if a.booked),
    )


def as_json(attempt: Attempt) -> dict[str, Any]:
    """Return one attempt as it is kept and shown."""
    model, booked, cost = attempt.model, attempt.booked or Usage(), attempt.cost
    return {
        "label": model.label,
        "model_name": model.name,
        "host": model.host.name,
        "tier": model.tier,
        "outcome": attempt.outcome,
        "error_code": attempt.error.code if attempt.error else "",
        "error": str(attempt.error) if attempt.error else "",
        "elapsed_ms": attempt.elapsed_ms,
        "first_token_ms": attempt.first_token_ms,
        "input_tokens": booked.input_tokens,
        "output_tokens": booked.output_tokens,
        "cache_read_tokens": booked.cache_read_tokens,
        "cache_write_tokens": booked.cache_write_tokens,
        "cost_nano_usd": cost.cost_nano_usd if cost else None,
        "estimated": cost.estimated if cost else True,
        "starts_at": attempt.starts_at,
    }


def _listed(plan: RoutePlan) -> list[dict[str, Any]]:
    """Return the candidates, then what was left out, marked by ``left_out``."""
    listed: list[dict[str, Any]] = [
        {
            "label": each.model.label,
            "model_name": each.model.name,
            "host": each.model.host.name,
            "tier": each.model.tier,
            "reason": each.reason,
        }
        for each in plan.candidates[:MOST_LISTED]
    ]
    listed += [
        {"label": each.label, "reason": each.why, "left_out": True}
        for each in plan.left_out[:MOST_LISTED]
    ]
    return listed


def _neighbours(
    used: ModelInfo, usage: Usage, catalogue: Catalogue, private: bool
) -> dict[str, dict[str, Any]]:
    """Return what the other tiers' cheapest models would have cost for these tokens."""
    settlement = Settlement(
        outcome="complete",
        elapsed_ms=0,
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cache_read_tokens=usage.cache_read_tokens,
        cache_write_tokens=usage.cache_write_tokens,
    )
    found: dict[str, dict[str, Any]] = {}
    for tier in TIERS:
        offers = [
            (cost_of(model.prices, settlement).cost_nano_usd, model.label)
            for model in catalogue.models
            if model.tier == tier and (model.host.is_local or not private)
        ]
        if tier == used.tier or not offers:
            continue
        cost, label = min(offers, key=lambda offer: (offer[0] is None, offer[0] or 0))
        found[str(tier)] = {"label": label, "cost_nano_usd": cost}
    return found


def _redo_step(user: User, redo_of: uuid.UUID | None, tier: int) -> int | None:
    """Return how many tiers a redo goes up or down from the first answer's."""
    if redo_of is None:
        return None
    before = decision_for_turn(user, redo_of)
    if before is None:
        return None
    answered = [each for each in before.attempts if each.get("label") == before.chosen]
    return tier - (answered[-1]["tier"] if answered else before.tier)


def _tier_word(tier: int | str | None) -> str:
    return "" if tier is None else str(tier)


def _storable(text: str, length: int) -> str:
    return text.replace("\0", "").encode(errors="replace").decode()[:length]
