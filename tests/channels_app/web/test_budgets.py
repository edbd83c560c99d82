"""The page about budgets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.core import mail
from django.core.cache import cache
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts.models import AuditEvent, User
from ledger import budget_requests, budget_settings
from ledger.models import Budget, BudgetRequest, LedgerEntry
from tests.support.ledger import book, left_nano_usd

pytestmark = pytest.mark.django_db

ClientFor = Callable[[User], Client]
PAGE = "/money/budgets/"


@pytest.fixture(autouse=True)
def no_mail_yet() -> None:
    """Forget who caused a mail in an earlier test."""
    cache.clear()


@pytest.fixture
def budget(alice: User) -> Budget:
    """Alice's two dollars a day."""
    return Budget.objects.create(user=alice, period="day", limit_nano_usd=2_000_000_000)


def text(client: Client, address: str = PAGE) -> str:
    answer = client.get(address)
    assert answer.status_code == 200
    return answer.content.decode()


def post(client: Client, address: str, **values: Any) -> Any:
    return client.post(PAGE + address, values, follow=True)


def ask(client: Client, **changes: Any) -> Any:
    values = {"budget": "person:day", "amount": "1.5", "reason": "A long night"}
    return post(client, "ask/", **values | changes)


def test_without_a_budget_there_is_nothing_to_ask(
    alice: User, client_for: ClientFor
) -> None:
    page = text(client_for(alice))
    assert "Nobody has set a budget for you" in page
    assert "Ask the administrators" not in page
    assert ask(client_for(alice)).status_code == 400
    assert not BudgetRequest.objects.exists()


def test_a_person_sees_their_own_budgets_only(
    alice: User, bob: User, budget: Budget, client_for: ClientFor
) -> None:
    Budget.objects.create(user=bob, period="week", limit_nano_usd=77_000_000_000)
    Budget.objects.create(scope="shared", period="month", limit_nano_usd=10**10)
    book(alice, input_tokens=100_000)
    page = text(client_for(alice))
    assert "Your budget for today" in page
    assert "$1.70" in page
    assert "Everybody's shared budget for this month" in page.replace("&#x27;", "'")
    assert "$77.00" not in page
    assert "All budgets" not in page


def test_asking_reaches_the_administrators(
    alice: User, admin_user: User, budget: Budget, client_for: ClientFor
) -> None:
    page = ask(client_for(alice)).content.decode()
    assert "The administrators have your request." in page
    assert "You asked for $1.50 more" in page
    assert "A long night" in page
    (message,) = mail.outbox
    assert message.to == [admin_user.email]
    assert "alice asks for $1.50 more for the budget for today." in message.body
    assert "A long night" in message.body
    assert f"{PAGE}\n" in message.body
    seen = text(client_for(admin_user))
    assert "Who asks for more" in seen
    assert "A long night" in seen
    assert "Grant $1.50" in seen
    # Every page tells an administrator, and nobody else, that somebody waits.
    waiting = '<span class="visually-hidden">, waiting: </span>1'
    assert waiting in text(client_for(admin_user), "/money/")
    assert waiting not in text(client_for(alice), "/money/")


def test_no_mail_where_mails_are_only_printed(
    alice: User, admin_user: User, budget: Budget, client_for: ClientFor, settings: Any
) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.console.EmailBackend"
    assert ask(client_for(alice)).status_code == 200
    assert BudgetRequest.objects.count() == 1


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"amount": "0"}, "Enter an amount above 0."),
        ({"amount": "-3"}, "Enter an amount above 0."),
        ({"amount": "lots"}, "Enter a number."),
        ({"amount": "9999999"}, "at most $1,000,000"),
        ({"reason": "x" * 301}, "at most 300 characters"),
        ({"budget": "person:month"}, "not one of the available choices"),
    ],
)
def test_what_cannot_be_asked_is_kept_in_the_form(
    alice: User,
    budget: Budget,
    client_for: ClientFor,
    changes: dict[str, str],
    sentence: str,
) -> None:
    answer = ask(client_for(alice), **changes)
    assert answer.status_code == 400
    page = answer.content.decode()
    assert sentence in page
    if "reason" not in changes:
        assert "A long night" in page
    assert not BudgetRequest.objects.exists()


def test_one_request_at_a_time(
    alice: User, budget: Budget, client_for: ClientFor
) -> None:
    client = client_for(alice)
    ask(client)
    assert ask(client).status_code == 409
    assert BudgetRequest.objects.count() == 1
    assert "withdrawn" in post(client, "withdraw/").content.decode()
    assert ask(client).status_code == 200
    assert BudgetRequest.objects.count() == 2


def test_granting_twice_grants_once(
    alice: User, admin_user: User, budget: Budget, client_for: ClientFor
) -> None:
    ask(client_for(alice))
    request = BudgetRequest.objects.get()
    client = client_for(admin_user)
    for _ in range(2):
        page = post(client, f"requests/{request.pk}/grant/").content.decode()
        assert "“alice” has $1.50 more." in page
    row = LedgerEntry.objects.get()
    assert (row.kind, row.granted_nano_usd) == ("grant", 1_500_000_000)
    assert left_nano_usd(alice) == 3_500_000_000
    assert "granted by dora" in text(client_for(alice))
    events = list(AuditEvent.objects.filter(event__startswith="budget.").order_by("id"))
    assert [each.event for each in events] == ["budget.requested", "budget.granted"]
    assert "long night" not in str([each.detail for each in events])


def test_granting_another_amount(
    alice: User, admin_user: User, budget: Budget, client_for: ClientFor
) -> None:
    ask(client_for(alice))
    address = f"requests/{BudgetRequest.objects.get().pk}/grant/"
    client = client_for(admin_user)
    assert "Enter a number." in post(client, address, amount="x").content.decode()
    assert "has $0.25 more" in post(client, address, amount="0.25").content.decode()
    assert "granted with $0.25 by dora" in text(client_for(alice))


def test_declining(
    alice: User, admin_user: User, budget: Budget, client_for: ClientFor
) -> None:
    ask(client_for(alice))
    request = BudgetRequest.objects.get()
    client = client_for(admin_user)
    page = post(client, f"requests/{request.pk}/decline/").content.decode()
    assert "The request is declined." in page
    page = post(client, f"requests/{request.pk}/decline/").content.decode()
    assert "answered already" in page
    page = post(client, f"requests/{request.pk}/grant/").content.decode()
    assert "The request was declined before." in page
    assert not LedgerEntry.objects.exists()
    assert "declined by dora" in text(client_for(alice))


def test_administrators_set_change_and_remove_budgets(
    alice: User, admin_user: User, client_for: ClientFor
) -> None:
    client = client_for(admin_user)
    values = {"user": "alice", "scope": "person", "period": "week", "limit": "12.345"}
    page = post(client, "add/", **values, hard="on", roll_over="on").content.decode()
    assert "The budget is set." in page
    assert "refuses, rolls over" in page
    budget = Budget.objects.get()
    assert (budget.limit_nano_usd, budget.hard) == (12_345_000_000, True)
    assert 'value="12.345"' in text(client, f"{PAGE}{budget.pk}/")
    assert client.post(f"{PAGE}{budget.pk}/", {"limit": "x"}).status_code == 400
    post(client, f"{budget.pk}/", limit="3")
    budget.refresh_from_db()
    assert (budget.limit_nano_usd, budget.hard, budget.roll_over) == (
        3_000_000_000,
        False,
        False,
    )
    page = post(client, f"{budget.pk}/remove/").content.decode()
    assert "The budget is removed." in page
    assert not Budget.objects.exists()
    events = AuditEvent.objects.filter(event__startswith="budget.").order_by("id")
    assert [(each.event, each.subject, each.actor_name) for each in events] == [
        ("budget.set", "alice", admin_user.username),
        ("budget.set", "alice", admin_user.username),
        ("budget.removed", "alice", admin_user.username),
    ]


def test_a_shared_budget_has_no_person(
    alice: User, admin_user: User, client_for: ClientFor
) -> None:
    values = {"user": "alice", "scope": "shared", "period": "day", "limit": "1"}
    answer = post(client_for(admin_user), "add/", **values)
    assert answer.status_code == 400
    assert "belongs to nobody alone" in answer.content.decode()
    assert not Budget.objects.exists()


def test_giving_unasked_happens_once_a_form(
    alice: User, admin_user: User, budget: Budget, client_for: ClientFor
) -> None:
    client = client_for(admin_user)
    page = text(client)
    grant_id = page.split('name="grant_id" value="')[1].split('"')[0]
    for _ in range(2):
        page = post(
            client, "give/", user="alice", amount="4", grant_id=grant_id
        ).content.decode()
        assert "“alice” has $4.00 more." in page
    assert LedgerEntry.objects.count() == 1
    assert post(client, "give/", user="alice", amount="4").status_code == 400


def test_members_reach_nothing_of_administrators(
    alice: User, bob: User, budget: Budget, client_for: ClientFor
) -> None:
    request = budget_requests.ask(alice, 5)
    client = client_for(bob)
    addresses = [
        "add/",
        "give/",
        f"{budget.pk}/",
        f"{budget.pk}/remove/",
        f"requests/{request.pk}/grant/",
        f"requests/{request.pk}/decline/",
    ]
    for address in addresses:
        assert client.post(PAGE + address).status_code == 404
        assert client.get(PAGE + address).status_code in {404, 405}
    assert not LedgerEntry.objects.exists()
    assert Budget.objects.count() == 1


def test_has_no_inline_style_or_script(
    alice: User, admin_user: User, budget: Budget, client_for: ClientFor
) -> None:
    ask(client_for(alice))
    for client in (client_for(alice), client_for(admin_user)):
        page = text(client)
        assert "style=" not in page
        assert "onclick" not in page
        ids = [part.split('"')[0] for part in page.split(' id="')[1:]]
        assert len(ids) == len(set(ids))


def test_many_people_do_not_make_many_queries(
    alice: User, admin_user: User, client_for: ClientFor
) -> None:
    client = client_for(admin_user)
    client.get(PAGE)
    counts = []
    for number in (2, 20):
        for each in range(number):
            user = User.objects.create_user(f"person{number}x{each}")
            Budget.objects.create(
                user=user, period="day", limit_nano_usd=10**9, roll_over=True
            )
            book(user)
            budget_requests.ask(user, 10**6)
        with CaptureQueriesContext(connection) as seen:
            page = text(client)
        assert page.count("Grant $0.001<") == page.count("asked <time")
        counts.append(len(seen))
    assert counts[1] <= counts[0] + 1
    assert counts[1] < 40


def test_asking_again_and_again_causes_one_mail_an_hour(
    alice: User, admin_user: User, budget: Budget, client_for: ClientFor
) -> None:
    client = client_for(alice)
    for _ in range(3):
        ask(client)
        post(client, "withdraw/")
    ask(client)
    assert len(mail.outbox) == 1
    assert "Who asks for more" in text(client_for(admin_user))
    cache.clear()  # as after an hour
    post(client, "withdraw/")
    ask(client)
    assert len(mail.outbox) == 2


def test_a_budget_that_was_removed_is_not_made_anew(
    admin_user: User,
    budget: Budget,
    client_for: ClientFor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client = client_for(admin_user)
    assert client.put(f"{PAGE}{budget.pk}/").status_code == 405
    assert client.delete(f"{PAGE}{budget.pk}/").status_code == 405
    change = budget_settings.change_budget

    def after_removal(*args: Any, **more: Any) -> Budget:
        Budget.objects.all().delete()
        return change(*args, **more)

    monkeypatch.setattr(budget_settings, "change_budget", after_removal)
    answer = client.post(f"{PAGE}{budget.pk}/", {"limit": "3"})
    assert answer.status_code == 404
    assert not Budget.objects.exists()


def test_times_are_those_of_the_reader(
    alice: User, admin_user: User, budget: Budget, client_for: ClientFor
) -> None:
    admin_user.time_zone = "Asia/Tokyo"
    admin_user.save()
    asked = budget_requests.ask(alice, 5)
    moment = asked.created_at.astimezone(ZoneInfo("Asia/Tokyo"))
    assert f"{moment:%H:%M} JST" in text(client_for(admin_user))
