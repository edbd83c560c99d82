"""The pages about money: one's own, and everybody's for administrators."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import User
from channels_app.web.money import LATEST_ROWS
from ledger import entries
from ledger.models import Budget
from ledger.types import Prices
from personas.conversations import start_conversation
from personas.models import Conversation, Message, Persona
from routing.models import Host, Model
from tests.support.ledger import book, make_caller, make_reservation

ClientFor = Callable[[User], Client]


def page(client: Client, address: str = "/money/") -> str:
    """Return a page's text."""
    answer = client.get(address)
    assert answer.status_code == 200
    return answer.content.decode()


def words(html: str) -> str:
    """Return what a page says, without tags and with single spaces."""
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


def table(html: str, caption: str) -> str:
    """Return what one table of the page says."""
    (found,) = re.findall(rf"<caption>{caption}</caption>.*?</table>", html, re.S)
    return words(found)


def chart_rows(html: str) -> list[dict[str, str]]:
    """Return the data of the chart, oldest first."""
    rows = re.findall(r"<tr (data-label=[^>]*)>", html)
    return [dict(re.findall(r'data-(\w+)="([^"]*)"', row)) for row in rows]


def talk(persona: Persona, title: str, cost: int | None) -> Conversation:
    """Write a conversation with one answer that cost so much."""
    chat = start_conversation(persona.owner, persona)
    Conversation.objects.filter(pk=chat.pk).update(title=title)
    Message.objects.create(
        conversation=chat,
        owner=persona.owner,
        role="assistant",
        attempts=1,
        cost_nano_usd=cost,
    )
    return chat


def top_model() -> Model:
    """Return a model of tier 3 for 15 and 75 dollars per million tokens."""
    host = Host.objects.create(name="Vendor", type="local_openai", base_url="http://h")
    return Model.objects.create(
        host=host,
        label="opus",
        name="opus",
        tier=3,
        input_price_nano_usd_per_mtok=15_000_000_000,
        output_price_nano_usd_per_mtok=75_000_000_000,
    )


@pytest.mark.django_db
class TestOwnPage:
    """What people see of their own calls."""

    def test_needs_a_person(self, client: Client) -> None:
        for address in ("/money/", "/money/everybody/"):
            assert client.get(address).status_code == 302

    def test_is_friendly_when_empty(self, alice: User, client_for: ClientFor) -> None:
        shown = page(client_for(alice))
        assert "Nothing booked yet" in shown
        assert "uPlot" not in shown

    def test_shows_ones_own_sums_and_rows(
        self, alice: User, bob: User, client_for: ClientFor
    ) -> None:
        book(alice, preview="Plan <b>my</b> week")
        book(alice, model_id="mystery", prices=Prices(), outcome="interrupted")
        book(bob, model_id="bobs-model", preview="Private of bob")
        shown = page(client_for(alice))
        assert "$0.00006" in shown
        assert "2 calls, 1 of unknown cost" in words(shown)
        assert "Plan &lt;b&gt;my&lt;/b&gt; week" in shown
        assert "interrupted" in shown
        for others in ("bobs-model", "Private of bob", "Everybody"):
            assert others not in shown

    def test_shows_where_the_money_went(
        self, alice: User, client_for: ClientFor
    ) -> None:
        caller = make_caller(alice, persona_name="tina", channel="nextcloud_talk")
        book(alice, input_tokens=30)
        book(alice, caller=caller, role="classify", model_id="opus", input_tokens=10)
        book(alice, model_id="mystery", prices=Prices())
        shown = page(client_for(alice))
        assert table(shown, "Models").endswith(
            "haiku 67 % $0.00012 1 30 2 opus 33 % $0.00006 1 10 2 "
            "mystery – unknown 1 10 2"
        )
        assert table(shown, "Personas").endswith(
            "inara 67 % $0.00012 + 1 unknown 2 40 4 tina 33 % $0.00006 1 10 2"
        )
        assert "classify 33 % $0.00006" in table(shown, "Model roles")
        assert "nextcloud_talk 33 % $0.00006" in table(shown, "Channels")
        assert '<meter min="0" max="1000" value="1000"' in shown
        assert '<meter min="0" max="1000" value="500"' in shown

    def test_marks_what_a_subscription_covers(
        self, alice: User, client_for: ClientFor
    ) -> None:
        book(alice, billing="notional")
        shown = words(page(client_for(alice)))
        assert "Today $0.00 and $0.00006 by subscription 1 call" in shown
        assert "$0.00 + $0.00006 by subscription" in shown
        assert "$0.00006 by subscription 10 → 2" in shown

    def test_the_chart_has_a_bar_for_each_day_or_month(
        self, alice: User, client_for: ClientFor
    ) -> None:
        book(alice)
        book(alice, billing="notional")
        book(alice, prices=Prices())
        client = client_for(alice)
        days = chart_rows(page(client))
        months = chart_rows(page(client, "/money/?chart=month"))
        assert (len(days), len(months)) == (30, 12)
        now = datetime.now(UTC)
        assert days[-1]["label"] == f"{now.day} {now:%b}"
        for bar in (days[-1], months[-1]):
            assert bar["paid"] == bar["covered"] == "60000"
            assert (bar["calls"], bar["unknown"]) == ("3", "1")
        assert {bar["calls"] for bar in days[:-1] + months[:-1]} == {"0"}

    def test_a_day_of_unknown_cost_is_not_a_day_of_nothing(
        self, alice: User, client_for: ClientFor
    ) -> None:
        book(alice, prices=Prices())
        (chart,) = re.findall(
            r"data-chart-rows.*?</table>", page(client_for(alice)), re.S
        )
        assert words(chart).endswith("unknown – 1 1")

    @pytest.mark.parametrize(
        ("address", "current"),
        [
            ("/money/", "This month"),
            ("/money/?period=today", "Today"),
            ("/money/?period=all&chart=month", "All time"),
            ("/money/?period=nonsense&chart=nonsense", "This month"),
        ],
    )
    def test_the_period_can_be_chosen(
        self, alice: User, client_for: ClientFor, address: str, current: str
    ) -> None:
        book(alice)
        shown = page(client_for(alice), address)
        assert f'aria-current="true">{current}</a>' in shown
        chart = "month" if "chart=month" in address else "day"
        assert f'href="?period=week&amp;chart={chart}#shares"' in shown

    def test_sums_begin_with_the_period(
        self, alice: User, client_for: ClientFor, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        book(alice)
        later = timezone.now() + timedelta(days=3)
        monkeypatch.setattr("django.utils.timezone.now", lambda: later)
        client = client_for(alice)
        assert "haiku" in table(page(client, "/money/?period=week"), "Models")
        shown = page(client, "/money/?period=today")
        assert "<caption>" not in shown
        assert [bar["calls"] for bar in chart_rows(shown)][-4:] == ["1", "0", "0", "0"]

    def test_the_costliest_conversations_are_ones_own(
        self, alice: User, persona: Persona, bob: User, client_for: ClientFor
    ) -> None:
        chat = talk(persona, "A <i>dear</i> talk", 2_000_000_000)
        talk(persona, "", None)
        book(alice)
        book(bob)
        shown = page(client_for(alice))
        assert f'<a href="/c/{chat.pk}">A &lt;i&gt;dear&lt;/i&gt; talk</a>' in shown
        assert "Untitled chat Inara 1 unknown" in words(shown)
        assert "dear" not in page(client_for(bob))

    def test_shows_what_was_saved_or_why_that_is_unknown(
        self, alice: User, client_for: ClientFor
    ) -> None:
        client = client_for(alice)
        book(alice)
        saved = "Saved, this month"
        assert f"{saved} – No figure: no model of tier 3 has a known price." in words(
            page(client)
        )
        top_model()
        # 10 × 12 $ + 2 × 60 $ per million tokens
        assert f"{saved} $0.00024 against always asking opus" in words(page(client))
        book(alice, prices=Prices())
        assert f"{saved} – No figure: 1 call is of unknown cost." in words(page(client))

    def test_shows_what_is_left_of_a_budget(
        self, alice: User, client_for: ClientFor
    ) -> None:
        client = client_for(alice)
        assert "Left of" not in page(client)
        Budget.objects.create(user=None, period="day", limit_nano_usd=240_000)
        book(alice, estimated_input_tokens=10, max_output_tokens=2)
        shown = page(client)
        assert "Left of your budget for today $0.00018 75 % 75 % of $0.00024" in words(
            shown
        )
        assert 'value="75" aria-label="Left of your budget for today"' in shown
        assert 'href="/money/budgets/"' in shown

    def test_shows_the_latest_rows_in_few_queries(
        self,
        alice: User,
        client_for: ClientFor,
        django_assert_max_num_queries: Callable[..., Any],
    ) -> None:
        for number in range(LATEST_ROWS + 1):
            book(alice, preview=f"question-{number}-")
        entries.reserve(make_reservation(alice, preview="still open"))
        client = client_for(alice)
        with django_assert_max_num_queries(24):
            shown = page(client)
        assert "question-0-" not in shown
        assert "still open" not in shown
        assert shown.index(f"question-{LATEST_ROWS}-") < shown.index("question-1-")

    def test_has_no_inline_style_or_script(
        self, alice: User, client_for: ClientFor
    ) -> None:
        book(alice)
        shown = page(client_for(alice))
        assert "style=" not in shown
        assert "onclick" not in shown
        assert not re.search(r"<script(?![^>]* src=)", shown)


@pytest.mark.django_db
class TestEverybody:
    """What administrators see of all people's calls."""

    def test_members_learn_of_no_such_page(
        self, charlie: User, client_for: ClientFor
    ) -> None:
        client = client_for(charlie)
        assert client.get("/money/everybody/").status_code == 404
        assert "everybody" not in page(client)

    def test_shows_amounts_of_all_and_texts_of_none(
        self, alice: User, persona: Persona, admin_user: User, client_for: ClientFor
    ) -> None:
        talk(persona, "A talk of alice", 5)
        book(alice, preview="Private of alice")
        client = client_for(admin_user)
        shown = page(client, "/money/everybody/")
        assert table(shown, "People").endswith("alice 100 % $0.00006 1 10 2")
        assert [row["calls"] for row in chart_rows(shown)][-1] == "1"
        for secret in ("Private of alice", "A talk of alice", "inara"):
            assert secret not in shown
        assert "alice" not in page(client, "/money/")

    def test_shows_what_all_saved_together(
        self, alice: User, bob: User, admin_user: User, client_for: ClientFor
    ) -> None:
        top_model()
        book(alice)
        book(bob)
        shown = words(page(client_for(admin_user), "/money/everybody/"))
        assert "Saved, this month $0.00048 against always asking opus" in shown

    def test_is_friendly_when_empty(
        self, admin_user: User, client_for: ClientFor
    ) -> None:
        assert "No calls in this time." in page(
            client_for(admin_user), "/money/everybody/"
        )


@pytest.mark.django_db
@pytest.mark.parametrize("address", ["/money/?period=all", "/money/everybody/"])
def test_the_ledger_is_passed_over_a_few_times_only(
    admin_user: User, client_for: ClientFor, address: str
) -> None:
    client = client_for(admin_user)
    book(admin_user, model_id="opus", prices=Prices())
    page(client, address)
    with CaptureQueriesContext(connection) as seen:
        page(client, address)
    sums = [each["sql"] for each in seen if "SUM(" in each["sql"]]
    sums = [each for each in sums if "ledger_ledgerentry" in each]
    assert len(sums) <= 3
    for sql in sums:
        assert "EXISTS" not in sql  # asked of each row it triples the time
        assert "django_datetime" not in sql  # a function of Python for each row


@pytest.mark.django_db
def test_many_people_do_not_make_many_queries(
    admin_user: User, client_for: ClientFor
) -> None:
    top_model()
    client = client_for(admin_user)
    book(admin_user)
    page(client, "/money/everybody/")
    counts = []
    for number in (2, 20):
        for each in range(number):
            book(User.objects.create_user(f"person{number}x{each}"))
        with CaptureQueriesContext(connection) as seen:
            page(client, "/money/everybody/")
        counts.append(len(seen))
    assert counts[0] == counts[1] < 30
