"""The page about money."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable

import pytest
from asgiref.sync import sync_to_async
from django.db import connections
from django.test import AsyncClient, Client

from accounts.models import AuditEvent, User
from channels_app.web.money import LATEST_ROWS, write_amount
from ledger import entries
from ledger.models import Budget
from ledger.types import Prices
from tests.support.ledger import book, make_reservation

ClientFor = Callable[[User], Client]


@pytest.mark.parametrize(
    ("nano", "text"),
    [
        (None, "unknown"),
        (0, "$0.00"),
        (12_500_000_000, "$12.50"),
        (1_234_567_890_123, "$1234.57"),
        (999_999_999, "$1.00"),
        (120_000_000, "$0.12"),
        (3_100_000, "$0.0031"),
        (60_000, "$0.00006"),
        (1, "$0.000000001"),
        (-2_500_000_000, "-$2.50"),
    ],
)
def test_write_amount(nano: int | None, text: str) -> None:
    assert write_amount(nano) == text


@pytest.mark.django_db
class TestPage:
    """What people see."""

    def page(self, client: Client) -> str:
        """Return the page's text."""
        answer = client.get("/money/")
        assert answer.status_code == 200
        return answer.content.decode()

    def test_needs_a_person(self, client: Client) -> None:
        for address in ("/money/", "/money/ledger.csv"):
            assert client.get(address).status_code == 302

    def test_is_friendly_when_empty(self, alice: User, client_for: ClientFor) -> None:
        assert "Nothing booked yet" in self.page(client_for(alice))

    def test_shows_ones_own_sums_models_and_rows(
        self, alice: User, bob: User, client_for: ClientFor
    ) -> None:
        book(alice, preview="Plan <b>my</b> week")
        book(alice, model_id="mystery", prices=Prices(), outcome="interrupted")
        book(bob, model_id="bobs-model", preview="Private of bob")
        page = self.page(client_for(alice))
        assert "$0.00006" in page
        assert "2 calls, 1 of unknown cost" in page
        assert "unknown" in page
        assert "Plan &lt;b&gt;my&lt;/b&gt; week" in page
        assert "interrupted" in page
        for others in ("bobs-model", "Private of bob", "People this month"):
            assert others not in page

    def test_shows_administrators_amounts_of_all_and_texts_of_none(
        self, alice: User, admin_user: User, client_for: ClientFor
    ) -> None:
        book(alice, preview="Private of alice")
        page = self.page(client_for(admin_user))
        assert "People this month" in page
        assert "alice" in page
        assert "$0.00006" in page
        assert "Private of alice" not in page

    def test_shows_what_is_left_of_a_budget(
        self, alice: User, client_for: ClientFor
    ) -> None:
        assert "Left of your budget" not in self.page(client_for(alice))
        Budget.objects.create(user=None, period="day", limit_nano_usd=5_060_000)
        book(alice)
        assert '<div class="value">$0.005</div>' in self.page(client_for(alice))

    def test_shows_the_latest_rows_in_few_queries(
        self,
        alice: User,
        client_for: ClientFor,
        django_assert_max_num_queries: Callable[..., object],
    ) -> None:
        for number in range(LATEST_ROWS + 1):
            book(alice, preview=f"question-{number}-")
        entries.reserve(make_reservation(alice, preview="still open"))
        client = client_for(alice)
        with django_assert_max_num_queries(16):  # type: ignore[attr-defined]
            page = self.page(client)
        assert "question-0-" not in page
        assert "still open" not in page
        assert page.index(f"question-{LATEST_ROWS}-") < page.index("question-1-")

    def test_has_no_inline_style_or_script(
        self, alice: User, client_for: ClientFor
    ) -> None:
        book(alice)
        page = self.page(client_for(alice))
        assert "style=" not in page
        assert "onclick" not in page


@pytest.mark.django_db
def test_download_holds_ones_own_rows(
    alice: User, bob: User, client_for: ClientFor
) -> None:
    book(alice, preview="My plan")
    book(bob, preview="His plan")
    answer = client_for(alice).get("/money/ledger.csv")
    assert answer["Content-Type"] == "text/csv; charset=utf-8"
    assert answer["Content-Disposition"].startswith("attachment")
    text = b"".join(answer.streaming_content).decode()  # type: ignore[attr-defined]
    (row,) = csv.DictReader(io.StringIO(text))
    assert (row["user"], row["prompt_preview"]) == ("alice", "My plan")
    exported = AuditEvent.objects.get(event="ledger.exported")
    assert (exported.actor_name, exported.subject) == ("alice", "alice")


@pytest.mark.django_db
def test_download_of_an_administrator_holds_only_their_own_rows(
    alice: User, admin_user: User, client_for: ClientFor
) -> None:
    book(alice, preview="My plan")
    answer = client_for(admin_user).get("/money/ledger.csv")
    text = b"".join(answer.streaming_content).decode()  # type: ignore[attr-defined]
    assert list(csv.DictReader(io.StringIO(text))) == []


@pytest.mark.django_db(transaction=True)
async def test_download_streams_under_the_real_server_too(
    alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("channels_app.web.money._CHUNK_LINES", 2)
    try:
        for _ in range(3):
            await sync_to_async(book)(alice)
        client = AsyncClient()
        await client.aforce_login(alice)
        answer = await client.get("/money/ledger.csv")
        stream = answer.streaming_content  # type: ignore[attr-defined]
        chunks = [chunk async for chunk in stream]
    finally:
        await sync_to_async(connections.close_all)()
    assert len(chunks) == 2
    assert len(b"".join(chunks).splitlines()) == 4
