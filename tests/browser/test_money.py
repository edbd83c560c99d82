"""The chart of the page about money in a real browser, in both themes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.support.browser import Seen
from tests.support.browser_fixtures import Site

Opener = Callable[..., tuple[Page, Seen]]
NARROW = {"width": 360, "height": 800}
COUNT_PIXELS = """(part) => {
  const swatch = document.querySelector(`.swatch.${part}`);
  const colour = getComputedStyle(swatch).color.match(/[0-9.]+/g).map(Number);
  const canvas = document.querySelector(".chart canvas");
  const { width, height } = canvas;
  const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
  let count = 0;
  for (let at = 0; at < data.length; at += 4) {
    const near = [0, 1, 2].every((n) => Math.abs(data[at + n] - colour[n]) < 40);
    if (near && data[at + 3] > 150) count += 1;
  }
  return count;
}"""
"""Counts the chart's pixels that have about the colour of a part of its key."""
SWATCH = "(part) => getComputedStyle(document.querySelector(`.swatch.${part}`)).color"


@pytest.fixture(scope="module")
def booked(site: Site) -> Site:
    """Book calls of alice: paid ones, one by subscription, one of unknown cost."""
    site.server.manage(
        "shell",
        "-c",
        "from accounts.models import User\n"
        "from ledger.types import Prices\n"
        "from tests.support.ledger import book\n"
        "alice = User.objects.get(username='alice')\n"
        "book(alice, input_tokens=90_000)\n"
        "book(alice, input_tokens=60_000, billing='notional')\n"
        "book(alice, prices=Prices())\n",
    )
    return site


def open_chart(booked: Site, open_page: Opener, **options: Any) -> tuple[Page, Seen]:
    """Open the page and wait for its chart."""
    page, seen = open_page(**options)
    page.goto(f"{booked.url}/money/")
    expect(page.locator(".chart canvas")).to_be_visible()
    return page, seen


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("viewport", [{"width": 1280, "height": 860}, NARROW])
def test_the_chart_draws_each_part_within_the_policy(
    booked: Site, open_page: Opener, scheme: str, viewport: dict[str, int]
) -> None:
    page, seen = open_chart(booked, open_page, color_scheme=scheme, viewport=viewport)
    for part in ("paid", "covered", "unknown"):
        assert page.evaluate(COUNT_PIXELS, part) > 0, part
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= viewport["width"]
    seen.assert_clean()


def test_the_chart_follows_the_theme_and_the_width(
    booked: Site, open_page: Opener
) -> None:
    page, seen = open_chart(booked, open_page, color_scheme="light")
    light = page.evaluate(SWATCH, "paid")
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    page.wait_for_function(f"({SWATCH})('paid') !== '{light}'")
    page.wait_for_function(f"() => ({COUNT_PIXELS})('paid') > 0", timeout=5000)
    page.set_viewport_size(NARROW)  # type: ignore[arg-type]
    page.wait_for_function(
        "() => document.querySelector('.chart .uplot').offsetWidth <= 360"
    )
    seen.assert_clean()


def test_a_bar_under_the_pointer_is_told_in_words(
    booked: Site, open_page: Opener
) -> None:
    page, _ = open_chart(booked, open_page)
    legend = page.locator(".chart .u-legend")
    expect(legend).to_contain_text("$0.27")
    box = page.locator(".chart .u-over").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    expect(legend).not_to_contain_text("$0.27")
    page.mouse.move(box["x"] + box["width"] * 0.985, box["y"] + box["height"] / 2)
    expect(legend).to_contain_text("$0.18")


def test_the_table_says_the_same_without_scripts(
    booked: Site, open_page: Opener
) -> None:
    page, _ = open_page(java_script_enabled=False)
    page.goto(f"{booked.url}/money/")
    expect(page.locator(".chart")).to_be_hidden()
    page.get_by_text("The same as a table").click()
    last = page.locator("[data-chart-rows] tbody tr").last
    expect(last).to_be_visible()
    expect(last.locator("td")).to_have_text(["$0.27", "$0.18", "3", "1"])


def test_an_amount_is_never_broken_on_a_phone(booked: Site, open_page: Opener) -> None:
    page, _ = open_chart(booked, open_page, viewport=NARROW)
    lines = page.locator(".figure .amount").evaluate_all(
        "(boxes) => boxes.map((box) => box.clientHeight"
        " / parseFloat(getComputedStyle(box).lineHeight))"
    )
    assert lines
    assert max(lines) < 1.5
    assert page.locator(".figure .amount").evaluate_all(
        "(boxes) => boxes.every((box) => box.scrollWidth <= box.clientWidth + 1)"
    )
