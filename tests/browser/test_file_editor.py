"""The editor of a persona's file in a real browser."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import Page, expect

from tests.support.browser import PASSWORD, Seen
from tests.support.browser_fixtures import Site

Opener = Callable[..., tuple[Page, Seen]]
EDITOR = "/personas/inara/files/SOUL.md/"


def sign_in_again(page: Page) -> None:
    """Fill the sign-in page that is shown."""
    page.fill("[name=login]", "alice")
    page.fill("[name=password]", PASSWORD)
    page.get_by_role("button", name="Sign in").click()


def test_a_text_outlives_the_end_of_the_session(site: Site, open_page: Opener) -> None:
    page, seen = open_page()
    page.goto(site.url + EDITOR)
    page.fill("textarea[name=text]", "Written in an afternoon.\n")
    cookies = [c for c in page.context.cookies() if "sessionid" not in c["name"]]
    page.context.clear_cookies()
    page.context.add_cookies(cookies)  # type: ignore[arg-type]
    page.get_by_role("button", name="Save", exact=True).click()
    page.wait_for_url("**/account/login/**")
    sign_in_again(page)
    page.wait_for_url(f"**{EDITOR}")
    text = page.locator("textarea[name=text]")
    expect(text).to_have_value("Written in an afternoon.\n")
    expect(page.locator("[data-kept]")).to_be_visible()
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.locator(".messages")).to_have_text("Saved.")
    page.reload()
    expect(text).to_have_value("Written in an afternoon.\n")
    expect(page.locator("[data-kept]")).to_be_hidden()
    assert page.evaluate("sessionStorage.length") == 0
    seen.assert_clean()


def test_a_kept_text_gives_way_to_the_saved_one(site: Site, open_page: Opener) -> None:
    page, seen = open_page()
    page.goto(site.url + EDITOR)
    text = page.locator("textarea[name=text]")
    saved = text.input_value()
    page.evaluate(
        """(path) => {
          const user = document.querySelector("[data-file-editor]").dataset.user;
          const sent = { text: "Another text", revision: "1" };
          sessionStorage.setItem(`cortex:file:${user}:${path}`, JSON.stringify(sent));
        }""",
        EDITOR,
    )
    page.reload()
    expect(text).to_have_value("Another text")
    page.get_by_role("button", name="Show the saved text instead").click()
    expect(text).to_have_value(saved)
    page.reload()
    expect(text).to_have_value(saved)
    seen.assert_clean()
