"""Asking for more and granting it in a real browser, without any JavaScript."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.support.browser import Seen
from tests.support.browser_fixtures import Site

Opener = Callable[..., tuple[Page, Seen]]
PHONE = {"width": 360, "height": 800}


@pytest.fixture(scope="module")
def budgeted(site: Site) -> Site:
    """Give bob half a dollar a day, of which he used most."""
    site.server.manage("ledger", "budget", "set", "0.50", "--period", "day")
    site.server.manage(
        "shell",
        "-c",
        "from accounts.models import User\n"
        "from tests.support.ledger import book\n"
        "book(User.objects.get(username='bob'), input_tokens=150_000)\n",
    )
    return site


def test_bob_asks_and_alice_grants_in_one_click(
    budgeted: Site, open_page: Opener
) -> None:
    plain: dict[str, Any] = {"java_script_enabled": False, "viewport": PHONE}
    his, seen_by_him = open_page("bob", **plain)
    his.goto(f"{budgeted.url}/money/budgets/")
    expect(his.locator(".figure .value")).to_have_text("$0.05")
    his.get_by_label("How much more (USD)").fill("2")
    his.get_by_label("What for").fill("A long report")
    his.get_by_role("button", name="Ask the administrators").click()
    expect(his.get_by_text("You asked for $2.00 more")).to_be_visible()

    hers, seen_by_her = open_page("alice", **plain)
    hers.goto(f"{budgeted.url}/money/budgets/")
    expect(hers.get_by_text("“A long report”")).to_be_visible()
    for page in (his, hers):
        width = page.locator("html").evaluate("each => each.scrollWidth")
        assert width <= PHONE["width"]
    hers.get_by_role("button", name="Grant $2.00").click()
    expect(hers.get_by_text("“bob” has $2.00 more.")).to_be_visible()
    expect(hers.get_by_text("Who asks for more")).to_have_count(0)

    his.reload()
    expect(his.locator(".figure .value")).to_have_text("$2.05")
    expect(his.get_by_text("granted by alice")).to_be_visible()
    seen_by_him.assert_clean()
    seen_by_her.assert_clean()
