"""What comes by a bot shows in an open page at once, with who wrote it and how."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.support.browser import Seen, send, wait_for_answer
from tests.support.browser_fixtures import Site
from tests.support.nextcloud import Nextcloud

Opener = Callable[..., tuple[Page, Seen]]
SET_UP = """
from channels_app.models import Channel, ChannelRoom
from personas.models import Persona
from tests.support.talk import make_talk_channel
inara = Persona.objects.get(name="inara", owner__username="alice")
channel = make_talk_channel(inara, {url!r}, secret={secret!r}, room="train")
ChannelRoom.objects.create(
    channel=channel, external_id="tram", state="allowed", alone=True
)
ChannelRoom.objects.create(
    channel=channel, external_id="shared", state="allowed", alone=False
)
"""
WITHIN_MS = 20_000
"""A message goes a long way: webhook, room, turn, note, page."""
THREAD = "from channels_app.models import Channel; Channel.objects.update(thread={!r})"


@pytest.fixture(scope="module")
def nextcloud(site: Site) -> Iterator[Nextcloud]:
    """Run a Nextcloud whose bot is alice's Inara, in three rooms."""
    with Nextcloud() as server:
        server.bot.rooms = {"train", "tram", "shared"}
        set_up = SET_UP.format(url=server.url, secret=server.bot.secret)
        site.server.manage("shell", "-c", set_up)
        yield server


def say(nextcloud: Nextcloud, site: Site, text: str, **fields: str) -> None:
    """Write into a room, as somebody does there."""
    address = f"{site.url}/webhook/nextcloud/alice"
    answer = nextcloud.say(address, text, **fields)
    assert answer.status == 200, answer


def open_chat(page: Page, site: Site, path: str = "/?persona=inara") -> None:
    """Open a page and wait until its socket is answered."""
    with page.expect_websocket() as opened:
        page.goto(site.url + path)
    with opened.value.expect_event("framereceived"):
        # A command is answered over the socket alone and leaves nothing behind.
        send(page, "/help")
    page.get_by_role("button", name="Close this note").click()


def test_a_message_by_talk_shows_in_the_open_chat_at_once(
    site: Site, open_page: Opener, nextcloud: Nextcloud
) -> None:
    site.server.manage("shell", "-c", THREAD.format("own"))
    page, seen = open_page()
    open_chat(page, site)
    say(nextcloud, site, "Hello from the train", room="train")
    # The list of a page that shows something else learns of it by itself.
    item = page.locator(".chat-item", has_text="Hello from the train")
    expect(item.locator(".door")).to_have_text("Nextcloud Talk", timeout=WITHIN_MS)
    item.locator(".chat-link").click()
    page.wait_for_url(re.compile("/c/"))
    expect(page.locator(".mine .origin")).to_have_text("You, by Nextcloud Talk")
    wait_for_answer(page)
    page.evaluate("() => { window.sameOne = true; }")
    # Now it stands open, and what comes next is seen without a click.
    say(nextcloud, site, "And again", room="train")
    mine = page.locator(".mine .text")
    expect(mine.last).to_have_text("And again", timeout=WITHIN_MS)
    wait_for_answer(page, 2)
    expect(page.locator(".answer .text").last).to_have_text("And again")
    expect(page.locator(".answer .door").last).to_have_text("Nextcloud Talk")
    expect(page.locator("#status")).to_have_text(re.compile("^Inara answered"))
    send(page, "Home now")
    wait_for_answer(page, 3)
    assert page.locator(".mine").count() == 3
    expect(page.locator(".mine").last.locator(".origin")).to_have_count(0)
    assert page.evaluate("() => window.sameOne") is True
    assert {post.text for post in nextcloud.posts} >= {"And again"}
    assert "Home now" not in {post.text for post in nextcloud.posts}
    seen.assert_clean()


def test_the_same_thread_grows_in_an_open_page(
    site: Site, open_page: Opener, nextcloud: Nextcloud
) -> None:
    site.server.manage("shell", "-c", THREAD.format("web"))
    page, seen = open_page()
    open_chat(page, site)
    send(page, "Begun at the desk")
    wait_for_answer(page)
    say(nextcloud, site, "Gone on in the tram", room="tram")
    mine = page.locator(".mine .text")
    expect(mine.last).to_have_text("Gone on in the tram", timeout=WITHIN_MS)
    wait_for_answer(page, 2)
    page.locator("#composer-text").fill("half a thought")
    say(nextcloud, site, "And on foot", room="tram")
    # The next one begins the moment the one before has ended.
    say(nextcloud, site, "And up the stairs", room="tram")
    wait_for_answer(page, 4)
    assert mine.all_inner_texts() == [
        "Begun at the desk",
        "Gone on in the tram",
        "And on foot",
        "And up the stairs",
    ]
    expect(page.locator("#composer-text")).to_have_value("half a thought")
    seen.assert_clean()


def test_a_room_where_others_read_is_marked_and_names_who_wrote(
    site: Site, open_page: Opener, nextcloud: Nextcloud
) -> None:
    page, seen = open_page()
    open_chat(page, site)
    say(
        nextcloud,
        site,
        "Inara, what is for dinner?",
        room="shared",
        sender="users/bob",
        name="<i>Bob</i>",
    )
    item = page.locator(".chat-item", has_text="Inara, what is for dinner?")
    expect(item.get_by_title("Others read along")).to_be_visible(timeout=WITHIN_MS)
    item.locator(".chat-link").click()
    page.wait_for_url(re.compile("/c/"))
    expect(page.locator(".shared-mark")).to_contain_text("others read along")
    mine = page.locator(".mine").first
    expect(mine.locator(".origin")).to_have_text(
        "<i>Bob</i> (guest), by Nextcloud Talk"
    )
    expect(mine.get_by_role("button", name="Edit this message")).to_have_count(0)
    wait_for_answer(page)
    say(nextcloud, site, "Inara, and I?", room="shared", name="Alice A.")
    expect(page.locator(".mine .origin").last).to_have_text(
        "Alice A. (you), by Nextcloud Talk", timeout=WITHIN_MS
    )
    wait_for_answer(page, 2)
    seen.assert_clean()
