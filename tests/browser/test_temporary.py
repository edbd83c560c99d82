"""A temporary chat, begun and led in a real browser."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import Page, expect

from tests.support.browser import Seen, send, wait_for_answer
from tests.support.browser_fixtures import Site

Opener = Callable[..., tuple[Page, Seen]]
LEFT = """
from personas.models import Message
said = Message.objects.filter(text="The herons are a secret")
print([each.conversation.temporary for each in said])
"""


def test_a_temporary_chat_says_so_from_the_button_on(
    site: Site, open_page: Opener
) -> None:
    page, seen = open_page()
    page.goto(f"{site.url}/?persona=inara")
    banner = page.locator(".banner.temporary")
    expect(banner).to_have_count(0)
    page.get_by_role("link", name="Temporary chat").click()
    page.wait_for_url("**/?persona=inara&temporary=1")
    expect(banner).to_contain_text("removed 24 hours after its last message")
    page.wait_for_load_state("networkidle")
    page.select_option("#route", "model:tokens-30-5ms")
    send(page, "The herons are a secret")
    wait_for_answer(page)
    page.wait_for_url("**/c/**")
    expect(banner).to_be_visible()
    page.reload()
    expect(banner).to_be_visible()
    expect(page.get_by_text("Remember this chat")).to_have_count(0)
    shown = page.locator(".chat-item:has([aria-current])")
    expect(shown).to_contain_text("temporary")
    left = site.server.manage("shell", "-v", "0", "-c", LEFT)
    assert "[True]" in str(left)
    seen.assert_clean()
