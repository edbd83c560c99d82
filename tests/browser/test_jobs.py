"""The queue's pages in a real browser: live, without JavaScript, on a phone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.support.browser import Seen
from tests.support.browser_fixtures import Site

pytestmark = pytest.mark.timeout(300)
Opener = Callable[..., tuple[Page, Seen]]
PHONE = {"width": 375, "height": 812}
WITHIN_MS = 30_000
ANSWERED_BY = """
from routing.models import Model, RoleSlot
model = Model.objects.get(name={model!r})
RoleSlot.objects.all().delete()
RoleSlot.objects.create(role="chat", position=0, model=model)
Model.objects.exclude(pk=model.pk).update(enabled=False)
Model.objects.filter(pk=model.pk).update(enabled=True)
"""


@pytest.fixture
def answered_by(site: Site) -> Callable[[str], None]:
    """Return a function that leaves one model to answer everything."""

    def choose(model: str) -> None:
        site.server.manage("shell", "-v", "0", "-c", ANSWERED_BY.format(model=model))

    return choose


def add(page: Page, site: Site, text: str) -> Locator:
    """Queue a task by the form and return its line."""
    page.goto(f"{site.url}/jobs/")
    page.get_by_label("Task", exact=True).fill(text)
    page.get_by_role("button", name="Queue this task").click()
    return page.locator(".job", has_text=text)


def test_a_task_is_added_and_done_without_a_reload(
    site: Site, open_page: Opener, answered_by: Callable[[str], None]
) -> None:
    answered_by("echo")
    page, seen = open_page()
    line = add(page, site, "Say **hello** to <b>everybody</b>")
    page.evaluate("window.isSame = true")
    expect(line).to_have_attribute("data-state", "done", timeout=WITHIN_MS)
    assert page.evaluate("window.isSame"), "The page was loaded anew."
    # Nothing is open any more, so that nothing is asked for again.
    assert page.locator("#job-groups").get_attribute("hx-get") is None

    line.get_by_role("link").click()
    result = page.locator("#job-state .prose")
    expect(result.locator("strong")).to_have_text("hello")
    assert result.locator("b").count() == 0
    expect(result).to_contain_text("<b>everybody</b>")
    expect(page.locator(".job-text")).to_have_text("Say **hello** to <b>everybody</b>")
    seen.assert_clean()


def test_a_running_task_is_cancelled_and_tried_again(
    site: Site, open_page: Opener, answered_by: Callable[[str], None]
) -> None:
    answered_by("hang")
    page, seen = open_page()
    line = add(page, site, "A task without an end")
    expect(line).to_have_attribute("data-state", "processing", timeout=WITHIN_MS)
    page.evaluate("window.isSame = true")
    line.get_by_role("link").click()
    state = page.locator("#job-state")
    expect(state).to_have_attribute("data-state", "processing")

    page.get_by_role("button", name="Cancel").click()
    expect(state).to_have_attribute("data-state", "cancelled", timeout=WITHIN_MS)

    answered_by("echo")
    page.get_by_role("button", name="Retry").click()
    expect(state).to_have_attribute("data-state", "done", timeout=WITHIN_MS)
    expect(state.locator(".prose")).to_contain_text("A task without an end")
    seen.assert_clean()


def test_the_queue_works_without_javascript_on_a_phone(
    site: Site, open_page: Opener, answered_by: Callable[[str], None]
) -> None:
    answered_by("hang")
    page, seen = open_page("bob", java_script_enabled=False, viewport=PHONE)
    word = "unbreakable" * 12
    line = add(page, site, f"Look {word}")
    expect(line).to_have_count(1)
    # Without scripts only the layout itself can tell that nothing sticks out.
    box = line.bounding_box()
    assert box is not None and box["x"] + box["width"] <= PHONE["width"]

    line.get_by_role("button", name="Cancel").click()
    for _ in range(60):
        page.reload()
        if page.locator('.job[data-state="cancelled"]').count():
            break
        page.wait_for_timeout(500)
    retry = page.locator('.job[data-state="cancelled"]')
    expect(retry.get_by_role("button", name="Retry")).to_be_visible()
    retry.get_by_role("link").click()
    page.get_by_role("link", name="Delete…").click()
    page.get_by_role("button", name="Delete for good").click()
    expect(page.get_by_role("heading", name="Nothing is queued")).to_be_visible()
    seen.assert_clean()


def test_a_heartbeat_that_is_asked_for_appears_by_itself(
    site: Site, open_page: Opener
) -> None:
    page, seen = open_page(viewport=PHONE)
    page.goto(f"{site.url}/jobs/heartbeat/")
    # The first one comes seconds after the start.
    done = page.locator("#beats tbody tr", has_text="done")
    expect(done.first).to_be_visible(timeout=WITHIN_MS)
    before = page.locator("#beats tbody tr").count()
    page.get_by_role("button", name="Beat now").click()
    page.evaluate("window.isSame = true")
    by_hand = page.locator("#beats tbody tr", has_text="by hand")
    expect(by_hand.get_by_text("done", exact=True)).to_be_visible(timeout=WITHIN_MS)
    assert page.locator("#beats tbody tr").count() == before + 1
    assert page.evaluate("window.isSame"), "The page was loaded anew."
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= PHONE["width"]
    seen.assert_clean()
