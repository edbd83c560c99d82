"""The pages of hosts, models and chains on a small screen, with and without scripts."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.support.browser import Seen
from tests.support.browser_fixtures import Site

Opener = Callable[..., tuple[Page, Seen]]
SMALL = {"width": 360, "height": 740}
MODELS = "/settings/models/"
PAGES = [
    "",
    "drill/",
    "hosts/add/",
    "hosts/add/?type=claude_cli",
    "hosts/add/?type=gemini_api",
    "hosts/add/?type=local_openai",
    "chains/own/chat/",
    "chains/shared/coder/",
]
OVERFLOW = "document.documentElement.scrollWidth - window.innerWidth"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_pages_fit_a_small_screen_and_break_no_policy(
    theme: str, site: Site, open_page: Opener
) -> None:
    page, seen = open_page("alice", viewport=SMALL, color_scheme=theme)
    for path in PAGES:
        response = page.goto(site.url + MODELS + path)
        assert response is not None
        assert response.status == 200
        assert page.evaluate(OVERFLOW) <= 0, path
    seen.assert_clean()


def test_host_model_chain_and_drill_need_no_scripts(
    site: Site, open_page: Opener
) -> None:
    page, _ = open_page("alice", java_script_enabled=False)
    page.goto(f"{site.url}{MODELS}hosts/add/")
    page.get_by_role("link", name="Add: OpenAI-compatible server").click()
    page.get_by_label("Name").fill("Second")
    page.get_by_label("Address").fill(f"{site.upstream.url}/v1")
    page.get_by_role("button", name="Save").click()
    card = page.locator("article", has_text="Second")
    card.get_by_role("button", name="Add a model").click()
    page.get_by_role("link", name="Add echo").click()
    page.get_by_label("Label").fill("second-echo")
    page.get_by_label("Can call tools").check()
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("second-echo is saved.")).to_be_visible()

    card.get_by_role("button", name="Test this host").click()
    expect(page.get_by_text("Second works.")).to_be_visible()

    page.goto(f"{site.url}{MODELS}chains/own/coder/")
    page.get_by_label("Primary").select_option("second-echo")
    page.get_by_label("Backup 1").select_option("builtin")
    page.get_by_role("button", name="Save").click()
    coder = page.get_by_role("listitem").filter(has_text="programming")
    expect(coder).to_contain_text(re.compile(r"second-echo\s+→\s+builtin"))

    page.get_by_role("link", name="Fallback drill").click()
    page.get_by_label("Second").check()
    page.get_by_role("button", name="Try").click()
    coder = page.get_by_role("listitem").filter(has_text="programming")
    expect(coder).to_contain_text("Instead of second-echo.")
