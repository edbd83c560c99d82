"""The pages about channels in a real browser: also without JavaScript, on a phone."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.support.browser import Seen
from tests.support.browser_fixtures import Site
from tests.support.nextcloud import Nextcloud

Opener = Callable[..., tuple[Page, Seen]]
NARROW = {"width": 375, "height": 812}
SECRET = re.compile(r"^[0-9a-f]{64}$")
SEED = """
from datetime import timedelta
from django.utils import timezone
from channels_app.bots.channels import set_secrets
from channels_app.models import *
from personas.models import Persona
from accounts.models import User
now = timezone.now()
inara = Persona.objects.get(name="inara", owner__username="alice")
channel, _ = Channel.objects.get_or_create(
    owner=inara.owner,
    kind="nextcloud_talk",
    defaults={
        "persona": inara,
        "settings": {"url": "https://cloud.example.org"},
        "last_event_at": now - timedelta(minutes=4),
        "last_reply_at": now - timedelta(minutes=3),
    },
)
set_secrets(channel, {"secret": "0" * 64})
channel.save()
rooms = (
    ("kx7d3mzq", "Kitchen table", "waiting", False),
    ("abc123de", "Inara and me", "allowed", True),
    ("q9w8e7r6", "Everybody at work who likes very long names", "refused", False),
)
for token, name, state, alone in rooms:
    ChannelRoom.objects.get_or_create(
        channel=channel,
        external_id=token,
        defaults={"name": name, "state": state, "alone": alone, "last_message_at": now},
    )
LinkedIdentity.objects.get_or_create(
    channel=channel, external_id="users/alice", defaults={"name": "Alice"}
)
for number, (state, reason) in enumerate(
    (("done", ""), ("ignored", "Nobody was named."), ("done", ""))
):
    InboundEvent.objects.get_or_create(
        channel=channel,
        external_id=f"e{number}",
        defaults={
            "kind": "message",
            "room_id": "abc123de",
            "state": state,
            "reason": reason,
            "attempts": 1,
            "payload": {"text": "a private question"},
            "received_at": now - timedelta(minutes=9 - number),
        },
    )
OutboundReply.objects.get_or_create(
    channel=channel,
    room_id="kx7d3mzq",
    defaults={
        "text": "a private answer",
        "state": "failed",
        "attempts": 8,
        "status": 401,
        "error": "Nextcloud refused the signature (401): is the bot on in this room?",
    },
)
"""


@pytest.fixture(scope="module")
def channelled(site: Site) -> Site:
    """Give alice a channel with rooms, a link and deliveries."""
    site.server.manage("shell", "-c", SEED)
    return site


def expect_fits(page: Page) -> None:
    """Ask that nothing is wider than the window, and that buttons are big enough."""
    width = page.locator("html").evaluate("each => each.scrollWidth")
    assert width <= page.viewport_size["width"]  # type: ignore[index]
    for box in _sizes(page.locator("main :is(button, a.button):visible")):
        assert box["height"] >= 44, box


def _sizes(found: Locator) -> list[dict[str, Any]]:
    sizes: list[dict[str, Any]] = found.evaluate_all(
        "(all) => all.map((each) => ({ text: each.textContent, "
        "height: each.getBoundingClientRect().height }))"
    )
    return sizes


def test_bob_sets_up_talk_without_javascript(
    channelled: Site, open_page: Opener
) -> None:
    channelled.server.manage(
        "shell",
        "-c",
        "from accounts.models import User\n"
        "from personas.personas import create_persona\n"
        "create_persona(User.objects.get(username='bob'), template='companion',"
        " name='kaylee', display_name='Kaylee')\n",
    )
    page, seen = open_page("bob", java_script_enabled=False, viewport=NARROW)
    page.goto(f"{channelled.url}/settings/channels/")
    expect_fits(page)
    page.get_by_role("link", name="Set up Nextcloud Talk").click()
    expect_fits(page)
    page.get_by_label("Address of your Nextcloud").fill("http://192.168.0.4/")
    page.get_by_role("button", name="Set up").click()
    expect(page.get_by_text("leads to a private network")).to_be_visible()
    page.get_by_label("Address of your Nextcloud").fill("https://cloud.example.org/")
    page.get_by_role("button", name="Set up").click()
    secret = page.locator("#secret")
    expect(secret).to_have_text(SECRET)
    value = secret.text_content() or ""
    expect(page.locator("#install-once")).to_contain_text(f"-- Kaylee {value} http")
    expect(page.get_by_role("button", name="Copy")).to_have_count(0)
    expect_fits(page)

    page.goto(f"{channelled.url}/settings/channels/nextcloud-talk/")
    assert value not in page.content()
    page.get_by_text("New secret", exact=True).first.click()
    page.get_by_role("button", name="New secret").click()
    expect(page.locator("#secret")).not_to_have_text(value)
    page.get_by_role("button", name="Drop the old secret").click()
    expect(page.get_by_text("not accepted any more")).to_be_visible()

    page.get_by_role("link", name="Delete this channel").click()
    page.get_by_label("Type its name").fill("Nextcloud Talk")
    page.get_by_role("button", name="Delete for good").click()
    expect(page.get_by_text("Nextcloud Talk is deleted.")).to_be_visible()
    seen.assert_clean()


def test_rooms_links_and_deliveries_on_a_phone(
    channelled: Site, open_page: Opener
) -> None:
    page, seen = open_page(viewport=NARROW)
    page.goto(f"{channelled.url}/settings/channels/")
    page.get_by_role("link", name="1 room waits for your decision").click()
    page.wait_for_url("**/nextcloud-talk/#rooms")
    expect_fits(page)
    assert "private question" not in page.content()
    assert "private answer" not in page.content()

    page.get_by_role("button", name="Allow Kitchen table").click()
    expect(page.get_by_text("“Kitchen table” is answered.")).to_be_visible()
    expect(page.get_by_role("button", name="Allow Kitchen table")).to_have_count(0)

    page.get_by_role("button", name="Send again").click()
    expect(page.get_by_text("is sent again within seconds")).to_be_visible()

    page.get_by_label("Code").fill("WRONG-ONE")
    page.get_by_role("button", name="This is me").click()
    expect(page.get_by_label("Code")).to_have_value("WRONG-ONE")
    expect(page.locator("#people ~ form .errorlist")).to_be_visible()

    page.get_by_role("button", name="Unlink Alice").click()
    expect(page.get_by_text("Alice is a stranger from now on.")).to_be_visible()
    seen.assert_clean()


def test_addresses_are_copied_by_a_button(channelled: Site, open_page: Opener) -> None:
    page, seen = open_page(permissions=["clipboard-read", "clipboard-write"])
    page.goto(f"{channelled.url}/settings/channels/nextcloud-talk/")
    expect(page.get_by_role("button", name=re.compile("^Copy"))).to_have_count(0)
    page.get_by_role("heading", name="Connecting Nextcloud").click()
    page.get_by_role("button", name="Copy: Address of your bot").click()
    expect(page.locator("#status")).to_have_text("Copied")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == f"{channelled.url}/webhook/nextcloud/alice"
    seen.assert_clean()


def test_the_test_names_the_step_that_failed(
    channelled: Site, open_page: Opener
) -> None:
    page, seen = open_page()
    page.goto(f"{channelled.url}/settings/channels/nextcloud-talk/")
    page.get_by_role("button", name="Test both ways").click()
    expect(page.get_by_role("status").first).to_contain_text("the step “")
    expect(page.locator("ol.list li").first).to_contain_text("Works")
    expect(page.locator("ol.list li").last).to_contain_text("Failed")
    seen.assert_clean()


def test_google_chat_explains_the_kinds_of_audience(
    channelled: Site, open_page: Opener
) -> None:
    page, seen = open_page(viewport=NARROW)
    page.goto(f"{channelled.url}/settings/channels/google-chat/")
    expect_fits(page)
    expect(page.locator("#address")).to_have_text(
        f"{channelled.url}/channels/google-chat/alice"
    )
    page.get_by_label("Chat app, audience “Project number”").check()
    page.get_by_label("Project number", exact=True).fill("123456789012")
    page.get_by_label("Key file of a service account").fill("{}")
    page.get_by_role("button", name="Set up").click()
    expect(page.get_by_text("not the key file of a service account")).to_be_visible()
    expect(page.get_by_label("Project number", exact=True)).to_have_value(
        "123456789012"
    )
    page.get_by_label("Key file of a service account").fill("")
    page.get_by_role("button", name="Set up").click()
    expect(page.get_by_text("Google Chat is set up.")).to_be_visible()
    expect_fits(page)
    seen.assert_clean()


def test_administrators_see_figures_and_the_pages_belong_together(
    channelled: Site, open_page: Opener
) -> None:
    page, seen = open_page(viewport=NARROW)
    page.goto(f"{channelled.url}/settings/channels/everybody/")
    talk = page.get_by_role("row").filter(has=page.get_by_text("Nextcloud Talk"))
    # Others may have theirs by now: one row is hers, whatever ran before.
    hers = page.get_by_role("rowheader", name="alice", exact=True)
    expect(talk.filter(has=hers)).to_have_count(1)
    expect_fits(page)
    for name in ("Access tokens", "Webhooks", "For programs", "Channels"):
        tabs = page.get_by_role("navigation", name="Connections")
        tabs.get_by_role("link", name=name, exact=True).click()
        tabs = page.get_by_role("navigation", name="Connections")
        expect(tabs.locator("[aria-current=page]")).to_have_text(name)
        expect_fits(page)
    seen.assert_clean()


CAROL = """
from tests.support.browser_seed import _person
from personas.personas import create_persona
carol = _person("carol", is_admin=True)
create_persona(carol, template="companion", name="zoe", display_name="Zoe")
"""
CODE = re.compile(r"\b[A-Z0-9]{4}-[A-Z0-9]{4}\b")


def test_from_the_first_form_to_an_answer_in_the_room(
    channelled: Site, open_page: Opener
) -> None:
    channelled.server.manage("shell", "-c", CAROL)
    page, seen = open_page("carol")
    settings = f"{channelled.url}/settings/channels/nextcloud-talk/"
    bot = f"{channelled.url}/webhook/nextcloud/carol"
    with Nextcloud() as nextcloud:
        page.goto(settings)
        page.get_by_label("Address of your Nextcloud").fill(nextcloud.url)
        page.get_by_role("button", name="Set up").click()
        nextcloud.bot.secret = page.locator("#secret").text_content() or ""

        hello = {"sender": "users/carol", "name": "Carol", "room_name": "Cargo bay"}
        assert nextcloud.say(bot, "Hello?", **hello).status == 200
        code = CODE.search(nextcloud.wait_for_posts(1)[0].text)
        assert code
        page.goto(settings)
        expect(page.locator("strong", has_text="Cargo bay")).to_be_visible()
        page.get_by_label("Code").fill(code[0].lower())
        page.get_by_label("Nobody else reads there").check()
        page.get_by_role("button", name="This is me").click()
        expect(page.get_by_text("Carol is you from now on.")).to_be_visible()

        assert nextcloud.say(bot, "Good morning", **hello).status == 200
        assert nextcloud.wait_for_posts(2)[1].text == "Good morning"
        sent = page.get_by_role("row").filter(has=page.get_by_text("Answer"))
        for _ in range(50):
            page.reload()
            if sent.filter(has_text="sent").count():
                break
            page.wait_for_timeout(100)
        expect(sent.filter(has_text="sent").last).to_contain_text("Cargo bay")
        expect(page.locator(".page-head .badge")).to_have_text("Works")

        page.get_by_role("button", name="Test both ways").click()
        expect(page.get_by_role("status").first).to_have_text("It works both ways.")
        page.get_by_role("link", name="Back to the channel").click()

        old = nextcloud.bot.secret
        page.get_by_role("heading", name="Connecting Nextcloud").click()
        page.get_by_text("New secret", exact=True).first.click()
        page.get_by_role("button", name="New secret").click()
        fresh = page.locator("#secret").text_content() or ""
        activity = nextcloud.activity()
        for secret in (old, fresh):
            assert nextcloud.send(bot, activity, secret=secret).status == 200
        page.get_by_role("button", name="Drop the old secret").click()
        expect(page.get_by_text("not accepted any more")).to_be_visible()
        statuses = [
            nextcloud.send(bot, nextcloud.activity(), secret=secret).status
            for secret in (old, fresh)
        ]
        assert statuses == [401, 200]
    seen.assert_clean()
