"""What the chat page shows of routing: seams, notices, the reason, and the choice."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, Route, expect

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


def test_another_try_is_for_the_answer_whose_reason_is_shown(
    site: Site, open_page: Opener
) -> None:
    page, seen = open_page()
    page.goto(f"{site.url}/?persona=inara")
    for number, text in enumerate(("first", "second"), 1):
        send(page, text)
        wait_for_answer(page, number)
    first, second = (
        page.locator(".answer").nth(at).get_attribute("data-id") for at in (0, 1)
    )
    cost = page.locator(".answer .cost").last.inner_text()
    assert cost.startswith("$0.0")

    held: list[Route] = []
    page.route(f"**/why/{first}", lambda route: held.append(route))
    links = page.get_by_role("link", name="Why this model?")
    with page.expect_request(re.compile(f"/why/{first}$")):
        links.first.click()
    links.last.click()
    dialog = page.get_by_role("dialog", name="Why this model?")
    form = dialog.locator(f'form[data-message="{second}"]')
    expect(form).to_be_visible()
    expect(dialog.locator("dt:text-is('Cost') + dd")).to_have_text(cost)
    with page.expect_response(re.compile(f"/why/{first}$")):
        held[0].continue_()
    page.unroute(f"**/why/{first}")
    expect(form).to_be_visible()
    dialog.get_by_role("button", name="One tier down").click()
    expect(dialog).to_be_hidden()
    expect(page.locator(".sibling-count").last).to_have_text("2/2")
    wait_for_answer(page, 2)
    expect(page.locator(".answer .model")).to_have_text(["echo", "tokens-30-5ms"])

    # Meanwhile another tab goes on, and this one shows the chat anew.
    page.get_by_role("link", name="Why this model?").first.click()
    expect(dialog.locator(f'form[data-message="{first}"]')).to_be_visible()
    other = page.context.new_page()
    other.goto(page.url)
    other.select_option("#route", "model:tokens-400-20ms")
    send(other, "third")
    expect(page.locator(".answer")).to_have_count(3)
    down = dialog.get_by_role("button", name="One tier down")
    down.click()
    why_not = dialog.get_by_role("alert")
    expect(why_not).to_have_text("You can ask again when Inara has finished.")
    expect(dialog).to_be_visible()
    other.get_by_role("button", name="Stop answering").click()
    wait_for_answer(page, 1, "interrupted")
    down.click()
    expect(dialog).to_be_hidden()
    expect(page.locator(".answer")).to_have_count(1)
    wait_for_answer(page)
    expect(page.locator(".answer .model")).to_have_text("tokens-30-5ms")
    seen.assert_clean()


def test_the_picker_shows_what_holds(site: Site, open_page: Opener) -> None:
    page, seen = open_page()
    page.goto(f"{site.url}/?persona=tina")
    page.select_option("#route", "tier:2")
    send(page, "hello")
    wait_for_answer(page)

    page.route("**/policy", lambda route: route.abort())
    page.select_option("#route", "")
    expect(page.locator("#notice")).to_contain_text("the one before still holds")
    expect(page.locator("#route")).to_have_value("tier:2")
    expect(page.locator("#route-help")).to_contain_text("everyday work")
    page.unroute("**/policy")

    held: list[Route] = []
    page.route("**/policy", lambda route: held.append(route))
    with page.expect_request(re.compile("/policy$")):
        page.select_option("#route", "")
    send(page, "as set up, please")
    expect(page.locator(".mine")).to_have_count(1)
    held[0].continue_()
    wait_for_answer(page, 2)
    models = page.locator(".answer .model")
    expect(models).to_have_text(["echo", "tokens-30-5ms"])
    seen.assert_clean()


def test_who_wrote_nothing_gets_no_divider(site: Site, page: Page) -> None:
    page.goto(f"{site.url}/?persona=tina")
    shown = page.evaluate(
        """async () => {
          const { Answer } = await import("/static/js/answer.js");
          const answer = new Answer("Tina", () => {});
          document.getElementById("thread").append(answer.article);
          const ask = (model, continues) => answer.setRoute({ model, continues });
          ask("first", false);
          answer.append("One, ");
          ask("second", true);
          ask("third", true);
          answer.append("two, ");
          answer.append("three.");
          ask("fourth", true);
          answer.finish({ outcome: "incomplete", model: "m", cost_usd: "0.003105" });
          const seams = [...answer.article.querySelectorAll(".seam")];
          return [
            ...seams.map((seam) => seam.dataset.model),
            answer.box.innerText.replace(/\\s+/g, " ").trim(),
            answer.article.querySelector(".cost").textContent,
          ];
        }"""
    )
    assert shown == ["third", "One, continued by third two, three.", "$0.00311"]


def test_waiting_for_the_same_model_is_no_fallback(site: Site, page: Page) -> None:
    page.goto(f"{site.url}/?persona=tina")
    page.select_option("#route", "model:echo")
    site.upstream.script("echo", "status-429-bare")
    send(page, "hello")
    wait_for_answer(page)
    for _ in ("live", "loaded"):
        expect(page.locator(".answer .fallback")).to_be_hidden()
        page.locator(".answer [data-fact=attempts]").wait_for(state="attached")
        expect(page.locator(".answer [data-fact=attempts]")).to_have_text("2")
        page.reload()
