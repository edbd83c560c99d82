"""What ``/cost`` answers: the conversation, today, this month, and what is left."""

from __future__ import annotations

from django.utils import timezone

from accounts.models import User
from accounts.zones import zone_of
from channels_app.money_amounts import Figure, Own
from ledger import statistics
from ledger.allowances import standings_of
from ledger.money import write_amount
from ledger.periods import start_of
from personas.costs import cost_of_conversation
from personas.models import Conversation


def cost_report(user: User, conversation: Conversation | None) -> str:
    """Return the person's own costs as Markdown; days follow their time zone."""
    lines = [
        f"- This conversation: {_of_conversation(conversation)}",
        *(f"- {figure.name}: {_of_calls(figure)}" for figure in _periods(user)),
    ]
    budgets = [Own(each) for each in standings_of(user)]
    lines += [
        f"- Left of {each.short_name}: {write_amount(each.left)}"
        f" of {write_amount(each.standing.allowed)}"
        for each in budgets
    ]
    if not budgets:
        lines.append("- There is no budget that limits you.")
    return "\n".join(["What your answers cost:", "", *lines])


def _of_conversation(conversation: Conversation | None) -> str:
    if conversation is None:
        return write_amount(0)
    cost = cost_of_conversation(conversation)
    if cost.is_unknown and cost.answers:
        return "unknown"
    amount = write_amount(cost.cost_nano_usd)
    return amount + _beside(cost.unknown_cost_answers, "answer")


def _periods(user: User) -> list[Figure]:
    now, zone = timezone.now(), zone_of(user)
    return [
        Figure(name, statistics.totals(user, since=start_of(period, now, zone)))
        for name, period in (("Today", "day"), ("This month", "month"))
    ]


def _of_calls(figure: Figure) -> str:
    text = figure.amount + _beside(figure.unknown_beside, "call")
    if covered := figure.by_subscription:
        text += f", and {covered} at list prices covered by a subscription"
    return text


def _beside(count: int, what: str) -> str:
    if not count:
        return ""
    return f", and {count} {what}{'' if count == 1 else 's'} of unknown cost"
