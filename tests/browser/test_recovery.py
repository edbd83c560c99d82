"""What the chat page does when something went wrong, in a real browser."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.browser import Seen, send, sign_in, wait_for_answer
from tests.support.browser_fixtures import Site

Opener = Callable[..., tuple[Page, Seen]]
COUNT_SOCKETS = """
const Real = WebSocket;
window.sockets = [];
window.WebSocket = class extends Real {
  constructor(...words) { super(...words); window.sockets.push(this); }
};
"""
NEW_CHAT = """
from accounts.models import User
from personas.conversations import start_conversation
from personas.personas import get_persona_for_user
alice = User.objects.get(username="alice")
chat = start_conversation(alice, get_persona_for_user(alice, "inara"))
"""
ADD_PAIR = """
from django.utils import timezone
from personas.models import Conversation, Message
def add(chat, words, **answer):
    asked = Message.objects.create(
        conversation=chat, owner=chat.owner, role="user", text=words,
        parent=chat.current_message,
    )
    chat.current_message = Message.objects.create(
        conversation=chat, owner=chat.owner, role="assistant", text=f"On {words}.",
        parent=asked, **answer,
    )
    chat.save()
"""


def run(site: Site, *lines: str) -> str:
    """Run Python in a process that sends no notes to open pages."""
    return site.server.manage("shell", "-v", "0", "-c", "\n".join(lines)).strip()


def make_chat(site: Site, **answer: str) -> str:
    """Write a chat of one pair and return its id; ``answer`` holds Python."""
    fields = "".join(f", {name}={value}" for name, value in answer.items())
    return run(site, NEW_CHAT, ADD_PAIR, f"add(chat, 'one'{fields})", "print(chat.pk)")


@pytest.fixture
def counted(page: Page) -> Page:
    """Open a page that keeps its sockets."""
    page.add_init_script(COUNT_SOCKETS)
    return page


def test_an_answer_that_nobody_writes_is_asked_for_with_pauses(
    site: Site, open_page: Opener
) -> None:
    chat = make_chat(site, state="'generating'", alive_at="timezone.now()")
    page, seen = open_page()
    page.goto(f"{site.url}/c/{chat}")
    expect(page.locator(".trouble-text")).to_have_text("This answer was interrupted.")
    expect(page.locator(".answer .text")).to_have_text("On one.")
    expect(page.locator("#send")).to_be_visible()
    page.wait_for_timeout(8000)
    asked = [url for url in seen.requests if url.endswith(f"/c/{chat}/messages")]
    assert 2 <= len(asked) <= 4
    run(
        site,
        "from personas.models import Message",
        f"Message.objects.filter(conversation='{chat}', role='assistant').update("
        "state='interrupted', error_message='The end is known.')",
    )
    expect(page.locator(".trouble-text")).to_have_text(
        "The end is known.", timeout=20_000
    )
    seen.assert_clean()


def test_a_message_too_big_for_a_frame_stays_in_the_composer(
    site: Site, counted: Page
) -> None:
    page, text = counted, "漢" * 25_000
    page.goto(f"{site.url}/?persona=inara")
    send(page, text)
    expect(page.locator("#notice")).to_contain_text("too long")
    assert page.input_value("#composer-text") == text
    expect(page.locator(".message")).to_have_count(0)
    expect(page.locator("#greeting")).to_be_visible()
    page.fill("#composer-text", "shorter")
    page.press("#composer-text", "Enter")
    wait_for_answer(page)
    assert page.evaluate("window.sockets.length") == 1


def test_what_was_missed_is_shown_after_a_new_connection_and_on_return(
    site: Site, counted: Page
) -> None:
    page, chat = counted, make_chat(site)
    page.goto(f"{site.url}/c/{chat}")
    page.wait_for_function("() => window.sockets.at(-1)?.readyState === 1")
    again = [
        ADD_PAIR,
        f"chat = Conversation.objects.get(pk='{chat}')",
    ]
    run(site, *again, "add(chat, 'two')")
    page.evaluate("window.sockets.at(-1).close()")
    expect(page.locator(".answer .text").last).to_have_text("On two.")
    run(site, *again, "add(chat, 'three')")
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(page.locator(".answer .text").last).to_have_text("On three.")
    expect(page.locator(".message")).to_have_count(6)


def test_messages_that_did_not_change_stay_as_they_are(site: Site, page: Page) -> None:
    page.goto(f"{site.url}/?persona=inara")
    send(page, "still here")
    wait_for_answer(page)
    page.evaluate("document.querySelector('.answer').dataset.mark = 'kept'")
    with page.expect_response(re.compile("/messages$")):
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    page.wait_for_timeout(200)
    expect(page.locator(".answer[data-mark=kept]")).to_have_count(1)


def test_versions_cannot_be_switched_while_an_answer_is_written(
    site: Site, page: Page
) -> None:
    page.goto(f"{site.url}/?persona=inara")
    send(page, "first")
    wait_for_answer(page)
    page.locator(".answer [data-action=retry]").last.click()
    wait_for_answer(page)
    expect(page.locator(".answer .sibling-count")).to_have_text("2/2")
    page.select_option("#route", "model:tokens-400-20ms")
    send(page, "second")
    expect(page.locator(".live")).to_have_count(1)
    page.evaluate(
        "document.querySelector('.answer .siblings').requestSubmit("
        "document.querySelector('.answer .siblings button'))"
    )
    assert page.locator(".answer .siblings").first.evaluate("(form) => form.inert")
    page.click("#stop")
    wait_for_answer(page, 1, "interrupted")
    page.get_by_role("button", name="Previous version").first.click()
    expect(page.locator(".answer .sibling-count").first).to_have_text("1/2")


def test_drafts_belong_to_a_person_and_go_when_they_sign_out(
    site: Site, browser: Browser
) -> None:
    context = browser.new_context()
    page = context.new_page()
    chat = make_chat(site)
    sign_in(page, site.url, "alice")
    page.goto(f"{site.url}/c/{chat}")
    page.fill("#composer-text", "a secret of alice")
    kept = "() => Object.entries(localStorage).join()"
    assert "a secret of alice" in page.evaluate(kept)
    page.evaluate("localStorage.setItem('cortex:draft:0:x', 'of somebody else')")
    page.get_by_role("button", name="You", exact=True).click()
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url(lambda url: f"/c/{chat}" not in url)
    left = page.evaluate(kept)
    assert "a secret of alice" not in left
    assert "of somebody else" in left
    context.close()


def test_a_draft_stays_until_its_message_has_started(site: Site, counted: Page) -> None:
    page = counted
    chat = make_chat(site)
    page.goto(f"{site.url}/c/{chat}")
    page.wait_for_function("() => window.sockets.at(-1)?.readyState === 1")
    page.evaluate(
        "() => { const socket = window.sockets.at(-1);"
        " window.swallowed = []; socket.send = (text) => window.swallowed.push(text); }"
    )
    send(page, "kept for later")
    expect(page.locator("#composer-text")).to_have_value("")
    expect(page.locator(".mine")).to_have_count(2)
    page.reload()
    expect(page.locator("#composer-text")).to_have_value("kept for later")
    page.press("#composer-text", "Enter")
    wait_for_answer(page, 2)
    page.reload()
    expect(page.locator("#composer-text")).to_have_value("")


def test_a_refused_edit_keeps_its_text_in_the_open_editor(
    site: Site, page: Page
) -> None:
    page.goto(f"{site.url}/c/{make_chat(site)}")
    edit = page.get_by_role("button", name="Edit this message")
    page.locator(".mine").hover()
    edit.click()
    area = page.get_by_role("textbox", name="Your message")
    area.press("Escape")
    expect(edit).to_be_focused()
    edit.press("Enter")
    text = "漢" * 25_000
    area.fill(text)
    page.get_by_role("button", name="Save and answer").click()
    expect(page.locator("#notice")).to_contain_text("too long")
    expect(area).to_be_focused()
    assert area.input_value() == text
    expect(page.locator(".message")).to_have_count(2)
    area.fill("two")
    page.get_by_role("button", name="Save and answer").click()
    expect(page.locator(".mine .sibling-count")).to_have_text("2/2")
    expect(page.locator(".editor")).to_have_count(0)
    wait_for_answer(page)


def test_an_edit_waits_in_its_editor_while_an_answer_is_written(
    site: Site, page: Page
) -> None:
    page.goto(f"{site.url}/c/{make_chat(site)}")
    page.locator(".mine").hover()
    page.get_by_role("button", name="Edit this message").click()
    area = page.get_by_role("textbox", name="Your message")
    area.fill("another")
    page.select_option("#route", "model:tokens-400-20ms")
    send(page, "count")
    expect(page.locator(".live")).to_have_count(1)
    page.get_by_role("button", name="Save and answer").click()
    expect(page.locator("#notice")).to_contain_text("when Inara has finished")
    expect(area).to_have_value("another")
    page.click("#stop")
    wait_for_answer(page, 1, "interrupted")
