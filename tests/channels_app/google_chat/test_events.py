"""What is read out of an event, in both dialects."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from channels_app.google_chat.events import COMMANDS, Heard, hear
from tests.support.google_events import BOT, Event, addon, classic

DIALECTS = pytest.mark.parametrize("write", [classic, addon], ids=["classic", "addon"])


def heard(payload: Any) -> Heard:
    return hear(json.dumps(payload).encode(), {})


@DIALECTS
def test_a_message_says_who_where_and_what(write: Any) -> None:
    event = Event(message="spaces/AAA/messages/B.B", text="hello  there ")
    came = heard(write(event))
    assert came.dialect == ("classic" if write is classic else "addon")
    incoming = came.incoming
    assert (incoming.kind, incoming.text) == ("message", "hello  there")
    assert incoming.external_id == "spaces/AAA/messages/B.B"
    assert (incoming.room_id, incoming.thread) == (
        "spaces/AAA",
        "spaces/AAA/threads/CCC",
    )
    assert (incoming.sender_id, incoming.sender_name) == ("users/111", "Ann")
    assert incoming.is_direct and incoming.names_bot


@DIALECTS
def test_the_mention_of_the_app_is_not_part_of_the_text(write: Any) -> None:
    incoming = heard(write(Event(direct=False, text="hello @Bob"))).incoming
    assert incoming.text == "hello @Bob"
    assert incoming.names_bot and not incoming.is_direct
    assert incoming.room_name == "Team"


def test_the_shortest_form_of_an_add_ons_message_is_understood() -> None:
    """Such a space does not even say of which kind it is."""
    payload = addon(Event(direct=False))
    payload["chat"]["messagePayload"]["space"] = {"name": "spaces/AAA"}
    message = payload["chat"]["messagePayload"]["message"]
    del message["sender"], message["annotations"], message["argumentText"]
    incoming = heard(payload).incoming
    assert (incoming.kind, incoming.sender_id) == ("message", "users/111")
    assert incoming.names_bot and not incoming.is_direct
    assert incoming.text == "@Bot hello"


@pytest.mark.parametrize(
    ("space", "direct"),
    [
        ({"spaceType": "DIRECT_MESSAGE", "singleUserBotDm": True}, True),
        ({"type": "DM"}, True),
        ({"type": "DM", "singleUserBotDm": False}, False),
        ({"spaceType": "DIRECT_MESSAGE"}, False),
        ({"spaceType": "DIRECT_MESSAGE", "singleUserBotDm": "yes"}, False),
        ({"spaceType": "GROUP_CHAT"}, False),
        ({"spaceType": "SPACE", "type": "ROOM"}, False),
        ({}, False),
    ],
    ids=str,
)
@DIALECTS
def test_direct_is_only_what_google_vouches_for(
    write: Any, space: dict[str, Any], direct: bool
) -> None:
    payload = write(Event())
    place = payload.get("space") or payload["chat"]["messagePayload"]["space"]
    place.clear()
    place.update({"name": "spaces/AAA"} | space)
    assert heard(payload).incoming.is_direct is direct


@DIALECTS
def test_a_message_of_a_group_that_points_to_nobody_does_not_name_the_app(
    write: Any,
) -> None:
    payload = write(Event(direct=False))
    message = payload.get("message") or payload["chat"]["messagePayload"]["message"]
    message["text"] = message["argumentText"] = "hello all"
    message["annotations"] = [
        {"type": "USER_MENTION", "userMention": {"user": {"type": "HUMAN"}}}
    ]
    assert not heard(payload).incoming.names_bot
    message["annotations"][0]["userMention"]["user"] = BOT
    assert heard(payload).incoming.names_bot


@DIALECTS
@pytest.mark.parametrize("kind", ["", "BOT", "TYPE_UNSPECIFIED", "human"])
def test_who_is_not_a_person_is_not_heard(write: Any, kind: str) -> None:
    for what in ("message", "added", "command", "click"):
        event = Event(kind=what, user_type=kind, command_id=1, parameters={"a": "b"})
        assert heard(write(event)).incoming.kind == "other"


@DIALECTS
def test_the_author_of_the_message_counts_and_not_who_else_is_named(write: Any) -> None:
    payload = write(Event())
    message = payload.get("message") or payload["chat"]["messagePayload"]["message"]
    message["sender"] = BOT
    assert heard(payload).incoming.kind == "other"
    message["sender"] = {"name": "users/222", "type": "HUMAN", "displayName": "Bob"}
    assert heard(payload).incoming.sender_id == "users/222"


@DIALECTS
def test_added_and_removed(write: Any) -> None:
    assert heard(write(Event(kind="added"))).incoming.kind == "joined"
    removed = heard(write(Event(kind="removed", user_type=""))).incoming
    assert (removed.kind, removed.room_id) == ("left", "spaces/AAA")


def test_who_adds_the_app_by_naming_it_has_said_something() -> None:
    payload = classic(Event(direct=False, text="what is up?"))
    payload["type"] = "ADDED_TO_SPACE"
    incoming = heard(payload).incoming
    assert (incoming.kind, incoming.text) == ("message", "what is up?")


@DIALECTS
@pytest.mark.parametrize("number", COMMANDS)
def test_commands_of_the_menu_become_words(write: Any, number: int) -> None:
    incoming = heard(write(Event(kind="command", command_id=number))).incoming
    assert (incoming.kind, incoming.text) == ("message", COMMANDS[number])
    assert incoming.names_bot


@DIALECTS
@pytest.mark.parametrize("number", [0, 99, "x", None, 10**9, [1]])
def test_unknown_commands_are_acknowledged_only(write: Any, number: Any) -> None:
    incoming = heard(write(Event(kind="command", command_id=number))).incoming
    assert (incoming.kind, incoming.text) == ("other", "")


def test_a_slash_command_is_read_as_it_was_typed() -> None:
    event = Event(text="/model small", command_id=1)
    assert heard(classic(event)).incoming.text == "/model small"
    payload = classic(replace(event, text="small", command_id=3))
    assert heard(payload).incoming.text == "/model small"


def test_a_clicks_parameters_become_lines() -> None:
    event = Event(kind="click", parameters={"colour": "blue", "size": "/new"})
    for write in (classic, addon):
        incoming = heard(write(event)).incoming
        assert incoming.kind == "message"
        assert incoming.sender_id == "users/111", "not the author of the card"
        assert incoming.text == "colour: blue\nsize: /new", "and never a command"


@DIALECTS
def test_files_are_named(write: Any) -> None:
    event = Event(text="look", attachments=("plan.pdf", "a\n b.png"))
    text = heard(write(event)).incoming.text
    assert text == "look\n[file: plan.pdf]\n[file: a b.png]"


@DIALECTS
def test_copies_have_one_id_and_different_events_have_different_ones(
    write: Any,
) -> None:
    events = [
        Event(kind="added"),
        Event(kind="added", room="spaces/BBB"),
        Event(kind="added", time="2026-01-01T10:00:01Z"),
        Event(kind="removed"),
        Event(kind="command", command_id=1),
        Event(kind="command", command_id=2),
        Event(kind="click", parameters={"a": "b"}, message="spaces/AAA/messages/C.C"),
        Event(kind="click", parameters={"a": "c"}, message="spaces/AAA/messages/C.C"),
    ]
    ids = []
    for event in events:
        payload = write(event)
        ids.append(heard(payload).incoming.external_id)
        payload["authorizationEventObject"] = {"systemIdToken": "fresh"}
        assert heard(payload).incoming.external_id == ids[-1], "a copy has a new token"
    assert len(set(ids)) == len(events)
    assert all(len(each) <= 255 for each in ids)


@pytest.mark.parametrize(
    "name", ["spaces/../x", "spaces/A/B", "x", "spaces/", "spaces/A?b", "spaces/ä", 5]
)
@DIALECTS
def test_names_that_could_lead_elsewhere_are_no_names(write: Any, name: Any) -> None:
    payload = write(Event())
    place = payload.get("space") or payload["chat"]["messagePayload"]["space"]
    message = payload.get("message") or payload["chat"]["messagePayload"]["message"]
    place["name"] = name
    message["thread"] = {"name": f"spaces/AAA/threads/{name}"}
    incoming = heard(payload).incoming
    assert (incoming.room_id, incoming.kind) == ("", "other")
    assert "/../" not in incoming.thread and "?" not in incoming.thread


def test_what_no_database_takes_is_replaced() -> None:
    incoming = hear(
        json.dumps(classic(Event(text="a\0b\ud800c", name="N\0"))).encode(), {}
    ).incoming
    assert incoming.text == "a\ufffdb\ufffdc" and incoming.sender_name == "N\ufffd"
