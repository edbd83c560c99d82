"""How messages look in the page, while one watches and after it was loaded again."""

from __future__ import annotations

import re
from collections.abc import Callable

from playwright.sync_api import Page, expect

from tests.support.browser import Seen, send, wait_for_answer
from tests.support.browser_fixtures import Site

Opener = Callable[..., tuple[Page, Seen]]
PLAIN = "First *line*\n  - second\n\n# third"
FALL_BACK = """
from routing.models import Model, RoleSlot
for position, label in enumerate(("status-500", "echo")):
    model = Model.objects.get(label=label)
    RoleSlot.objects.create(role="image", position=position, model=model)
from personas.models import Persona
Persona.objects.filter(name="tina").update(model_role="image")
"""


def expect_plain(page: Page, text: str) -> None:
    """Ask that the last own message stands as it was written."""
    own = page.locator(".mine .text:not([data-source])").last
    expect(own).to_be_visible()
    assert own.inner_text() == text
    assert own.locator("*").count() == 0


def test_own_messages_keep_their_lines_and_signs(site: Site, open_page: Opener) -> None:
    page, seen = open_page()
    page.goto(f"{site.url}/?persona=inara")
    send(page, PLAIN)
    wait_for_answer(page)
    expect_plain(page, PLAIN)
    page.reload()
    expect_plain(page, PLAIN)
    page.locator(".mine").hover()
    page.get_by_role("button", name="Edit this message").click()
    page.fill(".editor textarea", f"{PLAIN}\nand a *fourth*")
    page.get_by_role("button", name="Save and answer").click()
    expect_plain(page, f"{PLAIN}\nand a *fourth*")
    wait_for_answer(page)
    seen.assert_clean()


def test_an_answer_by_fallback_says_so(site: Site, open_page: Opener) -> None:
    site.server.manage("shell", "-c", FALL_BACK)
    page, seen = open_page()
    page.goto(f"{site.url}/?persona=tina")
    send(page, "hello")
    wait_for_answer(page)
    for _ in ("live", "loaded"):
        expect(page.locator(".answer .fallback")).to_be_visible()
        expect(page.locator(".answer .model")).to_have_text("echo")
        page.get_by_label("Details of this answer").click()
        facts = page.locator(".facts")
        expect(facts).to_be_in_viewport(ratio=1)
        why = facts.locator("[data-fact=reason]")
        expect(why).to_have_text(re.compile("after status-500 did not answer$"))
        page.reload()
    seen.assert_clean()


def test_the_note_to_wait_leaves_with_the_answer(site: Site, page: Page) -> None:
    page.goto(f"{site.url}/?persona=inara")
    page.select_option("#route", "model:tokens-400-20ms")
    send(page, "count")
    send(page, "too early")
    expect(page.locator("#notice")).to_contain_text("has finished")
    page.keyboard.press("Escape")
    wait_for_answer(page, 1, "interrupted")
    expect(page.locator("#notice")).to_be_hidden()
    expect(page.locator("#composer-text")).to_have_value("too early")
