"""The address that Google Chat calls: what it answers, in both dialects."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from django.db import OperationalError

from channels_app.bots import inbox
from channels_app.google_chat import markup, views
from channels_app.models import Channel, InboundEvent, OutboundReply
from personas.models import Message, Persona
from routing.backends.base import Finished, TextDelta
from routing.backends.scripted import playing
from tests.support.google import GoogleStandIn
from tests.support.google_chat import Chat, make_google_channel, settled, until
from tests.support.google_events import Event, text_of

pytestmark = [
    pytest.mark.usefixtures("bots_running", "quick", "scripted"),
    pytest.mark.django_db(transaction=True),
]
KINDS = ["project", "url", "addon"]
DIALECTS = pytest.mark.parametrize("signed_for", KINDS)
Seen = Callable[..., Any]


# --- with a service account -----------------------------------------------------------


@DIALECTS
async def test_a_message_is_acknowledged_and_answered_by_a_post(
    google: GoogleStandIn, persona: Persona, seen: Seen, signed_for: str
) -> None:
    await seen(lambda: make_google_channel(persona, google, audience=signed_for))
    status, answer = await Chat(google, signed_for).send(Event(text="good **day**"))
    assert (status, answer) == (200, {})
    (reply,) = await settled(replies=1)
    (message,) = google.messages.values()
    assert message["text"].endswith("good *day*")
    assert message["thread"]["name"] == "spaces/AAA/threads/CCC"
    assert (reply.state, reply.external_id) == ("sent", message["name"])
    assert {r.query.get("requestId") for r in google.of("create")} == {str(reply.pk)}


async def test_both_dialects_are_answered_in_their_own_shape(
    google: GoogleStandIn, persona: Persona, seen: Seen
) -> None:
    """The console decides the audience; the request decides the shape."""
    await seen(lambda: make_google_channel(persona, posts=False))
    chat = Chat(google)
    status, answer = await chat.send(chat.payload(Event(text="one")))
    assert status == 200 and set(answer) == {"text"}
    status, answer = await chat.send(Chat(google, "addon").payload(Event(text="two")))
    assert status == 200 and set(answer) == {"hostAppDataAction"}
    assert text_of(answer).endswith("two")


async def test_a_long_answer_is_posted_in_parts_that_fit(
    google: GoogleStandIn, persona: Persona, seen: Seen
) -> None:
    await seen(lambda: make_google_channel(persona, google))
    text = "\n\n".join(f"Absatz {n} mit Öl und ß." * 20 for n in range(100))
    with playing(scripted=[TextDelta(text), Finished()]):
        await Chat(google).say("long")
        await settled()
    assert len(google.texts) == 2
    assert all(len(each.encode()) <= 32_000 for each in google.texts)
    assert "\n\n".join(google.texts) == text
    threads = {each["thread"]["name"] for each in google.messages.values()}
    assert threads == {"spaces/AAA/threads/CCC"}


async def test_the_web_shows_who_wrote_and_by_which_door(
    google: GoogleStandIn, persona: Persona, seen: Seen
) -> None:
    await seen(lambda: make_google_channel(persona, google))
    chat = Chat(google)
    await chat.say("my own words")
    await settled(replies=1)
    await chat.say("words of all", room="spaces/AAA", direct=False, user="users/222")
    await settled(replies=2)
    asked = await seen(lambda: list(Message.objects.filter(role="user").order_by("pk")))
    by_text = {each.text: each for each in asked}
    assert {each.channel for each in asked} == {"google_chat"}
    assert by_text["my own words"].from_guest is False
    assert by_text["words of all"].from_guest is True
    assert by_text["words of all"].author_name == "Ann"


# --- without one ----------------------------------------------------


@DIALECTS
async def test_without_a_service_account_the_answer_stands_in_the_response(
    google: GoogleStandIn, persona: Persona, seen: Seen, signed_for: str
) -> None:
    await seen(lambda: make_google_channel(persona, audience=signed_for))
    said = await Chat(google, signed_for).say("tell **me**")
    assert said.endswith("tell *me*")
    assert not google.of("create", "patch")
    assert not await seen(OutboundReply.objects.exists)


@DIALECTS
async def test_a_late_answer_is_told_and_kept_for_the_web(
    google: GoogleStandIn,
    persona: Persona,
    seen: Seen,
    monkeypatch: pytest.MonkeyPatch,
    signed_for: str,
) -> None:
    assert views.ANSWER_WITHIN_S < 25
    monkeypatch.setattr(views, "ANSWER_WITHIN_S", 0.7)
    await seen(lambda: make_google_channel(persona, audience=signed_for))
    with playing(scripted=[1.5, TextDelta("slow words"), Finished()]):
        said = await Chat(google, signed_for).say("think")
        await settled(replies=0)
    answer = await seen(lambda: Message.objects.get(role="assistant"))
    assert answer.text == "slow words"
    page = f"http://127.0.0.1:8000/c/{answer.conversation_id}"
    assert f"<{page}|the web page>" in said
    assert not google.of("create")


async def test_a_guest_is_not_sent_to_a_page_that_is_not_theirs(
    google: GoogleStandIn,
    persona: Persona,
    seen: Seen,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(views, "ANSWER_WITHIN_S", 0.7)
    await seen(lambda: make_google_channel(persona))
    with playing(scripted=[1.5, TextDelta("slow words"), Finished()]):
        said = await Chat(google).say("think", direct=False, user="users/222")
        await settled(replies=0)
    assert "ask again" in said and "http" not in said


async def test_an_answer_too_long_for_the_response_says_where_the_rest_is(
    google: GoogleStandIn, persona: Persona, seen: Seen
) -> None:
    await seen(lambda: make_google_channel(persona))
    text = "\n\n".join(f"Absatz {n} mit Öl und ß." * 20 for n in range(100))
    with playing(scripted=[TextDelta(text), Finished()]):
        said = await Chat(google).say("long")
    assert len(said.encode()) <= markup.MAX_BYTES
    assert said.startswith("Absatz 0 ") and "the rest stands on <http" in said


async def test_a_copy_of_an_event_gets_no_second_answer(
    google: GoogleStandIn, persona: Persona, seen: Seen
) -> None:
    await seen(lambda: make_google_channel(persona))
    chat, event = Chat(google), Event(message="spaces/AAA/messages/B.B")
    first, second = await asyncio.gather(chat.send(event), chat.send(event))
    assert sorted([bool(first[1]), bool(second[1])]) == [False, True]
    assert await chat.send(event) == (200, {})
    assert await seen(Message.objects.filter(role="assistant").count) == 1


# --- other events ----------------------------------------------------


@DIALECTS
@pytest.mark.parametrize("posts", [True, False])
async def test_who_adds_the_app_is_welcomed_in_the_response(
    google: GoogleStandIn, persona: Persona, seen: Seen, signed_for: str, posts: bool
) -> None:
    await seen(
        lambda: make_google_channel(persona, google, audience=signed_for, posts=posts)
    )
    chat, event = Chat(google, signed_for), Event(kind="added")
    status, answer = await chat.send(event)
    assert status == 200 and "Hello, I am Inara." in text_of(answer)
    assert await chat.send(event) == (200, {}), "a copy is welcomed once"
    await settled(replies=0)
    assert not google.messages


async def test_a_stranger_who_adds_the_app_hears_nothing_where_silence_is_wanted(
    google: GoogleStandIn, persona: Persona, seen: Seen
) -> None:
    await seen(
        lambda: make_google_channel(
            persona, google, room="", strangers=Channel.Strangers.SILENCE
        )
    )
    stranger = Event(kind="added", user="users/222", direct=False)
    assert await Chat(google).send(stranger) == (200, {})
    assert await Chat(google).say("hello?", user="users/222", direct=False) == ""
    await settled(replies=0)
    assert not google.messages


@DIALECTS
async def test_a_removal_is_acknowledged_without_words(
    google: GoogleStandIn, persona: Persona, seen: Seen, signed_for: str
) -> None:
    await seen(lambda: make_google_channel(persona, google, audience=signed_for))
    chat = Chat(google, signed_for)
    assert await chat.send(Event(kind="removed")) == (200, {})
    await settled(replies=0)
    event = await seen(InboundEvent.objects.get)
    assert (event.kind, event.state) == ("left", "ignored")


@DIALECTS
async def test_commands_of_the_menu_and_of_the_slash_work(
    google: GoogleStandIn, persona: Persona, seen: Seen, signed_for: str
) -> None:
    await seen(lambda: make_google_channel(persona, audience=signed_for))
    chat = Chat(google, signed_for)
    for event in (
        Event(kind="command", command_id=1),
        Event(text="/help", command_id=1),
        Event(text="/help"),
    ):
        status, answer = await chat.send(event)
        assert status == 200 and "/persona" in text_of(answer), event
    assert not await seen(Message.objects.exists)


@DIALECTS
async def test_what_a_pressed_button_carries_becomes_a_message(
    google: GoogleStandIn, persona: Persona, seen: Seen, signed_for: str
) -> None:
    await seen(lambda: make_google_channel(persona, audience=signed_for))
    chat = Chat(google, signed_for)
    said = await chat.say("", kind="click", parameters={"choice": "blue"})
    assert said.endswith("choice: blue")
    assert await chat.send(Event(kind="click", time="2026-01-01T10:00:01Z")) == (
        200,
        {},
    )
    assert await seen(Message.objects.filter(role="user").count) == 1


@DIALECTS
async def test_only_people_are_heard(
    google: GoogleStandIn, persona: Persona, seen: Seen, signed_for: str
) -> None:
    await seen(lambda: make_google_channel(persona, google, audience=signed_for))
    chat = Chat(google, signed_for)
    for kind in ("message", "added", "command"):
        event = Event(kind=kind, user_type="BOT", command_id=1)
        assert await chat.send(event) == (200, {})
    await settled(replies=0)
    assert not await seen(Message.objects.exists)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no json",
        b"[" * 100_000,
        b"[]",
        b'"text"',
        b'{"type": 7, "message": []}',
        b'{"type": "MESSAGE", "message": {"text": 5}, "space": 1, "user": null}',
        b'{"chat": {"messagePayload": 3, "user": "x"}}',
        b'{"type": "SUBMIT_FORM"}',
        b'{"type": "MESSAGE", "space": {"name": "spaces/../x"}, "user": {}}',
        b'{"x": "' + b"y" * views.MAX_BODY_BYTES + b'"}',
    ],
    ids=lambda body: body[:20],
)
async def test_whatever_google_signs_is_never_refused(
    google: GoogleStandIn, persona: Persona, seen: Seen, body: bytes
) -> None:
    """Google stops sending to an app that answers 400."""
    await seen(lambda: make_google_channel(persona, google))
    assert await Chat(google).send(body) == (200, {})
    await settled(replies=0)


# --- trouble ----------------------------------------------------


async def test_what_cannot_be_stored_is_not_acknowledged(
    google: GoogleStandIn,
    persona: Persona,
    seen: Seen,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await seen(lambda: make_google_channel(persona, google))

    async def refuse(*_: Any) -> None:
        raise OperationalError("database is locked")

    monkeypatch.setattr(inbox, "receive", refuse)
    status, answer = await Chat(google).send(Event())
    assert (status, answer["error"]["code"]) == (503, "internal")


async def test_other_methods_are_refused(
    google: GoogleStandIn, persona: Persona, seen: Seen
) -> None:
    await seen(lambda: make_google_channel(persona, google))
    client = Chat(google).client
    for method in (client.get, client.put, client.delete, client.patch):
        assert (await method("/channels/google-chat/alice")).status_code == 405


async def test_logs_hold_neither_words_nor_tokens(
    google: GoogleStandIn,
    persona: Persona,
    seen: Seen,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(0)
    await seen(lambda: make_google_channel(persona, google))
    chat = Chat(google)
    token = google.token("url", chat.audience)
    assert (await chat.send(Event(text="secret words"), token=token))[0] == 401
    google.fail("create", 403)
    await chat.say("secret words")

    async def failed() -> bool | None:
        done = await seen(OutboundReply.objects.filter(state="failed").exists)
        return done or None

    google.fail("create", 403)
    await until(failed)
    assert caplog.records
    for needle in ("secret words", token, token.split(".")[2], "ya29", "PRIVATE"):
        assert needle not in caplog.text
