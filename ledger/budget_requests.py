"""Ask for more, grant it, decline it.

One open request a person. A grant is a row of the ledger (kind ``grant``) that adds to
a budget in its present period; its id is the request's, so that it is granted once
however often and by however many administrators the button is pressed. Every step is
in the audit log, without the reason that somebody typed.
"""

from __future__ import annotations

import uuid

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils import timezone

from accounts import audit
from accounts.models import User
from ledger import chain
from ledger.allowances import Standing, standings_of
from ledger.budget_words import name_of_key
from ledger.models import Budget, BudgetRequest, LedgerEntry
from ledger.money import MAX_USD, NANO_PER_USD, format_usd

MAX_REASON = 300
_OPEN = BudgetRequest.State.OPEN


def open_request_of(user: User) -> BudgetRequest | None:
    """Return the request of this person that waits for an answer."""
    return BudgetRequest.objects.filter(user=user, state=_OPEN).first()


def open_request_count() -> int:
    """Return how many requests wait for an administrator."""
    return BudgetRequest.objects.filter(state=_OPEN).count()


def ask(
    user: User, amount_nano_usd: int, reason: str = "", *, budget: str | None = None
) -> BudgetRequest:
    """Ask the administrators for more in the present period of a budget.

    Args:
        amount_nano_usd: More than nothing, at most a million dollars.
        reason: Up to 300 characters, for the administrators.
        budget: Its key; else the one that is used up furthest.

    Raises:
        ValidationError: It cannot be asked; one sentence.
    """
    standing = _meant(user, budget)
    _check_amount(amount_nano_usd)
    if len(reason) > MAX_REASON:
        raise ValidationError(f"The reason may have {MAX_REASON} characters.")
    try:
        with transaction.atomic():
            request = BudgetRequest.objects.create(
                user=user,
                budget=standing.budget.key,
                amount_nano_usd=amount_nano_usd,
                reason=reason.replace("\0", " ").strip(),
            )
    except IntegrityError:
        raise ValidationError("You have asked already; wait for the answer.") from None
    audit.record(
        "budget.requested",
        actor=user,
        subject=user.username,
        budget=request.budget,
        amount_usd=format_usd(amount_nano_usd),
    )
    return request


def withdraw(user: User) -> bool:
    """Take one's open request back; ``False`` when there is none."""
    with transaction.atomic():
        chain.lock()
        request = open_request_of(user)
        if request is None:
            return False
        _decide(request, BudgetRequest.State.WITHDRAWN, None, None)
        audit.record(
            "budget.withdrawn",
            actor=user,
            subject=user.username,
            budget=request.budget,
        )
    return True


def grant(
    target: BudgetRequest | User,
    amount_nano_usd: int | None = None,
    actor: User | None = None,
    *,
    budget: str | None = None,
    grant_id: uuid.UUID | None = None,
) -> LedgerEntry:
    """Add to what is left in the present period; return the row of the ledger.

    Args:
        target: A request, or a person who is given something unasked.
        amount_nano_usd: Else what the request asks for.
        actor: The administrator; None for the command line.
        budget: Key of the person's budget; else the one that is used up furthest.
        grant_id: Names an unasked grant, so that a repeat grants nothing more.

    Raises:
        ValidationError: The request was declined or withdrawn, the person has no such
            budget, or the amount cannot be.
    """
    with transaction.atomic():
        chain.lock()
        request = None
        if isinstance(target, BudgetRequest):
            request = BudgetRequest.objects.select_related("user").get(pk=target.pk)
            user, budget, grant_id = request.user, request.budget, request.grant_id
            if amount_nano_usd is None:
                amount_nano_usd = request.amount_nano_usd
        else:
            user = target
        grant_id = grant_id or uuid.uuid4()
        done = LedgerEntry.objects.filter(kind="grant", attempt_id=grant_id).first()
        if done is not None:
            return done
        if request is not None and request.state != _OPEN:
            raise ValidationError(f"The request was {request.state} before.")
        _check_amount(amount_nano_usd or 0)
        standing = _meant(user, budget)
        row = _append(user, standing.budget.key, amount_nano_usd, actor, grant_id)
        if request is not None:
            _decide(request, BudgetRequest.State.GRANTED, actor, amount_nano_usd)
        audit.record(
            "budget.granted",
            actor=actor,
            subject=user.username,
            budget=standing.budget.key,
            amount_usd=format_usd(amount_nano_usd),
        )
    return row


def decline(request: BudgetRequest, actor: User | None = None) -> bool:
    """Decline an open request; ``False`` when it is not open any more."""
    with transaction.atomic():
        chain.lock()
        current = BudgetRequest.objects.select_related("user").get(pk=request.pk)
        if current.state != _OPEN:
            return False
        _decide(current, BudgetRequest.State.DECLINED, actor, None)
        audit.record(
            "budget.declined",
            actor=actor,
            subject=current.user.username,
            budget=current.budget,
        )
    return True


def _meant(user: User, key: str | None) -> Standing:
    """Return the person's budget with this key, else the one used up furthest."""
    found = standings_of(user)
    if not found:
        raise ValidationError("There is no budget, so nothing has to be asked for.")
    if key is None:
        return min(found, key=lambda each: each.fraction_left)
    for standing in found:
        if standing.budget.key == key:
            return standing
    raise ValidationError("There is no such budget any more.")


def _check_amount(amount_nano_usd: int) -> None:
    if not 0 < amount_nano_usd <= MAX_USD * NANO_PER_USD:
        raise ValidationError("The amount must be more than 0 and at most a million.")


def _append(
    user: User,
    key: str,
    amount_nano_usd: int | None,
    actor: User | None,
    grant_id: uuid.UUID,
) -> LedgerEntry:
    who = actor.username if actor else "the command line"
    shared = key.startswith(Budget.Scope.SHARED)
    whom = " (asked by the person named here)" if shared else ""
    return chain.append(
        LedgerEntry(
            kind=LedgerEntry.Kind.GRANT,
            attempt_id=grant_id,
            user_id=user.pk,
            user_name=user.username,
            budget=key,
            granted_nano_usd=amount_nano_usd,
            note=f"Added to {name_of_key(key)} by {who}{whom}.",
        )
    )


def _decide(
    request: BudgetRequest,
    state: str,
    actor: User | None,
    granted_nano_usd: int | None,
) -> None:
    request.state = state
    request.decided_at = timezone.now()
    request.decided_by = actor.username if actor else ""
    request.granted_nano_usd = granted_nano_usd
    request.save()
