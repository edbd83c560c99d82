"""Asking for more, granting, declining."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.exceptions import ValidationError

from accounts.models import AuditEvent, User
from ledger import budget_requests, budgets, chain, entries, export, journal, statistics
from ledger.errors import BudgetExceeded
from ledger.models import Budget, BudgetRequest, LedgerEntry
from ledger.verify import verify
from tests.support.ledger import book, left_nano_usd, make_reservation

pytestmark = pytest.mark.django_db

DOLLAR = 1_000_000_000


@pytest.fixture
def budget() -> Budget:
    """A dollar a day for each person."""
    return Budget.objects.create(period="day", limit_nano_usd=DOLLAR)


def test_a_grant_lets_the_next_call_through(alice: User, admin_user: User) -> None:
    Budget.objects.create(user=alice, period="day", limit_nano_usd=0)
    with pytest.raises(BudgetExceeded):
        entries.reserve(make_reservation(alice))
    request = budget_requests.ask(alice, 4_500_000, "please")
    row = budgets.grant(request, None, admin_user)
    entries.reserve(make_reservation(alice))
    assert (row.kind, row.budget, row.user_name) == ("grant", "person:day", "alice")
    assert (row.granted_nano_usd, row.cost_nano_usd) == (4_500_000, None)
    assert row.note == "Added to the budget for today by dora."
    request.refresh_from_db()
    assert (request.state, request.decided_by) == ("granted", "dora")
    assert request.granted_nano_usd == 4_500_000


def test_a_grant_is_for_one_person_and_one_budget(
    alice: User, bob: User, budget: Budget
) -> None:
    Budget.objects.create(period="month", limit_nano_usd=10 * DOLLAR)
    budgets.grant(alice, 3 * DOLLAR, budget="person:day")
    assert left_nano_usd(alice) == 4 * DOLLAR
    assert left_nano_usd(bob) == DOLLAR
    with pytest.raises(ValidationError, match="no such budget"):
        budgets.grant(alice, 1, budget="shared:day")


def test_a_grant_for_what_all_share_is_everybodys(alice: User, bob: User) -> None:
    Budget.objects.create(scope="shared", period="week", limit_nano_usd=DOLLAR)
    budgets.grant(alice, DOLLAR)
    assert left_nano_usd(bob) == 2 * DOLLAR


def test_a_grant_ends_with_its_period(
    alice: User, budget: Budget, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = datetime(2026, 3, 2, 12, tzinfo=UTC)
    monkeypatch.setattr(chain.timezone, "now", lambda: now)
    budgets.grant(alice, DOLLAR)
    assert left_nano_usd(alice) == 2 * DOLLAR
    monkeypatch.setattr(chain.timezone, "now", lambda: now + timedelta(days=1))
    assert left_nano_usd(alice) == DOLLAR


def test_a_grant_is_in_the_ledger_and_no_call(alice: User, budget: Budget) -> None:
    book(alice)
    budgets.grant(alice, DOLLAR)
    book(alice)
    assert verify().ok
    assert statistics.totals(alice).calls == 2
    assert len(list(export.lines("jsonl"))) == 2
    journal.fill_gaps()
    (line,) = [
        each for each in journal.path().read_text().splitlines() if '"grant"' in each
    ]
    assert '"budget":"person:day","granted_nano_usd":1000000000' in line
    assert verify().ok


def test_granting_again_returns_the_same_row(alice: User, budget: Budget) -> None:
    request = budget_requests.ask(alice, 5)
    assert budgets.grant(request).id == budgets.grant(request, 77).id
    grant_id = uuid.uuid4()
    first = budgets.grant(alice, 5, grant_id=grant_id)
    assert budgets.grant(alice, 5, grant_id=grant_id).id == first.id
    assert LedgerEntry.objects.filter(kind="grant").count() == 2


def test_a_decided_request_stays_decided(alice: User, budget: Budget) -> None:
    request = budget_requests.ask(alice, 5)
    assert budget_requests.decline(request)
    assert not budget_requests.decline(request)
    with pytest.raises(ValidationError, match="declined before"):
        budgets.grant(request)
    taken_back = budget_requests.ask(alice, 5)
    assert budget_requests.withdraw(alice)
    assert not budget_requests.withdraw(alice)
    with pytest.raises(ValidationError, match="withdrawn before"):
        budgets.grant(taken_back)
    assert not LedgerEntry.objects.exists()


def test_the_tightest_budget_is_meant(alice: User, budget: Budget) -> None:
    Budget.objects.create(period="month", limit_nano_usd=0)
    assert budget_requests.ask(alice, 5).budget == "person:month"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"amount_nano_usd": 0}, "more than 0"),
        ({"amount_nano_usd": 10**15 + 1}, "at most a million"),
        ({"amount_nano_usd": 5, "reason": "x" * 301}, "300 characters"),
        ({"amount_nano_usd": 5, "budget": "person:week"}, "no such budget"),
    ],
)
def test_what_cannot_be_asked(
    alice: User, budget: Budget, arguments: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ValidationError, match=sentence):
        budget_requests.ask(alice, **arguments)


def test_one_open_request_a_person(alice: User, bob: User, budget: Budget) -> None:
    budget_requests.ask(alice, 5)
    with pytest.raises(ValidationError, match="asked already"):
        budget_requests.ask(alice, 5)
    budget_requests.ask(bob, 5)
    assert budget_requests.open_request_count() == 2


def test_every_step_is_audited_without_the_reason(
    alice: User, admin_user: User, budget: Budget
) -> None:
    budgets.grant(budget_requests.ask(alice, DOLLAR, "a secret"), None, admin_user)
    budget_requests.decline(budget_requests.ask(alice, DOLLAR), admin_user)
    budget_requests.ask(alice, DOLLAR)
    assert budget_requests.withdraw(alice)
    assert not budget_requests.withdraw(alice)
    events = AuditEvent.objects.filter(event__startswith="budget.").order_by("id")
    assert [(each.event, each.actor_name, each.subject) for each in events] == [
        ("budget.requested", "alice", "alice"),
        ("budget.granted", "dora", "alice"),
        ("budget.requested", "alice", "alice"),
        ("budget.declined", "dora", "alice"),
        ("budget.requested", "alice", "alice"),
        ("budget.withdrawn", "alice", "alice"),
    ]
    assert "secret" not in str([each.detail for each in events])


def test_a_deleted_person_takes_requests_along_but_not_grants(
    alice: User, budget: Budget
) -> None:
    budgets.grant(budget_requests.ask(alice, 5))
    alice.delete()
    assert not BudgetRequest.objects.exists()
    assert LedgerEntry.objects.get().user_name == "alice"
    assert verify().ok
