"""What the page “Why this model?” shows of one answer, ready to be written.

Everything comes from the stored decision and from the answer's row; only the buttons
for another try look at what can be had now.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from accounts.models import User
from ledger.entries import ABANDONED
from ledger.models import LedgerEntry
from ledger.money import write_amount
from ledger.turn_attempts import attempts_of_turn
from personas.models import Message, TierPolicy
from routing import classifier
from routing.decisions import decision_for_turn, notices_of
from routing.models import RouteDecision
from routing.registry import catalogue_for

UNKNOWN = "–"
_STOPPED = "Cortex stopped during this call."
_DECIDED_BY = {
    "explicit": "You chose the model or the tier.",
    "policy": "The setting of this chat chose the model or the tier.",
    "rules": "Plain rules judged the message.",
    "classifier": "A small model judged the message.",
    "sticky": "The chat kept the tier of its last messages.",
    "default": "Nobody judged the message.",
}
_OUTCOMES = {
    "complete": "answered",
    "incomplete": "broke off",
    "interrupted": "stopped",
    "failed": "failed",
}


@dataclass(frozen=True, slots=True)
class AttemptRow:
    """One attempt, in words."""

    label: str
    host: str
    tier: str
    outcome: str
    error: str
    time: str
    first_text: str
    tokens: str
    cost: str


@dataclass(frozen=True, slots=True)
class Neighbour:
    """What another tier would have cost for the same numbers of tokens."""

    tier: str
    label: str
    cost: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """The way to one answer, in words; empty texts are left out of the page."""

    known: bool
    """Whether a decision was stored; older answers have none."""
    model: str
    tier: str
    how: str
    requested: str
    kind: str
    reason: str
    confidence: str
    tokens: str
    cost: str
    notices: tuple[str, ...] = ()
    attempts: tuple[AttemptRow, ...] = ()
    booked: tuple[AttemptRow, ...] = ()
    """Calls of which the ledger alone knows, since Cortex stopped during them."""
    nobody_asked: bool = False
    """The answer failed before any model was asked."""
    neighbours: tuple[Neighbour, ...] = ()
    others: tuple[str, ...] = ()
    """Models that stood ready and were not asked."""
    left_out: tuple[tuple[str, str], ...] = ()
    """Models that could not be asked, each with the reason."""

    @property
    def asked(self) -> tuple[AttemptRow, ...]:
        """All calls in their order."""
        return (*self.attempts, *self.booked)


@dataclass(frozen=True, slots=True)
class RedoStep:
    """A button for another try one tier lower or higher."""

    name: str
    tier: int
    refusal: str
    """Why there is no such try; empty when there is."""


def explain(user: User, answer: Message) -> Explanation:
    """Return what is stored about an answer of this person."""
    decision = decision_for_turn(user, answer.pk)
    model = answer.model or UNKNOWN
    tokens = _tokens(answer.input_tokens, answer.output_tokens)
    had_something = bool(answer.input_tokens or answer.output_tokens or answer.text)
    cost = (
        amount(answer.cost_nano_usd, estimated=answer.estimated)
        if had_something or answer.cost_nano_usd
        else UNKNOWN
    )
    done = len(decision.attempts) if decision else 0
    booked = _booked(user, answer, done)
    if decision is None:
        return Explanation(
            booked=booked,
            nobody_asked=not (booked or answer.attempts or answer.text)
            and answer.state != Message.State.GENERATING,
            known=False,
            model=model,
            tier=_tier(answer.tier),
            how="",
            requested="",
            kind="",
            reason=answer.reason,
            confidence="",
            tokens=tokens,
            cost=cost,
        )
    attempts = tuple(_attempt(each) for each in decision.attempts)
    asked = {each.label for each in (*attempts, *booked)}
    return Explanation(
        known=True,
        model=model,
        tier=_tier(decision.tier),
        how=_DECIDED_BY.get(decision.decided_by, decision.decided_by),
        requested=decision.requested,
        kind=decision.kind,
        reason=decision.reason,
        confidence=_percent(decision.confidence),
        tokens=tokens,
        cost=cost,
        notices=tuple(notice.text for notice in notices_of(decision)),
        attempts=attempts,
        booked=booked,
        # What was never done would have cost nothing elsewhere either.
        neighbours=_neighbours(decision) if had_something else (),
        others=tuple(
            label
            for each in decision.plan
            if not each.get("left_out")
            and (label := str(each.get("label", ""))) not in asked
        ),
        left_out=tuple(
            (str(each.get("label", "")), str(each.get("reason", "")))
            for each in decision.plan
            if each.get("left_out")
        ),
    )


def redo_steps(user: User, answer: Message) -> tuple[RedoStep, RedoStep]:
    """Return the buttons for one tier down and up from the model that answered."""
    base = answer.tier or TierPolicy.QUICK.value
    private = answer.conversation.is_private
    there = {
        model.tier
        for model in catalogue_for(user).models
        if model.host.is_local or not private
    }
    running = answer.state == Message.State.GENERATING
    return (
        _step("One tier down", base - 1, there, private=private, running=running),
        _step("One tier up", base + 1, there, private=private, running=running),
    )


def _step(
    name: str, tier: int, there: set[int], *, private: bool, running: bool
) -> RedoStep:
    refusal = ""
    if running:
        refusal = "This answer is still being written."
    elif tier < TierPolicy.QUICK:
        refusal = "There is no tier below “Quick”."
    elif tier > TierPolicy.DEEP:
        refusal = "There is no tier above “Deep”."
    elif tier not in there:
        where = " in the house" if private else ""
        refusal = f"No model of the tier “{_tier(tier)}” is set up{where}."
    return RedoStep(name, tier, refusal)


def amount(nano: int | None, *, estimated: bool = False) -> str:
    """Write what something cost; unknown is a dash and never zero."""
    if nano is None:
        return UNKNOWN
    if nano == 0:
        return "free"
    return f"{write_amount(nano)} (estimated)" if estimated else write_amount(nano)


def _attempt(stored: Mapping[str, Any]) -> AttemptRow:
    outcome = str(stored.get("outcome") or "")
    counts = (stored.get("input_tokens"), stored.get("output_tokens"))
    failed = outcome == LedgerEntry.Outcome.FAILED
    cost = stored.get("cost_nano_usd")
    nothing_had = failed and not any(counts) and not cost
    return AttemptRow(
        label=str(stored.get("label") or UNKNOWN),
        host=str(stored.get("host") or ""),
        tier=_tier(stored.get("tier")),
        outcome=_OUTCOMES.get(outcome, outcome),
        error=str(stored.get("error") or ""),
        time=_seconds(stored.get("elapsed_ms")),
        first_text=_seconds(stored.get("first_token_ms")),
        tokens=_tokens(*counts),
        cost=UNKNOWN
        if nothing_had
        else amount(cost, estimated=bool(stored.get("estimated"))),
    )


def _booked(user: User, answer: Message, done: int) -> tuple[AttemptRow, ...]:
    """Return the calls for an answer that ended after the first ``done`` of them."""
    if answer.state == Message.State.GENERATING:
        return ()
    return tuple(
        _from_ledger(row)
        for row in attempts_of_turn(user, answer.pk)
        if row.attempt_number > done and row.role != classifier.ROLE
    )


def _from_ledger(row: LedgerEntry) -> AttemptRow:
    is_open = row.kind == LedgerEntry.Kind.RESERVE
    return AttemptRow(
        label=row.model_id,
        host="",
        tier=_tier(row.tier),
        outcome="not closed yet" if is_open else _OUTCOMES.get(row.outcome, ""),
        error=_STOPPED if is_open or row.error_code == ABANDONED else "",
        time=_seconds(row.elapsed_ms),
        first_text=_seconds(row.first_token_ms),
        tokens=_tokens(row.input_tokens, row.output_tokens),
        cost=amount(row.cost_nano_usd, estimated=row.estimated),
    )


def _neighbours(decision: RouteDecision) -> tuple[Neighbour, ...]:
    return tuple(
        Neighbour(
            _tier(int(tier)),
            str(found.get("label") or UNKNOWN),
            amount(found.get("cost_nano_usd")),
        )
        for tier, found in sorted(decision.neighbours.items())
        if tier.isdecimal() and found
    )


def _tier(tier: int | None) -> str:
    if tier not in (1, 2, 3):
        return UNKNOWN
    return f"{tier} · {TierPolicy(tier).label}"


def _percent(share: float | None) -> str:
    return "" if share is None else f"{round(share * 100)} %"


def _seconds(milliseconds: int | None) -> str:
    if milliseconds is None:
        return UNKNOWN
    if milliseconds < 1000:
        return f"{milliseconds} ms"
    return f"{milliseconds / 1000:.1f} s"


def _tokens(into: int | None, out: int | None) -> str:
    """Write both counts; one that is unknown is a dash."""
    known = [UNKNOWN if count is None else f"{count:,}" for count in (into, out)]
    return f"{known[0]} in, {known[1]} out"
