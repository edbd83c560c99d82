"""Briefs in a real browser: chosen in plain words, run, and made of a chat."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.support.browser import Seen, send, wait_for_answer
from tests.support.browser_fixtures import Site

Opener = Callable[..., tuple[Page, Seen]]
PHONE = {"width": 375, "height": 760}
PATIENCE_MS = 30_000
"""The worker looks for work at least once a second, when the machine is idle."""


@pytest.fixture(scope="module")
def priced(site: Site) -> Site:
    """Say what the first model costs, and where people live."""
    site.server.manage(
        "shell",
        "-c",
        "from accounts.models import User\n"
        "from routing.models import Model\n"
        "User.objects.update(time_zone='Europe/Berlin')\n"
        "Model.objects.filter(label='echo').update(\n"
        "    input_price_nano_usd_per_mtok=10**9,\n"
        "    output_price_nano_usd_per_mtok=5 * 10**9)\n",
    )
    return site


def new_brief(site: Site, page: Page) -> Any:
    """Open the form and return the part that says what it means."""
    page.goto(f"{site.url}/jobs/briefs/new/")
    return page.locator("#brief-preview")


def fits(page: Page) -> bool:
    width = page.evaluate("document.documentElement.scrollWidth")
    return bool(width <= page.viewport_size["width"])  # type: ignore[index]


def test_a_brief_is_made_in_plain_words_and_its_answer_arrives(
    priced: Site, open_page: Opener
) -> None:
    page, seen = open_page()
    preview = new_brief(priced, page)
    expect(preview).to_contain_text("Every day at 07:00 (Europe/Berlin)")
    expect(preview.get_by_role("listitem")).to_have_count(5)

    # The next runs and the price follow what is typed.
    page.get_by_text("Certain weekdays").click()
    expect(preview).to_contain_text("Choose at least one day.")
    page.get_by_text("Tuesday").click()
    page.get_by_label("At", exact=True).fill("06:45")
    expect(preview).to_contain_text("Every Tuesday at 06:45 (Europe/Berlin)")
    expect(preview.get_by_role("listitem").first).to_contain_text("Tue")
    page.get_by_label("Time zone").select_option("Asia/Tokyo")
    expect(preview).to_contain_text("(Asia/Tokyo)")
    page.get_by_text("Advanced").click()
    page.get_by_label("Cron expression").fill("*/15 8-9 * * *")
    expect(preview).to_contain_text("08:15")
    page.get_by_text("Monday to Friday").click()
    expect(preview).to_contain_text("Every weekday at 06:45 (Asia/Tokyo)")
    expect(preview).to_contain_text("Once it is clear who is asked and what")
    page.get_by_label("What to ask").fill("Say bread and butter")
    expect(preview).to_contain_text(re.compile(r"About \$0\.00\d+ a run"))
    expect(preview).to_contain_text("answered by echo")

    # Tried once, before anything is saved: the real answer and its real cost.
    page.get_by_role("button", name="Try it once now").click()
    tried = page.locator("#brief-try")
    expect(tried).to_contain_text("Answered by echo, $0.0", timeout=PATIENCE_MS)
    expect(tried.get_by_role("region")).to_contain_text("bread and butter")

    # Enter saves; it is refused in its place, and nothing is lost.
    page.get_by_label("Name", exact=True).press("Enter")
    assert page.url.endswith("/new/")
    page.get_by_label("Name", exact=True).fill("Breakfast")
    page.get_by_label("Name", exact=True).press("Enter")
    expect(page.get_by_role("heading", name="Breakfast", level=1)).to_be_visible()
    expect(page.get_by_text("It has not run yet.")).to_be_visible()

    page.get_by_role("button", name="Run now").click()
    row = page.locator("#brief-runs tbody tr")
    expect(row).to_have_count(1)
    expect(row).to_contain_text("by hand")
    expect(row.locator(".badge").first).to_have_text("done", timeout=PATIENCE_MS)
    expect(row).to_contain_text("echo")
    row.get_by_role("link", name="Answer").click()
    expect(page.locator(".mine")).to_contain_text("Say bread and butter")
    expect(page.locator(".answer")).to_contain_text("bread and butter")

    page.goto(f"{priced.url}/jobs/briefs/")
    card = page.locator(".brief", has_text="Breakfast")
    expect(card).to_contain_text("Every weekday at 06:45 (Asia/Tokyo)")
    expect(card).to_contain_text("done")
    card.get_by_role("button", name="Pause Breakfast").click()
    expect(card.get_by_text("Paused")).to_be_visible()
    seen.assert_clean()


def test_a_conversation_is_made_a_brief_that_goes_on_in_it(
    priced: Site, open_page: Opener
) -> None:
    page, seen = open_page()
    page.goto(f"{priced.url}/?persona=tina")
    send(page, "Which tests failed last night?")
    wait_for_answer(page)
    chat = page.url
    item = page.locator(".chat-item", has_text="Which tests failed")
    item.hover()
    item.locator("summary").click()
    item.get_by_role("link", name="Make this a brief").click()
    expect(page.get_by_label("What to ask")).to_have_value(
        "Which tests failed last night?"
    )
    expect(page.get_by_label("Who answers")).to_have_value("tina")
    expect(page.get_by_label(re.compile("In “Which tests failed"))).to_be_checked()
    page.get_by_role("button", name="Make this brief").click()
    page.get_by_role("button", name="Run now").click()
    done = page.locator("#brief-runs .badge.good")
    expect(done).to_have_text("done", timeout=PATIENCE_MS)
    page.goto(chat)
    expect(page.locator(".mine")).to_have_count(2)
    expect(page.locator(".answer")).to_have_count(2)
    seen.assert_clean()


def test_it_fits_a_phone(priced: Site, open_page: Opener) -> None:
    page, seen = open_page(viewport=PHONE, color_scheme="dark")
    page.goto(f"{priced.url}/jobs/briefs/")
    assert fits(page)
    preview = new_brief(priced, page)
    assert fits(page)
    for how in ("Certain weekdays", "Once a month", "Every few hours", "Advanced"):
        page.get_by_text(how).click()
        assert fits(page), how
    page.get_by_text("Once a month").click()
    page.get_by_label("On day").select_option("L")
    expect(preview).to_contain_text("On the last day of every month at 07:00")
    page.get_by_label("Name", exact=True).fill("A name of many words, all of them long")
    page.get_by_label("What to ask").fill("Sum up the month")
    page.get_by_role("button", name="Make this brief").click()
    page.get_by_role("button", name="Run now").click()
    expect(page.locator("#brief-runs .badge.good")).to_be_visible(timeout=PATIENCE_MS)
    assert fits(page)
    seen.assert_clean()


def test_without_a_script_the_next_runs_come_by_a_button(
    priced: Site, open_page: Opener
) -> None:
    page, seen = open_page(java_script_enabled=False)
    preview = new_brief(priced, page)
    page.get_by_label("Name", exact=True).fill("Plain")
    page.get_by_label("What to ask").fill("Hello")
    page.get_by_text("Every few hours").click()
    page.get_by_label("How often").select_option("6")
    page.get_by_role("button", name="Show the next runs").click()
    expect(preview).to_contain_text("13:00")
    expect(preview).to_contain_text("answered by echo")
    expect(page.get_by_label("What to ask")).to_have_value("Hello")
    page.get_by_role("button", name="Make this brief").click()
    expect(page.get_by_role("heading", name="Plain", level=1)).to_be_visible()
    seen.assert_clean()
