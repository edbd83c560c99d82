"""The main job, whole: an empty machine, a link, a password, a persona, an answer.

A real browser, the real server started as ``make run`` starts it, the real built-in
model, and the ledger that booked its calls.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.browser import PASSWORD, Seen, send, wait_for_answer, watch
from tests.support.processes import ServerProcess

pytestmark = pytest.mark.timeout(900)
MODEL_S = 240
"""How long 512 tokens may take on a machine that has other things to do.

Alone they take five seconds; beside other tests and further models, minutes.
"""
ENDED = ("complete", "incomplete")
"""A small model may talk until its output is full, which ends as incomplete."""
QUESTION = "Please tell me a long story about a lighthouse keeper and the sea."


@pytest.fixture
def server(
    start_server: Callable[..., ServerProcess], builtin_model: None
) -> ServerProcess:
    """Run Cortex on an empty data folder."""
    return start_server("serve", first_start=True)


@pytest.fixture
def visitor(browser: Browser, server: ServerProcess) -> Iterator[tuple[Page, Seen]]:
    """Open a browser that has never been here."""
    context = browser.new_context(timezone_id="Europe/Berlin")
    seen = watch(context, server.url)
    yield context.new_page(), seen
    context.close()


def set_up(page: Page, server: ServerProcess) -> None:
    """Follow the printed link to an account and a first persona."""
    page.goto(server.setup_link)
    page.fill("[name=username]", "alice")
    page.fill("[name=email]", "alice@example.org")
    page.fill("[name=password1]", PASSWORD)
    page.fill("[name=password2]", PASSWORD)
    page.locator("form button[type=submit], form button.primary").first.click()
    page.wait_for_url("**/setup/persona")
    page.check("[name=template][value=companion]")
    page.fill("[name=display_name]", "Inara")
    page.fill("[name=name]", "inara")
    page.get_by_role("button", name="Begin").click()
    page.wait_for_url(f"{server.url}/")


def shown_text(page: Page) -> str:
    """Return what the last answer shows."""
    return str(page.locator(".answer .text").last.inner_text())


def wait_for_more(page: Page, characters: int) -> None:
    """Wait until the last answer shows more than so many characters."""
    page.wait_for_function(
        "(least) => [...document.querySelectorAll('.answer .text')]"
        ".at(-1)?.textContent.length > least",
        arg=characters,
        timeout=MODEL_S * 1000,
    )


def ledger_rows(server: ServerProcess) -> list[dict[str, Any]]:
    """Return what the ledger has booked, oldest first, after checking its chain."""
    verdict = server.manage("ledger", "verify").strip().splitlines()[-1]
    assert verdict.startswith("ok ")
    lines = server.manage("ledger", "export").splitlines()
    return [json.loads(line) for line in lines]


def test_main_job_from_an_empty_machine_to_a_ledger_row(
    server: ServerProcess, visitor: tuple[Page, Seen]
) -> None:
    page, seen = visitor
    link = server.setup_link
    set_up(page, server)
    expect(page.locator(".greeting")).to_contain_text("Inara")

    page.goto(f"{server.url}/settings/profile/")
    expect(page.locator("[name=time_zone]")).to_have_value("Europe/Berlin")
    page.goto(server.url)

    # A streamed answer: several states of the growing text are seen on the way.
    send(page, "Hello! Who are you?")
    expect(page.locator(".stage-text")).to_have_text(re.compile("^Inara is "))
    wait_for_more(page, 10)
    wait_for_answer(page, 1, *ENDED, within_s=MODEL_S)
    answer = shown_text(page)
    assert len(answer.split()) >= 3
    expect(page.locator(".answer .model")).to_have_text("builtin")
    expect(page.locator(".answer .cost")).to_have_text(re.compile("^free"))
    conversation = page.url
    assert re.search(r"/c/[0-9a-f-]{36}$", conversation)

    # The row in the ledger, with the chain intact.
    page.goto(f"{server.url}/money/")
    row = page.locator("table tr", has_text="builtin").first
    expect(row).to_be_visible()
    [booked] = ledger_rows(server)
    assert booked["model"] == "builtin"
    assert booked["outcome"] in ENDED
    assert booked["output_tokens"] > 0
    assert float(booked["estimated_cost_usd"]) == 0

    # Stop keeps what was written and books it.
    page.goto(conversation)
    expect(page.locator(".answer .text").last).to_have_text(answer)
    send(page, QUESTION)
    wait_for_more(page, 40)
    page.click("#stop")
    wait_for_answer(page, 1, "interrupted")
    stopped = shown_text(page)
    assert len(stopped) > 20
    expect(page.locator(".stopped:visible")).to_have_count(1)
    page.reload()
    expect(page.locator(".answer .text").last).to_have_text(stopped)
    _, booked = ledger_rows(server)
    assert booked["outcome"] == "interrupted"

    # A reload in the middle of an answer goes on without a gap or a double.
    send(page, QUESTION)
    wait_for_more(page, 40)
    before = shown_text(page)
    page.reload()
    wait_for_answer(page, 2, *ENDED, within_s=MODEL_S)
    whole = shown_text(page)
    assert whole[:20] == before[:20]
    assert len(whole) > len(before)
    page.reload()  # what is stored is the truth: neither a gap nor a double
    expect(page.locator(".answer .text").last).to_have_text(whole)

    # The link was for once.
    response = page.goto(link)
    assert response is not None
    assert response.status == 410
    assert "Traceback" not in server.log
    assert seen.violations == []
    assert seen.errors == []
    assert seen.foreign_requests == []
