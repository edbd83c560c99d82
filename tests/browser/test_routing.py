"""What the chat page shows of routing: seams, notices, the reason, and the choice."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.support.browser import PHONE, Seen, send, wait_for_answer
from tests.support.browser_fixtures import Site

Opener = Callable[..., tuple[Page, Seen]]
SEED = """
from accounts.models import User
from personas.models import Persona
from routing.models import Model, RoleSlot, RoutingPreferences
for position, (label, tier) in enumerate((("tokens-30-5ms", 1), ("echo", 2))):
    Model.objects.filter(label=label).update(
        tier=tier,
        input_price_nano_usd_per_mtok=tier * 10**9,
        output_price_nano_usd_per_mtok=tier * 10**9,
    )
    model = Model.objects.get(label=label)
    RoleSlot.objects.create(role="image", position=position, model=model)
Persona.objects.filter(name="tina").update(model_role="image")
alice = User.objects.get(username="alice")
RoutingPreferences.objects.create(owner=alice, finish_with_another_model=True)
"""
BEGUN = "Two models, *one* text:\n\n```python\ndef f(x):\n    return x +"
REST = " 1\n```\n\n| a | b |\n|---|---|\n| 1 | 2 |\n"
CODE = "def f(x):\n    return x + 1\n"


@pytest.fixture(scope="module", autouse=True)
def _seeded(site: Site) -> None:
    site.server.manage("shell", "-c", SEED)


def ask_two_models(site: Site, page: Page) -> None:
    """Let tina's first model break off and the second one finish."""
    site.upstream.script("tokens-30-5ms", f"cut:{BEGUN}")
    site.upstream.script("echo", f"say:{REST}")
    page.goto(f"{site.url}/?persona=tina")
    send(page, "write")
    wait_for_answer(page)


def expect_seam(page: Page) -> None:
    """Ask that one divider stands inside code that is otherwise whole."""
    answer = page.locator(".answer").last
    seam = answer.get_by_role("separator", name="Continued by echo")
    expect(seam).to_have_count(1)
    expect(seam).to_be_visible()
    frame = answer.locator(".code-frame")
    expect(frame).to_have_count(1)
    expect(frame.locator(".seam")).to_have_count(1)
    code = frame.locator("code").evaluate(
        "(code) => { const copy = code.cloneNode(true);"
        " copy.querySelector('.seam').replaceWith('|'); return copy.textContent; }"
    )
    assert code == CODE.replace("+ 1", "+| 1")
    expect(answer.locator("td")).to_have_text(["1", "2"])
    expect(answer.locator(".text > p em")).to_have_text("one")


def test_another_model_goes_on_inside_the_answer(site: Site, open_page: Opener) -> None:
    page, seen = open_page(permissions=["clipboard-read", "clipboard-write"])
    ask_two_models(site, page)
    for _ in ("live", "loaded"):
        expect_seam(page)
        page.get_by_role("button", name="Copy this answer as Markdown").click()
        expect(page.locator("#status")).to_have_text("Copied")
        copied = page.evaluate("navigator.clipboard.readText()")
        assert copied == BEGUN + REST
        page.get_by_role("button", name="Copy the python block").click()
        page.wait_for_function(
            "async (code) => await navigator.clipboard.readText() === code", arg=CODE
        )
        page.reload()
        page.wait_for_selector(".answer .text:not([data-source])")
    seen.assert_clean()


def test_why_this_model_and_another_try(site: Site, open_page: Opener) -> None:
    page, seen = open_page()
    ask_two_models(site, page)
    expect(page.locator(".answer .tier")).to_have_text("Balanced")

    link = page.get_by_role("link", name="Why this model?")
    link.focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name="Why this model?")
    expect(dialog).to_be_visible()
    expect(dialog.locator(".why-attempts li")).to_have_count(2)
    expect(dialog.locator(".why-attempts")).to_contain_text("broke off")
    up = dialog.get_by_role("button", name="One tier up")
    expect(up).to_be_disabled()
    expect(up).to_have_accessible_description(
        "No model of the tier “3 · Deep” is set up."
    )
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(link).to_be_focused()

    page.keyboard.press("Enter")
    dialog.get_by_role("button", name="One tier down").press("Enter")
    expect(dialog).to_be_hidden()
    expect(page.locator(".sibling-count").last).to_have_text("2/2")
    wait_for_answer(page)
    expect(page.locator(".answer .model")).to_have_text("tokens-30-5ms")
    expect(page.locator(".answer .tier")).to_have_text("Quick")
    seen.assert_clean()


def test_the_reason_and_the_try_work_without_a_script(
    site: Site, open_page: Opener
) -> None:
    page, _ = open_page()
    ask_two_models(site, page)
    address = page.url
    plain, seen = open_page(java_script_enabled=False, viewport=PHONE)
    plain.goto(address)
    expect(plain.locator(".seam")).to_have_text("continued by echo")
    plain.get_by_role("link", name="Why this model?").click()
    expect(plain.get_by_role("heading", level=1)).to_have_text("Why this model?")
    plain.get_by_role("button", name="One tier down").click()
    expect(plain).to_have_url(address)
    wait_for_answer(page)
    plain.reload()
    expect(plain.locator(".answer .model")).to_have_text("tokens-30-5ms")
    plain.get_by_role("link", name="Who answers in this chat").click()
    plain.get_by_label("Automatic").check()
    plain.get_by_role("button", name="Save").click()
    expect(plain.locator("#route")).to_have_value("auto")
    seen.assert_clean()


def test_who_answers_is_kept_with_the_chat(site: Site, open_page: Opener) -> None:
    page, seen = open_page()
    page.goto(f"{site.url}/?persona=tina")
    page.select_option("#route", "tier:2")
    expect(page.locator("#route-help")).to_contain_text("everyday work")
    send(page, "hello")
    wait_for_answer(page)
    expect(page.locator(".answer .model")).to_have_text("echo")
    other, _ = open_page()
    other.goto(page.url)
    expect(other.locator("#route")).to_have_value("tier:2")
    with other.expect_response(re.compile("/policy$")) as saved:
        other.select_option("#route", "model:tokens-30-5ms")
    assert saved.value.status == 204
    page.reload()
    expect(page.locator("#route")).to_have_value("model:tokens-30-5ms")
    page.goto(f"{site.url}/?persona=tina")
    expect(page.locator("#route")).to_have_value("")
    seen.assert_clean()


def test_notes_stand_under_the_answer_while_it_is_written(
    site: Site, page: Page
) -> None:
    page.goto(f"{site.url}/?persona=tina")
    told = page.evaluate(
        """async () => {
          const { Answer } = await import("/static/js/answer.js");
          const answer = new Answer("Tina", () => {});
          document.getElementById("thread").append(answer.article);
          const region = answer.article.querySelector(".notes");
          const seen = () => [...region.children].map((note) => note.textContent);
          const steps = [region.getAttribute("role")];
          answer.note({ code: "budget", text: "Half is used." });
          answer.note({ code: "busy", text: "Busy." });
          answer.note({ code: "busy", text: "Still <b>busy</b>." });
          answer.note({ code: "budget", text: "Half is used." });
          steps.push(seen());
          answer.append("Hello");
          steps.push(seen());
          answer.finish({ outcome: "complete", model: "m", tier: 3, cost_usd: null });
          return [...steps, seen(), answer.article.querySelector(".tier").textContent];
        }"""
    )
    assert told == [
        "status",
        ["Half is used.", "Still <b>busy</b>."],
        ["Half is used."],
        ["Half is used."],
        "Deep",
    ]
