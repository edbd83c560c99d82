"""Searching in a real browser: live, by key, and from the list of chats."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import Page, expect

from tests.support.browser import PHONE, Seen, send, wait_for_answer
from tests.support.browser_fixtures import Site

Opener = Callable[..., tuple[Page, Seen]]


def test_from_the_key_to_the_message(site: Site, open_page: Opener) -> None:
    page, seen = open_page()
    page.goto(f"{site.url}/?persona=inara")
    page.wait_for_load_state("networkidle")
    page.select_option("#route", "model:tokens-30-5ms")
    send(page, "The <b>heron</b> stood by the pond")
    wait_for_answer(page)
    page.keyboard.press("Control+k")
    expect(page.locator("#panel-search")).to_be_focused()
    page.goto(f"{site.url}/money/")
    page.keyboard.press("Control+k")
    page.wait_for_url(f"{site.url}/search/")
    field = page.locator("#search-text")
    expect(field).to_be_focused()
    hits = page.locator(".hit")
    # The worker takes messages every other second.
    for _ in range(20):
        field.fill("")
        field.press_sequentially("hero stood")
        page.wait_for_timeout(600)
        if hits.count():
            break
    expect(hits.first.locator("mark").first).to_have_text("heron")
    field.fill("heron before:soon")
    expect(page.get_by_role("alert")).to_contain_text("is no date")
    field.fill("heron")
    expect(hits.first).to_contain_text("<b>heron</b>")
    hits.first.locator("a").click()
    page.wait_for_url("**/c/**")
    expect(page.locator("#thread")).to_contain_text("stood by the pond")
    seen.assert_clean()


def test_nothing_overflows_on_a_phone(site: Site, open_page: Opener) -> None:
    page, seen = open_page(viewport=PHONE)
    page.goto(f"{site.url}/search/?q=heron")
    width = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert width <= 0
    expect(page.locator("#search-text")).to_have_value("heron")
    seen.assert_clean()
