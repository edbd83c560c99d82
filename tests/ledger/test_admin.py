"""The ledger in the admin."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.test import Client

from accounts.models import AuditEvent, User
from ledger.models import Budget
from ledger.types import Prices
from tests.support.ledger import book

pytestmark = pytest.mark.django_db

BUDGETS = "/admin/ledger/budget/"
ClientFor = Callable[[User], Client]


def test_rows_show_unknown_costs_and_no_text(
    admin_user: User, alice: User, client_for: ClientFor
) -> None:
    book(alice, preview="A secret plan")
    book(alice, prices=Prices())
    client = client_for(admin_user)
    for address in ("", "2/change/", "4/change/"):
        page = client.get(f"/admin/ledger/ledgerentry/{address}").content.decode()
        assert "secret" not in page
    page = client.get("/admin/ledger/ledgerentry/").content.decode()
    assert "0.00006" in page
    assert "unknown" in page


def test_previews_are_not_in_the_admin(admin_user: User, client_for: ClientFor) -> None:
    address = "/admin/ledger/ledgerpreview/"
    assert client_for(admin_user).get(address).status_code == 404


def test_members_see_no_admin(alice: User, client_for: ClientFor) -> None:
    assert client_for(alice).get("/admin/ledger/ledgerentry/").status_code != 200


def test_a_budget_is_typed_in_dollars(
    admin_user: User, alice: User, client_for: ClientFor
) -> None:
    client = client_for(admin_user)
    values = {
        "user": alice.pk,
        "scope": "person",
        "period": "month",
        "limit_usd": "12.345",
    }
    assert client.post(f"{BUDGETS}add/", values).status_code == 302
    budget = Budget.objects.get()
    assert budget.limit_nano_usd == 12_345_000_000
    page = client.get(f"{BUDGETS}{budget.pk}/change/").content.decode()
    assert 'value="12.345"' in page
    values["limit_usd"] = "0"
    assert client.post(f"{BUDGETS}{budget.pk}/change/", values).status_code == 302
    budget.refresh_from_db()
    assert budget.limit_nano_usd == 0
    assert "alice" in client.get(BUDGETS).content.decode()
    removal = client.post(f"{BUDGETS}{budget.pk}/delete/", {"post": "yes"})
    assert removal.status_code == 302
    events = AuditEvent.objects.filter(event__startswith="budget.").order_by("id")
    assert [(each.event, each.actor_name) for each in events] == [
        ("budget.set", admin_user.username),
        ("budget.set", admin_user.username),
        ("budget.removed", admin_user.username),
    ]


def test_a_shared_budget_has_no_person(
    admin_user: User, alice: User, client_for: ClientFor
) -> None:
    values = {
        "user": alice.pk,
        "scope": "shared",
        "period": "day",
        "limit_usd": "1",
    }
    page = client_for(admin_user).post(f"{BUDGETS}add/", values)
    assert "A shared budget belongs to nobody alone." in page.content.decode()
    assert not Budget.objects.exists()


@pytest.mark.parametrize("whose", ["alice", "everybody"])
def test_a_second_budget_for_a_period_is_one_sentence(
    admin_user: User, alice: User, client_for: ClientFor, whose: str
) -> None:
    user = alice if whose == "alice" else None
    Budget.objects.create(user=user, period="day", limit_nano_usd=1)
    values = {
        "user": user.pk if user else "",
        "scope": "person",
        "period": "day",
        "limit_usd": "1",
    }
    client = client_for(admin_user)
    page = client.post(f"{BUDGETS}add/", values)
    assert page.status_code == 200
    assert "There is already a budget for this period." in page.content.decode()
    assert Budget.objects.count() == 1


@pytest.mark.parametrize("limit", ["-1", "", "lots", "1e12"])
def test_a_limit_must_be_an_amount(
    admin_user: User, client_for: ClientFor, limit: str
) -> None:
    values = {"user": "", "scope": "person", "period": "day", "limit_usd": limit}
    page = client_for(admin_user).post(f"{BUDGETS}add/", values)
    assert page.status_code == 200
    assert not Budget.objects.exists()
