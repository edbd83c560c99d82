"""The chat page in a real browser, against the real server and a mock model."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.support.browser import PHONE, Seen, send, wait_for_answer
from tests.support.browser_fixtures import Site
from tests.support.upstream import token_text

Opener = Callable[..., tuple[Page, Seen]]
MARKDOWN = """# A plan

| What | When | Cost |
|:--|:-:|--:|
| one | now | 5 |

- [x] done
- [ ] open

```python
def f(x: int) -> str:
    return "é"
```

A lone $5 stays text, and so does <b>this</b>.
"""


def start(page: Page, site: Site, model: str = "") -> None:
    page.goto(f"{site.url}/?persona=inara")
    page.wait_for_function("() => document.getElementById('chat') !== null")
    if model:
        page.select_option("#route", f"model:{model}")


def middle_of(page: Page, selector: str) -> tuple[float, float]:
    """Return the point in the middle of an element."""
    box = page.locator(selector).bounding_box()
    assert box is not None
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def wait_for_length(page: Page, characters: int) -> None:
    """Wait until the last answer shows more than so many characters."""
    page.wait_for_function(
        "(least) => [...document.querySelectorAll('.answer .text')]"
        ".at(-1)?.textContent.length > least",
        arg=characters,
    )


def test_an_answer_streams_and_is_drawn_as_markdown(
    site: Site, open_page: Opener
) -> None:
    page, seen = open_page()
    start(page, site)
    send(page, MARKDOWN)
    wait_for_answer(page)
    answer = page.locator(".answer .text").last
    expect(answer.locator("h1")).to_have_text("A plan")
    expect(answer.locator("td.align-right")).to_have_text("5")
    expect(answer.locator(".task-done")).to_have_count(1)
    expect(answer.locator(".task-open")).to_have_count(1)
    expect(answer.locator("code.language-python .hljs-keyword").first).to_have_text(
        "def"
    )
    expect(answer.locator(".code-frame figcaption span")).to_have_text("python")
    assert "A lone $5 stays text, and so does <b>this</b>." in answer.inner_text()
    assert re.fullmatch(rf"{site.url}/c/[0-9a-f-]{{36}}", page.url)
    expect(page.locator(".answer .cost").last).to_have_text(re.compile("cost unknown"))
    expect(page.locator("#status")).to_have_text(re.compile("^Inara answered"))
    seen.assert_clean()


def test_growing_text_equals_the_text_rendered_at_once(site: Site, page: Page) -> None:
    start(page, site)
    equal = page.evaluate(
        """async (source) => {
          const { GrowingText, toNodes } = await import("/static/js/markdown.js");
          const box = document.createElement("div");
          const growing = new GrowingText(box);
          let renders = 0;
          const observer = new MutationObserver(() => { renders += 1; });
          observer.observe(box, { childList: true });
          for (const piece of source.match(/[^]{1,7}/g)) {
            growing.append(piece);
            growing.append("");
            await new Promise(requestAnimationFrame);
          }
          growing.finish();
          const whole = document.createElement("div");
          whole.append(toNodes(source));
          return [box.innerHTML, whole.innerHTML];
        }""",
        MARKDOWN * 3 + "\n[link][ref]\n\n[ref]: https://example.org/\n",
    )
    assert equal[0].replace("\n", "") == equal[1].replace("\n", "")


def test_a_line_end_in_two_pieces_is_one(site: Site, page: Page) -> None:
    start(page, site)
    source = page.evaluate(
        """async () => {
          const { GrowingText } = await import("/static/js/markdown.js");
          const growing = new GrowingText(document.createElement("div"));
          for (const piece of ["a\\r", "", "\\nb\\r", "c\\r\\n", "\\nd"]) {
            growing.append(piece);
          }
          return growing.finish();
        }"""
    )
    assert source == "a\nb\nc\n\nd"


def test_settled_blocks_are_not_drawn_again(site: Site, page: Page) -> None:
    start(page, site)
    kept = page.evaluate(
        """async () => {
          const { GrowingText } = await import("/static/js/markdown.js");
          const box = document.createElement("div");
          const growing = new GrowingText(box);
          growing.append("First block.\\n\\nSecond");
          await new Promise(requestAnimationFrame);
          const first = box.querySelector("p");
          growing.append(" block.\\n\\nThird block.");
          await new Promise(requestAnimationFrame);
          return first === box.querySelector("p") && box.querySelectorAll("p").length;
        }"""
    )
    assert kept == 3


def test_stop_keeps_the_text_and_the_composer_its_focus(site: Site, page: Page) -> None:
    start(page, site, "tokens-400-20ms")
    send(page, "count")
    wait_for_length(page, 20)
    expect(page.locator("#send")).to_be_hidden()
    page.keyboard.press("Escape")
    wait_for_answer(page, 1, "interrupted")
    text = page.locator(".answer .text").last.inner_text()
    assert text.startswith(token_text(0))
    assert token_text(399) not in text
    expect(page.locator(".stopped").last).to_be_visible()
    expect(page.locator("#composer-text")).to_be_focused()
    expect(page.locator("#send")).to_be_visible()


def test_retry_makes_a_version_and_both_can_be_read(site: Site, page: Page) -> None:
    start(page, site)
    send(page, "first words")
    wait_for_answer(page)
    page.locator(".answer [data-action=retry]").last.click()
    expect(page.locator(".sibling-count:visible").last).to_have_text("2/2")
    wait_for_answer(page)
    page.get_by_role("button", name="Previous version").last.click()
    expect(page.locator(".answer .sibling-count").last).to_have_text("1/2")
    page.reload()
    expect(page.locator(".answer .sibling-count").last).to_have_text("1/2")


def test_a_message_can_be_edited_into_another_version(site: Site, page: Page) -> None:
    start(page, site)
    send(page, "teh words")
    wait_for_answer(page)
    page.locator(".mine").hover()
    page.get_by_role("button", name="Edit this message").click()
    page.locator(".editor textarea").fill("the words")
    page.get_by_role("button", name="Save and answer").click()
    expect(page.locator(".answer .text")).to_contain_text("the words")
    expect(page.locator(".mine .sibling-count")).to_have_text("2/2")


def test_a_failure_stands_in_the_message_place_with_a_way_on(
    site: Site, page: Page
) -> None:
    start(page, site, "status-500")
    send(page, "please")
    wait_for_answer(page, 1, "failed")
    trouble = page.locator(".trouble:visible")
    assert len(trouble.locator(".trouble-text").inner_text()) > 10
    trouble.locator(".retry-with").select_option("model:echo")
    wait_for_answer(page)
    expect(page.locator(".answer .text")).to_contain_text("please")
    expect(page.locator(".trouble:visible")).to_have_count(0)


def test_thinking_is_one_closed_line(site: Site, page: Page) -> None:
    start(page, site, "think")
    send(page, "why")
    wait_for_answer(page)
    expect(page.locator(".thinking summary")).to_have_text(re.compile("Thought for"))
    expect(page.locator(".thinking-text")).to_be_hidden()
    thought = page.locator(".thinking-text").text_content() or ""
    assert thought
    assert thought not in (page.locator(".answer .text").text_content() or "")


def test_the_stage_shows_before_the_model_says_anything(site: Site, page: Page) -> None:
    start(page, site, "hang")
    before = time.monotonic()
    send(page, "hello?")
    expect(page.locator(".stage-text")).to_have_text(re.compile("^Inara is "))
    assert time.monotonic() - before < 5
    expect(page.locator(".stage-text")).to_contain_text("waiting for the model")
    page.click("#stop")
    wait_for_answer(page, 1, "interrupted")


def test_a_second_tab_follows_the_same_answer(site: Site, open_page: Opener) -> None:
    first, _ = open_page()
    start(first, site)
    send(first, "one")
    wait_for_answer(first)
    second, _ = open_page()
    second.goto(first.url)
    expect(second.locator(".answer .text")).to_have_text("one")
    first.select_option("#route", "model:tokens-30-5ms")
    send(first, "two")
    wait_for_answer(second, 2)
    wait_for_answer(first, 2)
    texts = [tab.locator(".answer .text").last.inner_text() for tab in (first, second)]
    assert texts[0] == texts[1] == "".join(map(token_text, range(30)))


def test_a_broken_connection_is_announced_and_mended_without_a_gap(
    site: Site, page: Page
) -> None:
    page.add_init_script(
        """
        const Real = WebSocket;
        window.sockets = [];
        window.WebSocket = class extends Real {
          constructor(...words) { super(...words); window.sockets.push(this); }
        };
        """
    )
    start(page, site, "tokens-400-20ms")
    send(page, "count")
    for _ in range(2):
        length = len(page.locator(".answer .text").inner_text())
        wait_for_length(page, length + 80)
        page.evaluate("window.sockets.at(-1).close()")
        expect(page.locator("#connection")).to_be_visible()
        expect(page.locator("#connection")).to_be_hidden(timeout=6000)
    wait_for_answer(page)
    text = page.locator(".answer .text").inner_text()
    assert text == "".join(map(token_text, range(400)))


def test_a_draft_outlives_the_page_and_a_sent_one_does_not(
    site: Site, page: Page
) -> None:
    page.goto(f"{site.url}/?persona=tina")
    page.fill("#composer-text", "half a thought")
    page.reload()
    expect(page.locator("#composer-text")).to_have_value("half a thought")
    page.press("#composer-text", "Shift+Enter")
    expect(page.locator("#composer-text")).to_have_value("half a thought\n")
    page.press("#composer-text", "Enter")
    wait_for_answer(page)
    page.goto(f"{site.url}/?persona=tina")
    expect(page.locator("#composer-text")).to_have_value("")


def test_older_messages_come_while_scrolling_up_and_the_place_is_kept(
    site: Site, page: Page
) -> None:
    start(page, site)
    page.get_by_role("link", name="A long talk").click()
    expect(page.locator(".message")).to_have_count(30)
    expect(page.locator(".answer").last).to_be_in_viewport()
    page.evaluate("document.getElementById('scroller').scrollTop = 300")
    expect(page.locator(".message")).to_have_count(60)
    top = page.locator(".message").nth(30).bounding_box()
    assert top is not None
    assert -1500 < top["y"] < 1500
    expect(page.locator("#jump")).to_be_visible()
    page.click("#jump")
    expect(page.locator(".answer").last).to_be_in_viewport()
    expect(page.locator("#jump")).to_be_hidden()


def test_reading_upwards_is_not_disturbed_by_a_growing_answer(
    site: Site, page: Page
) -> None:
    start(page, site)
    page.get_by_role("link", name="A long talk").click()
    page.select_option("#route", "model:tokens-400-20ms")
    send(page, "count")
    wait_for_length(page, 40)
    expect(page.locator(".live")).to_be_in_viewport()
    page.locator("#scroller").hover()
    page.mouse.wheel(0, -700)
    expect(page.locator("#jump")).to_be_visible()
    place = page.evaluate("document.getElementById('scroller').scrollTop")
    expect(page.locator("#jump")).to_have_class(re.compile("unread"))
    assert page.evaluate("document.getElementById('scroller').scrollTop") == place
    page.click("#jump")
    expect(page.locator(".live")).to_be_in_viewport()
    page.keyboard.press("Escape")
    wait_for_answer(page, 1, "interrupted")


def test_rename_and_delete_with_undo_in_the_list(site: Site, open_page: Opener) -> None:
    page, seen = open_page()
    start(page, site)
    send(page, "to be renamed")
    wait_for_answer(page)
    item = page.locator(".chat-item", has_text="to be renamed")
    item.hover()
    item.locator("summary").click()
    item.locator("input[name=title]").fill("A better <title>")
    item.get_by_role("button", name="Rename").click()
    expect(page.locator("#chat-title")).to_have_text("A better <title>")
    item = page.locator(".chat-item", has_text="A better <title>")
    item.hover()
    item.locator("summary").click()
    item.get_by_role("button", name="Delete").click()
    page.wait_for_url("**/?persona=inara&deleted=*")
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("#chat-title")).to_have_text("A better <title>")
    page.goto(f"{site.url}/?persona=inara")
    item = page.locator(".chat-item", has_text="A better <title>")
    item.hover()
    item.locator("summary").click()
    item.get_by_role("button", name="Delete").click()
    expect(page.locator("#chat-list [data-undo]")).to_be_visible()
    page.locator("#chat-list").get_by_role("button", name="Undo").click()
    expect(page.locator(".chat-item", has_text="A better <title>")).to_be_visible()
    seen.assert_clean()


def test_reading_renaming_and_deleting_work_without_scripts(
    site: Site, open_page: Opener
) -> None:
    writer, _ = open_page()
    start(writer, site)
    send(writer, "plain *words*")
    wait_for_answer(writer)
    page, _ = open_page(java_script_enabled=False)
    page.goto(writer.url)
    expect(page.locator(".answer .text")).to_have_text("plain *words*")
    item = page.locator(".chat-item:has([aria-current])")
    item.locator("summary").click()
    item.locator("input[name=title]").fill("Without scripts")
    item.get_by_role("button", name="Rename").click()
    expect(page.locator("#chat-title")).to_have_text("Without scripts")
    item = page.locator(".chat-item:has([aria-current])")
    item.locator("summary").click()
    item.get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("#chat-title")).to_have_text("Without scripts")


def test_nothing_that_needs_scripts_is_offered_without_them(
    site: Site, open_page: Opener
) -> None:
    page, _ = open_page(java_script_enabled=False)
    page.goto(f"{site.url}/?persona=inara")
    expect(page.locator("noscript p")).to_be_visible()
    expect(page.locator("form.composer[inert]")).to_have_count(1)
    page.mouse.click(*middle_of(page, "#composer-text"))
    page.keyboard.type("lost words")
    page.keyboard.press("Enter")
    expect(page.locator("#composer-text")).to_have_value("")
    assert page.url == f"{site.url}/?persona=inara"
    expect(page.locator(".openers")).to_be_hidden()
    page.goto(site.url + str(page.locator(".chat-link").last.get_attribute("href")))
    expect(page.locator(".answer").first).to_be_visible()
    needs_scripts = page.locator("#thread").locator("[data-action], .retry-with")
    assert needs_scripts.count() > 0
    assert [each for each in needs_scripts.all() if each.is_visible()] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_phone_page_fits_and_its_drawer_opens(
    site: Site, open_page: Opener, scheme: str
) -> None:
    page, seen = open_page(viewport=PHONE, color_scheme=scheme, has_touch=True)
    start(page, site)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    expect(page.locator("#chat-list")).to_be_hidden()
    page.get_by_role("button", name="Chats and pages").click()
    expect(page.locator("#chat-list")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#chat-list")).to_be_hidden()
    send(page, "hello")
    wait_for_answer(page)
    small = page.evaluate(
        """() => [...document.querySelectorAll("button, a, select, textarea")]
          .filter((one) => one.checkVisibility() && !one.matches(".skip-link, .text a"))
          .map((one) => [one.outerHTML.slice(0, 80), one.getBoundingClientRect()])
          .filter(([, box]) => box.height < 44 || box.width < 44)
          .map(([html]) => html)"""
    )
    assert small == []
    seen.assert_clean()


def test_the_theme_is_kept_in_a_cookie_and_rendered_by_the_server(
    site: Site, page: Page
) -> None:
    start(page, site)
    page.get_by_role("button", name="You", exact=True).click()
    page.get_by_role("button", name="Dark").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    html = page.request.get(f"{site.url}/?persona=inara").text()
    assert '<html lang="en" data-theme="dark">' in html
    page.get_by_role("button", name="System").click()
    html = page.request.get(f"{site.url}/?persona=inara").text()
    assert '<html lang="en">' in html


def test_every_button_has_a_name(site: Site, page: Page) -> None:
    start(page, site)
    send(page, "name them")
    wait_for_answer(page)
    unnamed = page.evaluate(
        """() => [...document.querySelectorAll("button, summary, a, select")]
          .filter((one) => !(one.getAttribute("aria-label") || one.textContent.trim()
            || one.labels?.length))
          .map((one) => one.outerHTML)"""
    )
    assert unnamed == []


def test_a_text_that_is_too_long_is_told_and_kept_whole(site: Site, page: Page) -> None:
    page.goto(site.url)
    box = page.get_by_label("Message to")
    box.fill("a" * 40_000)
    note = page.locator("#notice")
    expect(note).to_contain_text("40,000 characters and 32,000 fit")
    page.get_by_role("button", name="Send").click()
    expect(note).to_be_visible()
    expect(page.locator(".mine")).to_have_count(0)
    assert box.evaluate("(box) => box.value.length") == 40_000
    box.fill("short")
    expect(note).to_be_hidden()
