"""Access tokens and the page about the API, in a browser."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import expect

from tests.support.browser import PHONE

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def test_a_token_is_made_copied_used_and_revoked(
    open_page: Callable[..., Any], site: Any
) -> None:
    page, seen = open_page("alice")
    page.goto(f"{site.url}/settings/tokens/")
    page.fill("[name=name]", "Garden script")
    page.uncheck("[name=scopes][value=ledger]")
    page.get_by_role("button", name="Create token").click()

    token = page.locator("#new-token").inner_text()
    assert token.startswith("ctx_")
    page.get_by_role("button", name="Copy: Your new token").click()
    expect(page.locator("#status")).to_have_text("Copied")
    row = page.get_by_role("row", name=re.compile("Garden script"))
    expect(row).to_contain_text("chat task")
    expect(row).to_contain_text("never")

    page.goto(f"{site.url}/api/")
    page.fill("#api-token", token)
    status = page.locator("#get-status")
    status.get_by_role("button", name="Send").click()
    expect(status.locator("[data-outcome]")).to_contain_text("403")
    expect(status.locator(".api-answer")).to_contain_text("lacks the scope ledger")
    assert token not in page.url

    page.goto(f"{site.url}/settings/tokens/")
    expect(row).not_to_contain_text("never")
    row.get_by_role("button", name="Revoke").click()
    expect(page.get_by_text("“Garden script” is revoked")).to_be_visible()
    expect(row).to_have_count(0)
    seen.assert_clean()


def test_a_call_is_tried_as_oneself(open_page: Callable[..., Any], site: Any) -> None:
    page, seen = open_page("alice")
    page.goto(f"{site.url}/api/")
    chat = page.locator("#post-chat")
    body = '{"persona": "inara", "text": "Say these words", "model": "echo"}'
    chat.get_by_label("Body").fill(body)
    chat.get_by_role("button", name="Send").click()

    answer = chat.locator(".api-answer")
    expect(answer).to_contain_text("event: turn.finished", timeout=20_000)
    # However it was cut into pieces.
    said = re.findall(r'"type":"turn.delta".*?"text":"(.*?)"', answer.inner_text())
    assert "".join(said) == "Say these words"
    expect(chat.locator("[data-outcome]")).to_contain_text("200")

    ledger = page.locator("#get-ledger")
    ledger.get_by_label("limit").fill("1")
    ledger.get_by_role("button", name="Send").click()
    expect(ledger.locator(".api-answer")).to_contain_text('"entries": [\n')
    seen.assert_clean()


def test_reading_can_be_stopped(open_page: Callable[..., Any], site: Any) -> None:
    page, seen = open_page("alice")
    page.goto(f"{site.url}/api/")
    chat = page.locator("#post-chat")
    body = '{"persona": "inara", "text": "Go on", "model": "tokens-400-20ms"}'
    chat.get_by_label("Body").fill(body)
    chat.get_by_role("button", name="Send").click()
    expect(chat.locator(".api-answer")).to_contain_text("turn.delta", timeout=20_000)
    chat.get_by_role("button", name="Stop reading").click()

    expect(chat.locator("[data-outcome]")).to_have_text("No longer read")
    expect(chat.get_by_role("button", name="Send")).to_be_enabled()
    seen.assert_clean()


@pytest.mark.parametrize("path", ["/api/", "/settings/tokens/"])
def test_the_pages_fit_on_a_phone(
    open_page: Callable[..., Any], site: Any, path: str
) -> None:
    page, seen = open_page("alice", viewport=PHONE)
    page.goto(f"{site.url}{path}")

    too_wide = page.evaluate(
        "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )
    assert too_wide <= 0
    seen.assert_clean()


def test_without_scripts_the_page_can_be_read(
    open_page: Callable[..., Any], site: Any
) -> None:
    page, _ = open_page("alice", java_script_enabled=False)
    page.goto(f"{site.url}/api/")

    expect(page.get_by_text("Say something to a persona")).to_be_visible()
    expect(page.locator("#api-token")).to_be_hidden()
    assert page.get_by_role("button", name="Send").count() == 0


def test_a_token_is_revoked_on_a_phone_without_scrolling_sideways(
    open_page: Callable[..., Any], site: Any
) -> None:
    page, seen = open_page("alice", viewport=PHONE)
    page.goto(f"{site.url}/settings/tokens/")
    page.fill("[name=name]", "A script with quite a long name on the old laptop")
    page.get_by_role("button", name="Create token").click()

    revoke = page.get_by_role("button", name=re.compile("^Revoke A script"))
    expect(revoke).to_be_visible()
    box = revoke.bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= PHONE["width"]
    frame = page.locator(".table-scroll")
    assert frame.evaluate("each => each.scrollWidth <= each.clientWidth")
    revoke.click()
    expect(page.get_by_text("old laptop” is revoked")).to_be_visible()
    expect(revoke).to_have_count(0)
    seen.assert_clean()
