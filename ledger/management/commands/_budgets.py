"""``manage.py ledger budget …``: what may be spent, by whom, and who asks for more."""

from __future__ import annotations

import uuid
from argparse import ArgumentParser, ArgumentTypeError, _SubParsersAction
from decimal import Decimal, InvalidOperation
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import CommandError

from accounts.models import User
from ledger import allowances, budget_requests, budget_settings
from ledger.models import Budget, BudgetRequest
from ledger.money import MAX_USD, format_usd, nano_usd

PERIODS = tuple(Budget.Period.values)
Printed = tuple[Any, list[str]]
"""What is printed: as JSON, or as lines."""


def dollars(text: str) -> int:
    """Read an amount of dollars as nano-dollars."""
    try:
        amount = Decimal(text)
    except InvalidOperation:
        amount = Decimal("NaN")
    if not (amount.is_finite() and 0 <= amount <= MAX_USD):
        raise ArgumentTypeError(f"{text!r} is not an amount from 0 to {MAX_USD}")
    return nano_usd(amount)


def add_verbs(parser: ArgumentParser) -> None:
    """Declare list, set, remove, grant and decline."""
    verbs = parser.add_subparsers(dest="budget_verb", required=True, metavar="verb")
    _verb(verbs, "list", "show all budgets, where they stand, and open requests")
    sub = _verb(verbs, "set", "make or change a budget")
    sub.add_argument("amount", type=dollars, help="limit in dollars a period")
    _add_which(sub)
    sub.add_argument("--soft", action="store_true", help="warn, but refuse nothing")
    sub.add_argument(
        "--roll-over", action="store_true", help="move what is left to the next period"
    )
    sub.add_argument(
        "--counts-notional",
        action="store_true",
        help="also count calls that a subscription covers",
    )
    _add_which(_verb(verbs, "remove", "remove a budget"))
    sub = _verb(verbs, "grant", "add to a person's budget in its present period")
    sub.add_argument("username")
    sub.add_argument("amount", type=dollars, nargs="?", help="else what was asked for")
    sub.add_argument("--budget", help="its key, such as person:month")
    sub.add_argument(
        "--id", type=uuid.UUID, help="a repeat with the same id grants nothing more"
    )
    sub = _verb(verbs, "decline", "decline a person's open request")
    sub.add_argument("username")


def _verb(
    verbs: _SubParsersAction[ArgumentParser], name: str, text: str
) -> ArgumentParser:
    sub = verbs.add_parser(name, help=text, description=text)
    sub.add_argument("--json", action="store_true", help="print JSON")
    return sub


def _add_which(sub: ArgumentParser) -> None:
    sub.add_argument("--period", choices=PERIODS, required=True)
    sub.add_argument("--user", help="this person's; else everybody's default")
    scope = sub.add_mutually_exclusive_group()
    scope.add_argument(
        "--shared", action="store_true", help="for everybody together, not each"
    )
    scope.add_argument(
        "--background", action="store_true", help="for each person's background work"
    )


def run(options: dict[str, Any]) -> Printed:
    """Run the verb."""
    verbs = {
        "list": _list,
        "set": _set,
        "remove": _remove,
        "grant": _grant,
        "decline": _decline,
    }
    try:
        return verbs[options["budget_verb"]](options)
    except ValidationError as error:
        raise CommandError(" ".join(error.messages)) from None


def _list(options: dict[str, Any]) -> Printed:
    rows = Budget.objects.select_related("user").order_by("scope", "period", "user")
    found = [_record(each) for each in rows]
    waiting = BudgetRequest.objects.filter(state="open").select_related("user")
    asked = [_request_record(each) for each in waiting]
    lines = [_sentence(each) for each in found] or ["There is no budget."]
    lines += [
        f"{each['user']} asks for {each['amount_usd']} USD more ({each['budget']})"
        + (f": {each['reason']}" if each["reason"] else "")
        for each in asked
    ]
    return {"budgets": found, "requests": asked}, lines


def _which(options: dict[str, Any]) -> tuple[str, str, User | None]:
    scope = Budget.Scope.PERSON
    if options["shared"]:
        scope = Budget.Scope.SHARED
    elif options["background"]:
        scope = Budget.Scope.BACKGROUND
    name = options["user"]
    return scope, options["period"], person(name) if name else None


def _set(options: dict[str, Any]) -> Printed:
    scope, period, user = _which(options)
    terms = budget_settings.Terms(
        options["amount"],
        hard=not options["soft"],
        roll_over=options["roll_over"],
        counts_notional=options["counts_notional"],
    )
    record = _record(budget_settings.set_budget(scope, period, terms, user=user))
    return record, [_sentence(record)]


def _remove(options: dict[str, Any]) -> Printed:
    budget = budget_settings.find_budget(*_which(options))
    if budget is None:
        raise CommandError("There is no such budget.")
    record = _record(budget)
    budget_settings.remove_budget(budget)
    return record, [f"Removed: {_sentence(record)}"]


def _grant(options: dict[str, Any]) -> Printed:
    user = person(options["username"])
    amount = options["amount"]
    asked = budget_requests.open_request_of(user)
    if asked is not None and options["budget"] not in (None, asked.budget):
        asked = None
    if amount is None and asked is None:
        raise CommandError(f"“{user.username}” has not asked; name an amount.")
    row = budget_requests.grant(
        asked or user, amount, budget=options["budget"], grant_id=options["id"]
    )
    granted = format_usd(row.granted_nano_usd)
    record = {"user": user.username, "budget": row.budget, "granted_usd": granted}
    return record, [f"{granted} USD more for {user.username} ({row.budget})."]


def _decline(options: dict[str, Any]) -> Printed:
    user = person(options["username"])
    asked = budget_requests.open_request_of(user)
    if asked is None or not budget_requests.decline(asked):
        raise CommandError(f"“{user.username}” has no open request.")
    record = _request_record(asked) | {"state": "declined"}
    return record, [f"The request of {user.username} is declined."]


def person(username: str) -> User:
    """Return the person of this name; a sentence on the command line without one."""
    try:
        return User.objects.get(username=username)
    except User.DoesNotExist:
        raise CommandError(f"There is no person named “{username}”.") from None


def _record(budget: Budget) -> dict[str, Any]:
    """Return a budget as JSON; where it stands, if it is one person's or shared."""
    record: dict[str, Any] = {
        "budget": budget.key,
        "scope": budget.scope,
        "period": budget.period,
        "user": budget.user.username if budget.user else None,
        "limit_usd": format_usd(budget.limit_nano_usd),
        "hard": budget.hard,
        "roll_over": budget.roll_over,
        "counts_notional": budget.counts_notional,
        "allowed_usd": None,
        "spent_usd": None,
        "left_usd": None,
    }
    if budget.user is not None or budget.scope == Budget.Scope.SHARED:
        (stands,) = allowances.standings([(budget, budget.user, budget.user_id)])
        record["allowed_usd"] = format_usd(stands.allowed)
        record["spent_usd"] = format_usd(stands.spent)
        record["left_usd"] = format_usd(max(0, stands.left))
    return record


def _sentence(record: dict[str, Any]) -> str:
    whose = record["user"] or (
        "everybody together" if record["scope"] == "shared" else "each person"
    )
    work = " for background work" if record["scope"] == "background" else ""
    kind = "hard" if record["hard"] else "soft"
    more = ", rolls over" if record["roll_over"] else ""
    more += ", counts subscriptions" if record["counts_notional"] else ""
    left = f", {record['left_usd']} USD left" if record["left_usd"] is not None else ""
    return (
        f"{whose}: {record['limit_usd']} USD a {record['period']}{work} "
        f"({kind}{more}){left}"
    )


def _request_record(request: BudgetRequest) -> dict[str, Any]:
    return {
        "user": request.user.username,
        "budget": request.budget,
        "amount_usd": format_usd(request.amount_nano_usd),
        "reason": request.reason,
        "state": request.state,
    }
