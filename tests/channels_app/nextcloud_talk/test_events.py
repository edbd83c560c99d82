"""Every event of Nextcloud Talk in Cortex's words."""

from __future__ import annotations

import json
from typing import Any

import pytest

from channels_app import slash_commands
from channels_app.bots.incoming import Incoming
from channels_app.nextcloud_talk.events import incoming_of, plain_text
from tests.channels_app.nextcloud_talk.test_signature import IN_BODY
from tests.support.nextcloud import Nextcloud, php_json
from tests.support.nextcloud_events import bot_actor

SERVER = Nextcloud()
"""Never started: it only makes events."""


def read(event: dict[str, Any] | bytes, nonce: str = "n" * 64) -> Incoming:
    body = event if isinstance(event, bytes) else php_json(event)
    return incoming_of(body, nonce, {"signed_with": "secret"})


def test_a_message_as_the_server_sends_it() -> None:
    assert read(IN_BODY) == Incoming(
        external_id="abc123de/42",
        kind="message",
        room_id="abc123de",
        room_name="Room",
        sender_id="users/alice",
        sender_name="Alice",
        text="hi ü @Bob",
        reply_to="42",
        nonce="n" * 64,
        extra={"signed_with": "secret"},
    )


def test_the_same_message_has_the_same_id_whatever_its_random() -> None:
    assert read(IN_BODY, "a").external_id == read(IN_BODY, "b").external_id


@pytest.mark.parametrize(
    ("message", "parameters", "text"),
    [
        ("plain", [], "plain"),
        ("plain", {}, "plain"),
        (
            "see {file}",
            {"file": {"type": "file", "name": "a.pdf", "link": "https://c.x/f/1"}},
            "see [a.pdf] (https://c.x/f/1)",
        ),
        ("{file}", {"file": {"name": "a.pdf", "link": "javascript:x"}}, "[a.pdf]"),
        ("{file}", {"file": {"id": "7"}}, "[7]"),
        (
            "{mention-call1}!",
            {"mention-call1": {"type": "call", "id": "t", "name": "world"}},
            "@world!",
        ),
        ("{unknown} and {", {"other": {"name": "x"}}, "{unknown} and {"),
        (
            "{mention-user1} {mention-user2}",
            {
                "mention-user1": {"id": "a", "name": "{mention-user2}"},
                "mention-user2": {"id": "b", "name": "Bea"},
            },
            "@{mention-user2} @Bea",
        ),
        ("{a}", {"a": "no object"}, "{a}"),
        ("nul \0 and half \ud83d", {}, "nul \ufffd and half \ufffd"),
        (["no text"], {}, ""),
    ],
)
def test_placeholders_become_words(message: Any, parameters: Any, text: str) -> None:
    content = json.dumps({"message": message, "parameters": parameters})
    assert plain_text(content) == text


@pytest.mark.parametrize(
    ("content", "text"),
    [(None, ""), (7, ""), ("no json", "no json"), ("[1]", "[1]"), ("[" * 5000, None)],
)
def test_odd_contents_are_no_trouble(content: Any, text: str | None) -> None:
    assert plain_text(content) == (content if text is None else text)


def test_a_reply_to_a_bot_names_it() -> None:
    event = SERVER.message("And then?", reply_to_bot=True)
    assert read(event).names_bot
    event["object"]["inReplyTo"]["actor"]["id"] = "users/bob"
    assert not read(event).names_bot
    assert not read(SERVER.message("@Bot hello")).names_bot


def test_a_reply_to_another_bot_does_not_name_it_once_its_name_is_known() -> None:
    reply = php_json(SERVER.message("And then?", reply_to_bot=True, bot_url="a"))
    own, other = (bot_actor(url)["id"] for url in ("a", "b"))
    assert incoming_of(reply, "n", {}, own).names_bot
    assert not incoming_of(reply, "n", {}, other).names_bot
    assert not incoming_of(php_json(SERVER.message("hi")), "n", {}, own).names_bot


def test_an_attachment_without_a_name_of_its_own_is_a_message() -> None:
    event = SERVER.message("{file}", parameters={"file": {"name": "photo.jpg"}})
    event["object"]["name"] = ""
    found = read(event)
    assert (found.kind, found.text) == ("message", "[photo.jpg]")


@pytest.mark.parametrize("key", ["object", "file", "mention-user1"])
def test_the_name_of_what_is_shared_is_no_command(key: str) -> None:
    """Others name files and cards; the owner who passes one on says nothing by it."""
    parameters = {key: {"id": "7", "name": "/new", "link": "https://c.x/f/1"}}
    found = read(SERVER.message(f"{{{key}}}", parameters=parameters))
    assert "/new" in found.text
    assert slash_commands.parse(found.text) is None


def test_a_guest_is_a_sender_of_its_own() -> None:
    event = SERVER.message("hi", sender="guests/0f3a", name="")
    del event["actor"]["talkParticipantType"]
    found = read(event)
    assert (found.kind, found.sender_id) == ("message", "guests/0f3a")


@pytest.mark.parametrize("sender", ["bots/bot-1", "bridged/bridge-bot", "cli/cli", ""])
def test_where_nobody_speaks_there_is_no_message(sender: str) -> None:
    """A bridge lends all its people one id, so that nobody could be linked by it."""
    assert read(SERVER.message("hi", sender=sender)).kind == "other"


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        (SERVER.activity(), "other"),
        (SERVER.join(), "joined"),
        (SERVER.leave(), "left"),
        (SERVER.like(), "reaction"),
        (SERVER.undo(), "reaction"),
    ],
)
def test_the_other_events_know_their_room(event: dict[str, Any], kind: str) -> None:
    found = read(event)
    assert (found.kind, found.room_id, found.text) == (kind, "abc123de", "")


@pytest.mark.parametrize("event", [SERVER.like(), SERVER.undo()])
def test_nobody_is_taken_for_the_one_who_reacted(event: dict[str, Any]) -> None:
    assert read(event).sender_id == ""


def test_events_without_an_id_are_told_apart_by_their_random() -> None:
    assert read(SERVER.join(), "a") != read(SERVER.join(), "b")
    assert read(SERVER.join(), "a") == read(SERVER.join(), "a")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"\xff\xfe",
        b"{",
        b"[" * 100_000,
        b'{"type":"Create"}',
        b'{"type":["Create"]}',
        b'{"type":"Create","object":[],"target":7,"actor":null}',
        b'{"type":"Create","object":{"id":{}},"target":{"id":"r"}}',
        b'{"type":"Join"}',
        b'{"type":"Dance","object":{"id":"1"}}',
        php_json(SERVER.message("x", room="r" * 201)),
        php_json(SERVER.message("x", sender="users/" + "u" * 200)),
    ],
)
def test_whatever_cannot_be_understood_has_no_effect(body: bytes) -> None:
    found = read(body)
    assert found.kind == "other"
    assert 0 < len(found.external_id) <= 255
    json.dumps(found.payload())
