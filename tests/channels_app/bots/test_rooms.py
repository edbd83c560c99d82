"""Who is answered where: rooms, guests, names, commands and what stops a bot."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from django.http import Http404
from django.utils import timezone

from accounts.models import AuditEvent, User
from channels_app import slash_commands, turns
from channels_app.bots import rooms
from channels_app.models import Channel, ChannelRoom, InboundEvent
from channels_app.turn_requests import TurnRequest
from personas.conversations import start_conversation
from personas.files import save_file
from personas.models import Conversation, Message, Persona
from personas.personas import create_persona
from routing.backends.base import Finished, TextDelta
from routing.backends.scripted import calls, playing
from routing.db_pool import run_in_db_pool
from tests.support.bots import GUEST, ROOM, Platform, make_room

SHARED = "shared1"
State = InboundEvent.State


@pytest.fixture
def shared(platform: Platform) -> ChannelRoom:
    """A room of alice's where others read."""
    return make_room(platform.channel, SHARED, alone=False)


def here(**fields: Any) -> dict[str, Any]:
    """Say that a message is written where others read."""
    return {"room_id": SHARED} | fields


def by_guest(**fields: Any) -> dict[str, Any]:
    """Say that a guest writes there, to the bot."""
    return {
        "room_id": SHARED,
        "sender_id": GUEST,
        "sender_name": "Greta",
        "names_bot": True,
    } | fields


async def _room(platform: Platform, room_id: str = ROOM) -> ChannelRoom:
    return await run_in_db_pool(
        lambda: ChannelRoom.objects.select_related("conversation").get(
            channel=platform.channel, external_id=room_id
        )
    )


# --- rooms that are not allowed -----------------------------------------------------


async def test_a_new_room_waits_and_its_owner_gets_one_hint_a_day(
    platform: Platform,
) -> None:
    for _ in range(3):
        event = await platform.say("hello", room_id="new", room_name="New room")
        assert event.state == State.IGNORED
    (hint,) = platform.texts()
    assert hint.endswith("/settings/channels/nextcloud-talk/")
    room = await _room(platform, "new")
    assert (room.state, room.name) == (ChannelRoom.State.WAITING, "New room")
    assert await run_in_db_pool(Message.objects.count) == 0

    def tomorrow() -> None:
        ChannelRoom.objects.update(told_at=timezone.now() - timedelta(hours=25))

    await run_in_db_pool(tomorrow)
    await platform.say("hello", room_id="new")
    assert len(platform.texts()) == 2


async def test_a_hint_is_given_when_the_bot_is_added_by_its_owner(
    platform: Platform,
) -> None:
    await platform.say("", kind="joined", room_id="new")
    assert len(platform.texts()) == 1
    await platform.say("", kind="joined", room_id="other", sender_id=GUEST)
    assert len(platform.texts()) == 1


async def test_a_refused_room_gets_no_word(platform: Platform) -> None:
    await run_in_db_pool(
        lambda: ChannelRoom.objects.update(state=ChannelRoom.State.REFUSED)
    )
    await platform.say("hello")
    await platform.say("/help")
    assert platform.texts() == []


async def test_strangers_in_a_waiting_room_get_a_code_or_silence(
    platform: Platform,
) -> None:
    stranger = {"sender_id": GUEST, "room_id": "theirs"}
    await platform.say("hello", **stranger)
    (text,) = platform.texts()
    assert "enter the code" in text
    await platform.say("hello?", **stranger)
    assert len(platform.texts()) == 1
    await run_in_db_pool(
        lambda: Channel.objects.update(strangers=Channel.Strangers.SILENCE)
    )
    await platform.say("hello", sender_id="users/other", room_id="theirs")
    assert len(platform.texts()) == 1


async def test_so_many_rooms_wait_and_no_more(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rooms, "MAX_WAITING", 2)
    for number in range(4):
        await platform.say("hello", room_id=f"new{number}", sender_id=GUEST)
    count = ChannelRoom.objects.filter(state=ChannelRoom.State.WAITING).count
    assert await run_in_db_pool(count) == 2


# --- rooms where others read --------------------------------------------------------


async def test_in_a_shared_room_a_persona_answers_when_it_is_named(
    platform: Platform, shared: ChannelRoom
) -> None:
    for text in ("hello all", "inarable things", "my inara2"):
        event = await platform.say(text, **here())
        assert (event.state, event.reason) == (State.IGNORED, "not named")
    await platform.say("what do you say, INARA?", **here())
    await platform.say("and now", **here(names_bot=True))
    assert platform.texts() == [
        "Alice: what do you say, INARA?",
        "Alice: and now",
    ]


async def test_private_files_stay_out_of_a_shared_room_at_every_door(
    platform: Platform, shared: ChannelRoom, persona: Persona, alice: User
) -> None:
    await run_in_db_pool(
        lambda: save_file(persona, "USER.md", "Alice has a cello.", author=alice)
    )
    await platform.say("hello", **here(names_bot=True))
    assert "cello" not in calls[-1].prompt.system
    assert "Several people write here" in calls[-1].prompt.system
    room = await _room(platform, SHARED)
    assert room.conversation is not None
    assert room.conversation.shared
    await _ask_on_the_web(alice, room.conversation)
    assert "cello" not in calls[-1].prompt.system
    await platform.say("hello")
    assert "cello" in calls[-1].prompt.system


async def _ask_on_the_web(user: User, conversation: Conversation) -> None:
    request = TurnRequest("web1", "from the web", conversation=conversation.pk)
    started = await turns.start_turn(user.pk, request)
    assert started.stream is not None
    async for _ in started.stream.read():
        pass


async def test_who_wrote_stands_before_each_message(
    platform: Platform, shared: ChannelRoom
) -> None:
    await platform.say("hello", **here(names_bot=True, sender_name="Al\nice"))
    await platform.say("hi", **by_guest(sender_name="Alice"))
    texts = [message.text for message in calls[-1].prompt.messages]
    assert texts[0] == "Al ice: hello"
    assert texts[-1] == "Alice (guest): hi"
    rows = await run_in_db_pool(
        lambda: list(
            Message.objects.filter(role="user").values_list(
                "author_name", "from_guest", "text"
            )
        )
    )
    assert rows == [("Al ice", False, "hello"), ("Alice", True, "hi")]


async def test_a_guest_in_a_room_for_one_makes_it_a_room_of_several(
    platform: Platform,
) -> None:
    await platform.say("a secret")
    before = await _room(platform)
    assert before.conversation is not None
    assert not before.conversation.shared
    await platform.say("what was it, inara?", **by_guest(room_id=ROOM))
    after = await _room(platform)
    assert not after.alone
    assert after.conversation is not None
    assert after.conversation.shared
    assert "a secret" not in str(calls[-1].prompt)


async def test_a_change_of_who_reads_begins_a_new_conversation(
    platform: Platform, alice: User
) -> None:
    await platform.say("one")

    def change(alone: bool) -> None:
        rooms.set_room(alice, platform.channel, ROOM, ChannelRoom.State.ALLOWED, alone)

    for alone in (False, True):
        await run_in_db_pool(change, alone)
        await platform.say("two", names_bot=True)
        assert len(calls[-1].prompt.messages) == 1
    kinds = await run_in_db_pool(
        lambda: list(
            Conversation.objects.order_by("created_at").values_list("shared", flat=True)
        )
    )
    assert kinds == [False, True, False]
    events = AuditEvent.objects.filter(event="channel.room_changed")
    assert await run_in_db_pool(events.count) == 2


async def test_only_the_owner_of_a_channel_changes_its_rooms(
    platform: Platform, bob: User
) -> None:
    with pytest.raises(Http404):
        await run_in_db_pool(
            rooms.set_room, bob, platform.channel, ROOM, ChannelRoom.State.ALLOWED, True
        )


async def test_what_the_platform_vouches_for_counts_as_alone(
    platform: Platform, shared: ChannelRoom
) -> None:
    await platform.say("hello", **here(is_direct=True))
    room = await _room(platform, SHARED)
    assert room.conversation is not None
    assert not room.conversation.shared
    await platform.say("hello", **by_guest(is_direct=True))
    room = await _room(platform, SHARED)
    assert room.conversation is not None
    assert room.conversation.shared


async def test_guests_give_no_commands_but_help(
    platform: Platform, shared: ChannelRoom, persona: Persona
) -> None:
    await platform.say("hello", **here(names_bot=True))
    before = await _room(platform, SHARED)
    for text in ("/new", "/persona tina", "/model other", "/stop", "/cost"):
        await platform.say(text, **by_guest())
        assert platform.texts()[-1] == (
            "Commands are for the owner of this persona alone."
        )
    await platform.say("/help", **by_guest())
    assert "/cost" not in platform.texts()[-1]
    for text in ("/new", "/persona", "/model", "/stop", "/cost", "/nonsense"):
        event = await platform.say(text, **by_guest(names_bot=False))
        assert (event.state, event.reason) == (State.IGNORED, "not named")
    assert len(platform.texts()) == 7
    after = await _room(platform, SHARED)
    assert (after.conversation_id, after.persona_id, after.begins_new) == (
        before.conversation_id,
        None,
        False,
    )


@pytest.mark.parametrize("text", ["/help", " /HELP ", "Inara, /help", "@inara /help"])
@pytest.mark.parametrize("guest", [False, True])
async def test_help_is_given_to_everybody_in_an_allowed_room(
    platform: Platform, shared: ChannelRoom, text: str, guest: bool
) -> None:
    who = by_guest(names_bot=False) if guest else here()
    event = await platform.say(text, **who)
    assert event.state == State.DONE
    said = "".join(platform.texts())  # in parts, and said once
    assert said.count("`/help`") == 1
    assert ("`/new`" in said) is not guest
    assert ("a persona that answers when it is named" in said) is guest
    assert calls == []


@pytest.mark.parametrize(
    ("text", "mentioned"),
    [
        ("Inara, /new", False),
        ("@Inara /new", False),
        ("inara: /NEW", False),
        ("Inara; /new", True),
        (", /new", True),
        ("/new", True),
    ],
)
@pytest.mark.parametrize("guest", [False, True])
async def test_a_command_may_follow_the_name_of_the_persona(
    platform: Platform, shared: ChannelRoom, text: str, mentioned: bool, guest: bool
) -> None:
    """Whose it is, the sender alone decides."""
    who = by_guest(names_bot=mentioned) if guest else here(names_bot=mentioned)
    await platform.say(text, **who)
    (said,) = platform.texts()
    room = await _room(platform, SHARED)
    assert said.startswith("Commands are for the owner" if guest else "Your next")
    assert room.begins_new is not guest
    assert calls == []


@pytest.mark.parametrize(
    "text",
    [
        "Inara\n/new",
        "Inara,\n\n/new",
        "hey Inara, /new",
        "> Inara, /new",
        "Inara, what does /new do",
        "Inara, //new",
        "Inara/new",
        "Inara, he said: /new",
        "Inara, Inara, /new",
    ],
)
@pytest.mark.parametrize("guest", [False, True])
async def test_what_stands_elsewhere_in_a_text_is_no_command(
    platform: Platform, shared: ChannelRoom, text: str, guest: bool
) -> None:
    await platform.say(text, **(by_guest() if guest else here()))
    assert calls[-1].prompt.messages[-1].text.endswith(f": {text}")
    assert not (await _room(platform, SHARED)).begins_new


# --- commands of the owner ----------------------------------------------------------


async def test_new_begins_a_conversation(platform: Platform) -> None:
    await platform.say("one")
    await platform.say("/new")
    await platform.say("two")
    assert len(calls[-1].prompt.messages) == 1
    assert await run_in_db_pool(Conversation.objects.count) == 2
    await platform.say("three")
    assert len(calls[-1].prompt.messages) == 3


async def test_persona_lets_another_one_answer(platform: Platform, alice: User) -> None:
    await run_in_db_pool(
        lambda: create_persona(
            alice, template="companion", name="tina", display_name="Tina"
        )
    )
    await platform.say("/persona tina")
    await platform.say("hello")
    assert "You are Tina" in calls[-1].prompt.system


async def test_in_a_shared_room_most_commands_are_not_answered(
    platform: Platform, shared: ChannelRoom
) -> None:
    await platform.say("/cost", **here())
    assert platform.texts()[-1].startswith("Others read here")
    await platform.say("/nonsense", **here())
    assert len(platform.texts()) == 1


@pytest.mark.parametrize("text", ["/stop", "Inara, /stop", "@inara /STOP"])
async def test_stop_does_not_wait_for_what_it_stops(
    platform: Platform, text: str
) -> None:
    lasting = [TextDelta("one "), 20.0, TextDelta("two"), Finished()]
    with playing(scripted=lasting):
        receipt = await platform.receive(platform.message("hello"))
        async with asyncio.timeout(10):
            while not await run_in_db_pool(
                InboundEvent.objects.exclude(turn_id=None).exists
            ):
                await asyncio.sleep(0.02)
            await asyncio.sleep(0.1)
        await platform.say(text)
        event = await platform.over(receipt.event_id or 0)
    assert event.state == State.DONE
    assert sorted(platform.texts()) == [
        "Stopped; what was written so far stays.",
        "one\n\n(Stopped.)",
    ]


@pytest.mark.parametrize("text", ["/stop", "/help", "/cost"])
async def test_a_command_leaves_what_a_room_got_meanwhile(
    platform: Platform,
    alice: User,
    persona: Persona,
    text: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An answer that begins while a command runs gives the room its conversation."""
    begun = await run_in_db_pool(start_conversation, alice, persona)
    run = slash_commands.run

    def meanwhile(*command: Any) -> slash_commands.Result:
        ChannelRoom.objects.update(conversation=begun)
        return run(*command)

    monkeypatch.setattr(slash_commands, "run", meanwhile)
    await platform.say(text)
    room = await _room(platform)
    assert room.conversation == begun


# --- the same thread as on the web --------------------------------------------------


async def test_a_channel_can_go_on_where_the_web_page_is(
    platform: Platform, alice: User, persona: Persona
) -> None:
    await run_in_db_pool(lambda: Channel.objects.update(thread=Channel.Thread.WEB))

    def on_the_web(**fields: Any) -> Conversation:
        return start_conversation(alice, persona, first_text="web", **fields)

    web = await run_in_db_pool(on_the_web)
    await run_in_db_pool(lambda: on_the_web(temporary=True))
    await run_in_db_pool(lambda: on_the_web(shared=True))
    await run_in_db_pool(lambda: on_the_web(private=True))
    event = await platform.say("hello")
    answer = await run_in_db_pool(Message.objects.get, pk=event.turn_id)
    assert answer.conversation_id == web.pk
    newer = await run_in_db_pool(on_the_web)
    event = await platform.say("hello")
    answer = await run_in_db_pool(Message.objects.get, pk=event.turn_id)
    assert answer.conversation_id == newer.pk
    await platform.say("/new")
    event = await platform.say("hello")
    answer = await run_in_db_pool(Message.objects.get, pk=event.turn_id)
    assert answer.conversation_id not in {web.pk, newer.pk}


async def test_a_shared_room_never_joins_the_thread_of_the_web(
    platform: Platform, shared: ChannelRoom, alice: User, persona: Persona
) -> None:
    await run_in_db_pool(lambda: Channel.objects.update(thread=Channel.Thread.WEB))
    web = await run_in_db_pool(start_conversation, alice, persona)
    event = await platform.say("hello", **here(names_bot=True))
    answer = await run_in_db_pool(Message.objects.get, pk=event.turn_id)
    assert answer.conversation_id != web.pk


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("Inara, hi", True),
        ("hi inara!", True),
        ("hi @Inara", True),
        ("inarax", False),
        ("in ara", False),
        ("", False),
    ],
)
def test_a_persona_is_named_by_a_word_of_its_own(text: str, named: bool) -> None:
    persona = Persona(name="inara", display_name="Inara")
    assert rooms.names_persona(text, persona) is named


def test_a_name_is_no_pattern() -> None:
    persona = Persona(name="x", display_name="a.c (+)")
    assert rooms.names_persona("so a.c (+) said", persona)
    assert not rooms.names_persona("so abc (+) said", persona)
