"""Commands in a real browser: the list that opens, the notes, and where they lead."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import Page, expect

from tests.support.browser import PHONE, Seen, send, wait_for_answer
from tests.support.browser_fixtures import Site

Opener = Callable[..., tuple[Page, Seen]]
BOX = "#composer-text"
NOTE = "#command-note"


def start(page: Page, site: Site, persona: str = "inara") -> None:
    page.goto(f"{site.url}/?persona={persona}")
    page.wait_for_function(
        "() => !document.getElementById('chat').hasAttribute('data-asleep')"
    )


def shown(page: Page) -> list[str]:
    """Return the names in the list that are shown."""
    names = page.locator("#command-list [role=option]:not([hidden]) .command-name")
    return [text.split()[0] for text in names.all_inner_texts()]


def marked(page: Page) -> str:
    """Return the name of the entry that the text box says is in turn."""
    return str(
        page.evaluate(
            """() => {
              const box = document.getElementById("composer-text");
              const id = box.getAttribute("aria-activedescendant");
              const option = id && document.getElementById(id);
              const selected = document.querySelectorAll("[aria-selected=true]");
              if (selected.length > 1 || (option ?? null) !== (selected[0] ?? null)) {
                return "two entries";
              }
              return option?.dataset.name ?? "";
            }"""
        )
    )


def test_the_list_opens_filters_and_is_walked_by_keys(
    site: Site, open_page: Opener
) -> None:
    page, seen = open_page()
    start(page, site)
    box = page.locator(BOX)
    listbox = page.get_by_role("listbox", name="Commands")
    expect(listbox).to_be_hidden()
    box.press_sequentially("/")
    expect(listbox).to_be_visible()
    assert shown(page) == [
        *("/new", "/model", "/persona", "/stop", "/cost", "/brief"),
        *("/remember", "/forget", "/memory", "/help"),
    ]
    assert marked(page) == "new"
    box.press("ArrowDown")
    assert marked(page) == "model"
    box.press("ArrowUp")
    box.press("ArrowUp")
    assert marked(page) == "help"
    box.press_sequentially("c")
    assert (shown(page), marked(page)) == (["/cost"], "cost")
    box.press("Backspace")
    assert len(shown(page)) == 10
    box.press("Escape")
    expect(listbox).to_be_hidden()
    assert marked(page) == ""
    assert box.input_value() == "/"
    box.press_sequentially("zzz")
    expect(listbox).to_be_hidden()
    box.fill("one / two")
    expect(listbox).to_be_hidden()
    box.fill("//")
    expect(listbox).to_be_hidden()
    expect(box).to_be_focused()
    seen.assert_clean()


def test_tab_fills_in_and_enter_gives_the_command(
    site: Site, open_page: Opener
) -> None:
    page, seen = open_page()
    start(page, site)
    box = page.locator(BOX)
    box.press_sequentially("/mo")
    box.press("Tab")
    expect(box).to_have_value("/model ")
    expect(box).to_be_focused()
    expect(page.locator("#command-list")).to_be_hidden()
    box.press("Enter")
    note = page.locator(NOTE)
    expect(note).to_be_visible()
    expect(note.locator("li code").first).to_have_text("default")
    expect(box).to_have_value("")
    box.press_sequentially("/c")
    box.press("Enter")
    expect(note).to_contain_text("What your answers cost")
    expect(box).to_have_value("")
    box.press_sequentially("/help")
    box.press("Enter")
    expect(note).to_contain_text("Commands:")
    assert page.url == f"{site.url}/?persona=inara"
    assert page.locator(".message").count() == 0
    expect(page.locator("#greeting")).to_be_visible()
    note.get_by_role("button", name="Close this note").click()
    expect(note).to_be_hidden()
    seen.assert_clean()


def test_an_entry_can_be_tapped(site: Site, open_page: Opener) -> None:
    page, seen = open_page(viewport=PHONE, has_touch=True)
    start(page, site)
    page.locator(BOX).press_sequentially("/")
    entries = page.locator("#command-list [role=option]:not([hidden])")
    for box in (entry.bounding_box() for entry in entries.all()):
        assert box is not None
        assert box["height"] >= 44
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= PHONE["width"]
    page.get_by_role("option", name="/cost").tap()
    expect(page.locator(NOTE)).to_contain_text("What your answers cost")
    width = page.evaluate("() => document.documentElement.scrollWidth")
    assert width <= PHONE["width"]
    seen.assert_clean()


def test_new_and_persona_lead_to_another_chat_with_a_note(
    site: Site, open_page: Opener
) -> None:
    page, seen = open_page()
    start(page, site)
    send(page, "Hello there")
    wait_for_answer(page)
    assert "/c/" in page.url
    send(page, "/new")
    page.wait_for_url(f"{site.url}/?persona=inara")
    expect(page.locator(NOTE)).to_contain_text("a new conversation with Inara")
    expect(page.locator("#greeting")).to_be_visible()
    expect(page.locator(BOX)).to_have_value("")
    page.reload()
    expect(page.locator("#greeting")).to_be_visible()
    expect(page.locator(NOTE)).to_be_hidden()
    page.wait_for_function(
        "() => !document.getElementById('chat').hasAttribute('data-asleep')"
    )
    send(page, "/persona Tina")
    page.wait_for_url(f"{site.url}/?persona=tina")
    expect(page.locator(NOTE)).to_contain_text("From now on Tina answers")
    expect(page.locator("#greeting h2")).to_have_text("Tina is listening")
    page.goto(f"{site.url}/?persona=inara")
    titles = page.locator(".chat-link-title").all_inner_texts()
    assert titles.count("Hello there") == 1
    assert not {"/new", "/persona Tina"} & set(titles)
    seen.assert_clean()


def test_stop_ends_the_answer_while_it_is_written(
    site: Site, open_page: Opener
) -> None:
    page, seen = open_page()
    start(page, site)
    page.select_option("#route", "model:tokens-400-20ms")
    send(page, "Tell me a lot")
    page.wait_for_function(
        "() => document.querySelector('.answer .text')?.textContent.length > 20"
    )
    send(page, "/stop")
    wait_for_answer(page, 1, "interrupted")
    expect(page.locator(NOTE)).to_contain_text("Stopped")
    expect(page.locator(".answer .stopped")).to_be_visible()
    expect(page.locator(BOX)).to_have_value("")
    assert page.locator(".mine").count() == 1
    seen.assert_clean()


def test_model_holds_for_the_chat_and_shows_in_the_picker(
    site: Site, open_page: Opener
) -> None:
    page, seen = open_page()
    start(page, site)
    send(page, "/model tokens-30-5ms")
    expect(page.locator("#route")).to_have_value("model:tokens-30-5ms")
    expect(page.locator(NOTE)).to_contain_text("From now on")
    send(page, "Hello model")
    expect(page.locator(NOTE)).to_be_hidden()
    wait_for_answer(page)
    expect(page.locator(".answer .model").last).to_have_text("tokens-30-5ms")
    send(page, "/model echo")
    expect(page.locator("#route")).to_have_value("model:echo")
    page.reload()
    expect(page.locator("#route")).to_have_value("model:echo")
    page.wait_for_function(
        "() => !document.getElementById('chat').hasAttribute('data-asleep')"
    )
    send(page, "Once more")
    wait_for_answer(page, 2)
    expect(page.locator(".answer .model").last).to_have_text("echo")
    seen.assert_clean()


def test_a_wrong_word_comes_back_and_other_slashes_are_messages(
    site: Site, open_page: Opener
) -> None:
    page, seen = open_page()
    start(page, site)
    send(page, "/modle")
    expect(page.locator(NOTE)).to_contain_text("Did you mean /model?")
    expect(page.locator(BOX)).to_have_value("/modle")
    assert page.locator(".message").count() == 0
    send(page, "//new is a command")
    wait_for_answer(page)
    assert page.locator(".mine .text").inner_text() == "//new is a command"
    expect(page.locator(".answer .text")).to_have_text("//new is a command")
    seen.assert_clean()


def test_a_brief_is_asked_for_in_plain_words(site: Site, open_page: Opener) -> None:
    page, seen = open_page()
    start(page, site)
    send(page, "Every morning at seven, tell me something good.")
    note = page.locator(NOTE)
    expect(note).to_contain_text("Every day at 07:00")
    expect(note).to_contain_text("“Tell me something good.”")
    assert page.locator(".message").count() == 0
    expect(page.locator("#greeting")).to_be_visible()
    expect(page.locator(BOX)).to_have_value("")
    page.get_by_role("button", name="Yes, set it up").click()
    expect(note).to_contain_text("comes every day at 07:00")
    page.goto(f"{site.url}/jobs/briefs/")
    expect(page.locator("main")).to_contain_text("Tell me something good.")
    seen.assert_clean()


def test_what_a_brief_would_ask_can_be_asked_now(site: Site, open_page: Opener) -> None:
    page, seen = open_page()
    start(page, site)
    send(page, "Send me a poem every Friday at noon")
    page.get_by_role("button", name="Only answer it now").click()
    wait_for_answer(page)
    asked = "Send me a poem every Friday at noon"
    assert page.locator(".mine .text").inner_text() == asked
    send(page, "yes")
    wait_for_answer(page, 2)  # nothing waits in this conversation
    seen.assert_clean()
