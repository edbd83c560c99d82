"""One persona, two doors: the web page and a Nextcloud Talk room of the same person.

Everything is real but the models and the Nextcloud: the chat socket, the webhook with
its signature, the answering of events, and what is posted back.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from django.test import AsyncClient

from accounts.models import User
from channels_app import couriers
from channels_app.bots import answering
from channels_app.models import Channel, ChannelRoom
from personas.models import Conversation, Message, Persona
from personas.personas import create_persona
from routing.backends import scripted
from routing.backends.base import Finished, TextDelta
from routing.backends.scripted import playing
from routing.db_pool import run_in_db_pool
from routing.models import Model, RoleSlot
from tests.support.chat import ChatSocket, connected
from tests.support.nextcloud import Nextcloud, Post
from tests.support.talk import *  # noqa: F403

pytestmark = pytest.mark.usefixtures("turns_running", "doors")
ADDRESS = "/webhook/nextcloud/alice"


@pytest_asyncio.fixture
async def doors(
    scripted: Model, turns_running: None, talk_channel: Channel
) -> AsyncIterator[None]:
    """Let the scripted model answer everywhere, and end the bots with the test."""
    await run_in_db_pool(
        lambda: RoleSlot.objects.create(role="chat", position=0, model=scripted)
    )
    yield
    await answering.drain()
    await couriers.drain(2)


class Talk:
    """Alice in her Talk room."""

    def __init__(self, nextcloud: Nextcloud) -> None:
        self.nextcloud = nextcloud
        self.client = AsyncClient()

    async def send(self, text: str, **fields: Any) -> None:
        """Write a message into the room; the bot's address takes it."""
        body, headers = self.nextcloud.signed(self.nextcloud.message(text, **fields))
        answer = await self.client.post(
            ADDRESS, body, content_type="application/json", headers=headers
        )
        assert answer.status_code == 200, answer.content

    async def say(self, text: str, **fields: Any) -> Post:
        """Write a message and return what the persona posts next."""
        before = len(self.nextcloud.posts)
        await self.send(text, **fields)
        posts = await asyncio.to_thread(self.nextcloud.wait_for_posts, before + 1)
        return posts[before]


@pytest.fixture
def talk(nextcloud: Nextcloud) -> Talk:
    return Talk(nextcloud)


async def same_thread(channel: Channel) -> None:
    """Let the room go on where the web page is."""
    channel.thread = Channel.Thread.WEB
    await run_in_db_pool(channel.save)


def said_in(conversation: Any) -> list[tuple[str, str, str]]:
    """Return the messages of a conversation: role, channel, text."""
    rows = Message.objects.filter(conversation=conversation)
    return list(rows.values_list("role", "channel", "text"))


def heard() -> list[str]:
    """Return the texts of the last call, as the model saw them."""
    return [message.text for message in scripted.calls[-1].prompt.messages]


# --- one thread -------------------------------------------------------------------


async def test_the_same_thread_goes_on_at_both_doors(
    alice_session: str, talk: Talk, talk_channel: Channel
) -> None:
    await same_thread(talk_channel)
    async with connected(alice_session) as socket:
        started = await socket.say("from the web")
        await socket.until("turn.finished")
        here = started["conversation"]
        assert (await talk.say("from Talk")).text == "from Talk"
        assert heard() == ["from the web", "from the web", "from Talk"]
        # The open page hears of the other door's turn and can follow it.
        changed = await socket.until("conversation.changed", conversation=here)
        while "turn" not in changed or changed["turn"] == started["turn"]:
            changed = await socket.until("conversation.changed", conversation=here)
        await socket.send("turn.resume", turn=changed["turn"], after=-1)
        await socket.until("turn.finished", turn=changed["turn"])
        assert socket.text_of(changed["turn"]) == "from Talk"
        await socket.ask("web again", conversation=here)
    assert heard() == [
        "from the web", "from the web", "from Talk", "from Talk", "web again",
    ]  # fmt: skip
    assert await run_in_db_pool(said_in, here) == [
        ("user", "web", "from the web"),
        ("assistant", "web", "from the web"),
        ("user", "nextcloud_talk", "from Talk"),
        ("assistant", "nextcloud_talk", "from Talk"),
        ("user", "web", "web again"),
        ("assistant", "web", "web again"),
    ]
    assert await run_in_db_pool(Conversation.objects.count) == 1


async def test_the_same_thread_is_the_one_that_was_used_last(
    alice_session: str, talk: Talk, talk_channel: Channel
) -> None:
    await same_thread(talk_channel)
    async with connected(alice_session) as socket:
        await socket.ask("an old chat")
        newer = (await socket.say("a new chat"))["conversation"]
        await socket.until("turn.finished")
        await socket.ask("between us", temporary=True)
    await talk.say("go on")
    assert (await run_in_db_pool(said_in, newer))[-1][2] == "go on"
    # What begins anew in the room is what both doors have from then on.
    assert "new conversation" in (await talk.say("/new")).text
    await talk.say("fresh")
    await talk.say("and on")
    assert heard() == ["fresh", "fresh", "and on"]
    assert await run_in_db_pool(Conversation.objects.count) == 4


async def test_a_room_of_its_own_stays_apart_from_the_web(
    alice_session: str, talk: Talk
) -> None:
    async with connected(alice_session) as socket:
        web = (await socket.say("from the web"))["conversation"]
        await socket.until("turn.finished")
        await talk.say("from Talk")
        await talk.say("more of it")
        assert heard() == ["from Talk", "from Talk", "more of it"]
        await socket.ask("web again", conversation=web)
    assert heard() == ["from the web", "from the web", "web again"]
    room = await run_in_db_pool(ChannelRoom.objects.get)
    assert str(room.conversation_id) != web
    assert {channel for _, channel, _ in await run_in_db_pool(said_in, web)} == {"web"}


async def test_the_web_can_go_on_in_the_thread_of_a_room(
    alice_session: str, talk: Talk
) -> None:
    await talk.say("from Talk")
    chat = await run_in_db_pool(Conversation.objects.get)
    async with connected(alice_session) as socket:
        await socket.ask("from the web", conversation=str(chat.pk))
    await talk.say("Talk again")
    assert heard() == [
        "from Talk", "from Talk", "from the web", "from the web", "Talk again",
    ]  # fmt: skip
    assert chat.title == "from Talk"
    # Nobody else reads either door, so nobody is named.
    assert not await run_in_db_pool(Message.objects.exclude(author_name="").exists)


# --- commands ---------------------------------------------------------------------


async def test_commands_work_alike_in_the_room_and_are_not_stored(
    talk: Talk, alice: User
) -> None:
    await run_in_db_pool(
        lambda: create_persona(
            alice, template="developer", name="tina", display_name="Tina"
        )
    )
    await talk.say("hello")
    assert "You are talking to Inara" in (await talk.say("/help")).text
    assert "- This conversation: " in (await talk.say("/cost")).text
    assert "`scripted`" in (await talk.say("/model")).text
    assert "Did you mean `/cost`?" in (await talk.say("/costs")).text
    assert "From now on" in (await talk.say("/model scripted")).text
    chat = await run_in_db_pool(Conversation.objects.get)
    assert chat.model_label == "scripted"
    assert (await talk.say("/persona tina")).text.startswith("From now on Tina")
    assert "You are talking to Tina" in (await talk.say("/help")).text
    await talk.say("hi Tina")
    assert await run_in_db_pool(Message.objects.count) == 4
    newest = await run_in_db_pool(
        lambda: Conversation.objects.select_related("persona").first()
    )
    assert newest is not None
    assert newest.persona.name == "tina"
    assert heard() == ["hi Tina"]


async def test_a_model_chosen_before_the_first_message_answers_it(talk: Talk) -> None:
    await talk.say("/model quick")
    await talk.say("Plan my day")
    chat = await run_in_db_pool(Conversation.objects.get)
    assert (chat.tier, chat.title) == (1, "Plan my day")
    assert heard() == ["Plan my day"]


async def test_stop_in_the_room_ends_what_is_written_there(
    talk: Talk, alice_session: str
) -> None:
    slow = [TextDelta("so far "), 30.0, TextDelta("never"), Finished()]
    with playing(scripted=slow):
        async with connected(alice_session) as socket:
            await talk.send("tell me a lot")
            changed = await socket.until("conversation.changed")
            await socket.send("turn.resume", turn=changed["turn"], after=-1)
            await socket.until("turn.delta")
            await talk.send("/stop")
            finished = await socket.until("turn.finished")
    assert finished["outcome"] == "interrupted"
    posts = await asyncio.to_thread(talk.nextcloud.wait_for_posts, 2)
    assert sorted(post.text for post in posts) == [
        "Stopped; what was written so far stays.",
        "so far\n\n(Stopped.)",
    ]


async def test_the_web_stops_what_a_room_asked_for(
    talk: Talk, alice_session: str
) -> None:
    slow = [TextDelta("so far "), 30.0, TextDelta("never"), Finished()]
    with playing(scripted=slow):
        async with connected(alice_session) as socket:
            await talk.send("tell me a lot")
            changed = await socket.until("conversation.changed")
            await socket.send("turn.resume", turn=changed["turn"], after=-1)
            await socket.until("turn.delta")
            result = await command(socket, "/stop", changed["conversation"])
            await socket.until("turn.finished")
    assert result["text"] == "Stopped; what was written so far stays."
    (post,) = await asyncio.to_thread(talk.nextcloud.wait_for_posts, 1)
    assert post.text == "so far\n\n(Stopped.)"


async def command(socket: ChatSocket, text: str, conversation: str) -> dict[str, Any]:
    await socket.send(
        "message.send", text=text, client_id="command", conversation=conversation
    )
    return await socket.until("command.result")


# --- rooms where others read ------------------------------------------------------


async def test_a_shared_room_says_who_wrote_and_tells_no_secrets(
    talk: Talk, talk_channel: Channel, persona: Persona
) -> None:
    await run_in_db_pool(lambda: ChannelRoom.objects.update(alone=False))
    await run_in_db_pool(
        lambda: persona.files.filter(name="USER.md").update(text="The safe is 4711.")
    )
    await talk.say("Inara, hello", name="Alice A.")
    await talk.say("Inara, and me?", sender="users/bob", name="Bob B.")
    assert heard()[-1] == "Bob B. (guest): Inara, and me?"
    assert "4711" not in json.dumps([scripted.calls[-1].prompt.system, heard()])
    chat = await run_in_db_pool(Conversation.objects.get)
    assert chat.shared
    rows = await run_in_db_pool(
        lambda: list(
            Message.objects.filter(role="user").values_list("author_name", "from_guest")
        )
    )
    assert rows == [("Alice A.", False), ("Bob B.", True)]
    assert (await talk.say("/cost")).text.startswith("Others read here")
    bob = {"sender": "users/bob", "name": "Bob B.", "reply_to_bot": True}
    refused = await talk.say("/new", **bob)
    assert refused.text == "Commands are for the owner of this persona alone."
    assert await run_in_db_pool(Conversation.objects.count) == 1
    assert "a new conversation" in (await talk.say("/new")).text
    await talk.say("Inara, begin again")
    assert await run_in_db_pool(Conversation.objects.count) == 2
