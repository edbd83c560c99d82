"""The list of chats and the banner above them in a real browser."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import Page, expect

from tests.support.browser import Seen, send, wait_for_answer
from tests.support.browser_fixtures import Site

Opener = Callable[..., tuple[Page, Seen]]
FOCUSED = "() => document.activeElement?.closest('.chat-item')?.dataset.id ?? ''"


def test_the_list_stays_as_it_is_under_the_keyboard(
    site: Site, open_page: Opener
) -> None:
    page, seen = open_page()
    page.goto(f"{site.url}/?persona=inara")
    page.wait_for_load_state("networkidle")
    page.select_option("#route", "model:tokens-30-5ms")
    send(page, "Hello")
    link = page.locator(".chat-link").last
    link.focus()
    chat = page.evaluate(FOCUSED)
    link.evaluate("(link) => { link.dataset.same = ''; }")
    wait_for_answer(page)
    # Longer than a refresh of the list waits.
    page.wait_for_timeout(600)
    assert chat
    assert page.evaluate(FOCUSED) == chat
    assert link.get_attribute("data-same") == ""
    page.locator("#composer-text").focus()
    expect(page.locator("#chat-list [data-same]")).to_have_count(0)
    expect(page.locator("#chat-list .chat-link-title").first).to_have_text("Hello")
    seen.assert_clean()


def test_a_lost_connection_is_said_once(site: Site, open_page: Opener) -> None:
    page, seen = open_page()
    page.goto(f"{site.url}/?persona=inara")
    said = page.evaluate(
        """async () => {
          const { watchConnection } = await import("/static/js/banner.js");
          const banner = document.getElementById("connection");
          const socket = new EventTarget();
          watchConnection(socket, banner);
          let times = 0;
          new MutationObserver(() => { times += 1; }).observe(
            banner.querySelector(".banner-text"), { childList: true, subtree: true });
          for (const detail of [1, 2, 4]) {
            socket.dispatchEvent(new CustomEvent("lost", { detail }));
            await new Promise((resolve) => setTimeout(resolve));
          }
          return times;
        }"""
    )
    assert said == 1
    place = page.get_by_role("status").filter(has=page.locator("#connection"))
    expect(place).to_contain_text("Connection lost")
    expect(page.locator(".banner-wait")).to_have_text("Trying again in 4 s.")
    expect(page.locator(".banner-wait")).to_have_attribute("aria-hidden", "true")
    seen.assert_clean()
