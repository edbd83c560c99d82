"""The memory page in a real browser: wide, on a phone, and without JavaScript."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.support.browser import Seen
from tests.support.browser_fixtures import Site

pytestmark = pytest.mark.timeout(300)
Opener = Callable[..., tuple[Page, Seen]]
WIDE = {"width": 1200, "height": 900}
PHONE = {"width": 375, "height": 812}
FILL = """
from tests.support.memory_seed import fill
fill("alice", "inara")
"""


@pytest.fixture
def address(site: Site) -> str:
    """Fill the memory of alice's Inara anew and return the address of its page."""
    site.server.manage("shell", "-v", "0", "-c", FILL)
    return f"{site.url}/personas/inara/memory/"


def line(page: Page, text: str) -> Locator:
    return page.locator(".memory-line", has_text=text)


def words_in(tier: Locator) -> Locator:
    return tier.locator(".memory-text")


def change(page: Page, text: str) -> Locator:
    """Open what can be done to a line and return the line."""
    found = line(page, text)
    found.locator("summary").click()
    return found


def fits(page: Page) -> bool:
    width = page.evaluate("document.documentElement.scrollWidth")
    return bool(width <= page.viewport_size["width"])  # type: ignore[index]


@pytest.mark.parametrize("viewport", [WIDE, PHONE], ids=["wide", "phone"])
def test_lines_are_changed_without_a_reload(
    address: str, open_page: Opener, viewport: dict[str, int]
) -> None:
    page, seen = open_page(viewport=viewport)
    page.goto(address)
    page.evaluate("window.isSame = true")
    assert fits(page)

    # What is typed elsewhere stays when another line is pinned.
    typed = change(page, "Practises the Bach suites").get_by_label("Line")
    typed.fill("2026-11-19 Practises Bach before breakfast.")
    pin = line(page, "cello lesson").get_by_role("button", name="Pin")
    pin.click()
    expect(line(page, "cello lesson").get_by_text("pinned")).to_be_visible()
    expect(pin).to_be_focused()
    expect(typed).to_have_value("2026-11-19 Practises Bach before breakfast.")

    line(page, "Bach suites").get_by_role("button", name="Save").click()
    edited = line(page, "Practises Bach before breakfast.")
    expect(edited).to_contain_text("19 Nov 2026")

    change(page, "before breakfast").get_by_text("Move to long memory").click()
    long = page.locator(".memory-tier", has=page.get_by_text("Long memory", exact=True))
    expect(words_in(long)).to_contain_text(["before breakfast"])

    change(page, "before breakfast").get_by_text("Delete", exact=True).click()
    expect(line(page, "before breakfast")).to_have_count(0)
    undo = page.locator("[data-removed]").get_by_role("button", name="Undo")
    expect(undo).to_be_focused()
    undo.click()
    expect(words_in(long)).to_contain_text(["before breakfast"])
    expect(page.locator("[data-removed]")).to_have_count(0)
    assert fits(page)

    review = page.locator(".memory-run", has_text="From 14 messages")
    review.get_by_text("Edit before you accept").click()
    box = review.get_by_label("New lines for short memory")
    box.fill(box.input_value().replace("Sunday", "Saturday"))
    review.get_by_role("button", name="Accept as edited").click()
    expect(line(page, "from Saturday").get_by_text("Its message")).to_be_visible()
    expect(page.get_by_text("Waits for you")).to_have_count(0)
    assert page.evaluate("window.isSame"), "The page was loaded anew."
    seen.assert_clean()


def test_search_filters_while_one_types_and_a_late_change_is_told(
    site: Site, address: str, open_page: Opener
) -> None:
    page, seen = open_page(viewport=WIDE)
    page.goto(address)
    page.get_by_label("Search the memory").type("cello")
    expect(page.get_by_text("1 line with “cello”.")).to_be_visible()
    expect(page.locator(".memory-line")).to_have_count(1)
    expect(page.get_by_label("Search the memory")).to_be_focused()
    change(page, "cello").get_by_label("Line").fill("My own words.")
    site.server.manage(
        "shell",
        "-v",
        "0",
        "-c",
        FILL.replace("fill(", "change_lines(").replace(
            "import fill", "import change_lines"
        ),
    )
    line(page, "cello").get_by_role("button", name="Save").click()
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("This line was changed elsewhere or is gone")
    expect(alert.get_by_role("textbox")).to_have_value("My own words.")
    alert.get_by_role("button", name="Add it as a new line").click()
    page.get_by_label("Search the memory").fill("own words")
    expect(line(page, "My own words.")).to_be_visible()
    seen.assert_clean()


def test_everything_works_without_javascript_on_a_phone(
    address: str, open_page: Opener
) -> None:
    page, seen = open_page(viewport=PHONE, java_script_enabled=False)
    page.goto(address)
    line(page, "cello lesson").get_by_role("button", name="Pin").click()
    expect(line(page, "cello lesson").get_by_text("pinned")).to_be_visible()
    change(page, "cello lesson").get_by_text("Delete", exact=True).click()
    page.locator("#memory-undo").click()
    expect(line(page, "cello lesson")).to_have_count(1)
    gone = line(page, "Its message was deleted")
    gone.get_by_role("button", name="Keep").click()
    expect(page.get_by_text("Its message was deleted")).to_have_count(0)
    page.get_by_role("button", name="Accept", exact=True).click()
    expect(line(page, "by the river")).to_have_count(1)
    page.locator("#memory-settings summary").click()
    for label in ("quiet minutes", "new messages", "Each day at"):
        page.get_by_label(label).fill("")
    page.get_by_label("What it proposes enters").select_option("After a day")
    page.locator("#memory-settings").get_by_role("button", name="Save").click()
    expect(page.get_by_text("Say when: fill in at least one")).to_be_visible()
    expect(page.get_by_label("What it proposes enters")).to_have_value("1")
    box = page.locator(".memory-line").first.bounding_box()
    assert box is not None and box["x"] + box["width"] <= PHONE["width"]
    seen.assert_clean()


def test_on_a_phone_every_tier_has_its_links_in_the_same_place(
    address: str, open_page: Opener
) -> None:
    page, seen = open_page(viewport=PHONE)
    page.goto(address)
    places = set()
    for head in page.locator(".memory-tier-head").all():
        edit = head.get_by_role("link", name="Edit the file").bounding_box()
        size = head.locator(".memory-size").bounding_box()
        assert edit is not None and size is not None
        places.add((edit["x"], edit["y"] - size["y"]))
    assert len(places) == 1
    assert fits(page)
    link = page.get_by_role("link", name="All versions of this file").first
    link.click()
    page.wait_for_url("**/files/MEMORY_*.md/history/")
    seen.assert_clean()
