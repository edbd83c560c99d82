"""Deleting messages, what was remembered, and links to messages, in a real browser."""

from __future__ import annotations

import os
from collections.abc import Callable

from playwright.sync_api import Page, expect

from tests.support.browser import PHONE, Seen, send, wait_for_answer
from tests.support.browser_fixtures import Site

Opener = Callable[..., tuple[Page, Seen]]
SAID = "My cello is called Rosa"


def show(page: Page, name: str) -> None:
    """Keep a picture for whoever wants to look."""
    if folder := os.environ.get("KEEP_PICTURES_IN"):
        page.screenshot(path=f"{folder}/{name}.png")


def expect_in_view(page: Page, selector: str) -> None:
    expect(page.locator(selector)).to_be_in_viewport(ratio=0.5)


def test_a_message_is_remembered_deleted_and_brought_back(
    site: Site, open_page: Opener
) -> None:
    page, seen = open_page()
    page.goto(f"{site.url}/?persona=inara")
    send(page, SAID)
    wait_for_answer(page)

    send(page, "Remember this.")
    note = page.locator(".mine .remembered")
    expect(note).to_contain_text(f"Remembered: {SAID}")
    expect(page.locator("#command-note")).to_contain_text("Remembered")
    assert page.locator(".mine").count() == 1  # the wish is no message
    assert page.locator(".found").count() == 0
    show(page, "remembered")
    note.get_by_role("button", name="Undo").click()
    expect(note).to_have_count(0)

    send(page, "/remember")
    expect(note).to_have_count(1)
    page.locator("#command-note").get_by_role("button", name="Undo").click()
    expect(page.locator("#command-note")).to_contain_text("Taken back")
    expect(note).to_have_count(0)

    other, other_seen = open_page(viewport=PHONE)
    other.goto(page.url)
    page.locator(".mine").hover()
    page.get_by_role("button", name="Delete this message").click()
    for each in (page, other):
        gone = each.locator(".message.deleted")
        expect(gone).to_contain_text("This message was deleted.")
        expect(each.locator(".mine .text")).to_have_count(0)
        expect(each.locator("#chat-title")).to_have_text("Untitled chat")
    show(page, "deleted")
    show(other, "deleted-phone")
    other.locator(".message.deleted").get_by_role("button", name="Undo").click()
    for each in (page, other):
        expect(each.locator(".mine .text")).to_have_text(SAID)
    page.get_by_role("button", name="Delete this answer").click()
    expect(page.locator(".answer:not(.deleted)")).to_have_count(0)
    send(page, "And now?")
    wait_for_answer(page)
    seen.assert_clean()
    other_seen.assert_clean()


def test_a_link_leads_to_an_old_message(site: Site, open_page: Opener) -> None:
    page, seen = open_page()
    page.goto(f"{site.url}/?persona=inara")
    page.locator(".chat-link", has_text="A long talk").click()
    page.wait_for_selector("#older")
    page.locator("#older").scroll_into_view_if_needed()
    old = page.locator(".mine", has_text="Question 12")
    expect(old).to_have_count(1)
    id = old.get_attribute("data-id")

    page.goto(f"{site.url}/m/{id}")
    expect_in_view(page, ".message.found")
    expect(page.locator(".found .text")).to_have_text("Question 12")
    show(page, "found")
    page.get_by_role("link", name="Back to the newest messages").click()
    expect_in_view(page, ".message >> nth=-1")

    page.get_by_label("Memory of this chat").click()
    switch = page.get_by_role("switch", name="Remember this chat")
    expect(switch).to_be_checked()
    show(page, "switch")
    switch.click()
    expect(page.get_by_text("memory paused")).to_be_visible()
    page.get_by_label("Memory of this chat").click()
    expect(switch).not_to_be_checked()
    seen.assert_clean()


def test_it_works_without_a_script(site: Site, open_page: Opener) -> None:
    page, seen = open_page(java_script_enabled=False)
    page.goto(f"{site.url}/?persona=inara")
    page.locator(".chat-link", has_text="A long talk").click()
    last = page.locator(".mine").last
    last.get_by_role("button", name="Delete this message").click()
    expect_in_view(page, ".message.deleted")
    show(page, "deleted-without-script")
    page.locator(".message.deleted").get_by_role("button", name="Undo").click()
    expect(page.locator(".message.deleted")).to_have_count(0)
    expect_in_view(page, ".message.found")
    assert seen.violations == []
