"""Commands over the chat socket: answered with one frame, and nothing stored."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from django.db import DatabaseError

from accounts.models import User
from channels_app import turns, typed_commands
from channels_app.errors import TurnError
from channels_app.slash_commands import Command
from channels_app.turn_requests import EditRequest, RetryRequest, TurnRequest
from channels_app.typed_commands import answer_command, command_in
from personas.memory import wishes
from personas.models import Conversation, MemoryRun, Message, Persona
from personas.personas import create_persona
from routing.backends.base import Finished, TextDelta
from routing.backends.scripted import playing
from routing.db_pool import run_in_db_pool
from tests.support.chat import ChatSocket, Frame, connected
from tests.support.ledger import book

pytestmark = pytest.mark.usefixtures("turns_running", "scripted", "persona")
SLOW = [TextDelta("one "), 30.0, TextDelta("two"), Finished()]


def rows() -> tuple[int, int]:
    """Count what a message would have stored."""
    return Conversation.objects.count(), Message.objects.count()


async def command(socket: ChatSocket, text: str, **fields: Any) -> Frame:
    """Send a command and return what answers it."""
    client_id = str(uuid.uuid4())
    fields = {"persona": "inara"} | fields
    await socket.send("message.send", text=text, client_id=client_id, **fields)
    return await socket.until("command.result", client_id=client_id)


async def test_a_command_is_answered_and_nothing_is_stored(
    alice_session: str, alice: User
) -> None:
    await run_in_db_pool(book, alice)
    async with connected(alice_session) as socket:
        for text in ("/new", "/cost", "/help", "/model", "/persona", "/nonsense"):
            frame = await command(socket, text)
            assert set(frame) == {
                "type", "client_id", "command", "text", "conversation", "persona",
                "route", "choices",
            }  # fmt: skip
            assert frame["text"]
            assert frame["conversation"] is None
    assert await run_in_db_pool(rows) == (0, 0)


async def test_a_temporary_chat_that_only_begins_is_not_remembered(
    alice_session: str,
) -> None:
    """Its first words are refused already, though there is no conversation yet."""
    async with connected(alice_session) as socket:
        for text in ("/remember I like tea", "Remember that I like tea."):
            frame = await command(socket, text, temporary=True)
            assert frame["text"] == wishes.TEMPORARY
    assert not await run_in_db_pool(MemoryRun.objects.exists)


async def test_new_and_persona_say_where_to_go(alice_session: str, alice: User) -> None:
    await run_in_db_pool(
        lambda: create_persona(
            alice, template="developer", name="tina", display_name="Tina"
        )
    )
    async with connected(alice_session) as socket:
        finished = await socket.ask("hello", model="scripted")
        started = socket.received[0]
        here = {"conversation": started["conversation"], "persona": None}
        assert (await command(socket, "/new", **here))["persona"] == "inara"
        assert (await command(socket, "/persona tina", **here))["persona"] == "tina"
        assert (await command(socket, "/persona", **here))["persona"] is None
        assert (await command(socket, "/cost", **here))["persona"] is None
        assert finished["outcome"] == "complete"
    assert await run_in_db_pool(rows) == (1, 2)


async def test_stop_ends_the_answer_that_is_being_written(alice_session: str) -> None:
    with playing(scripted=SLOW):
        async with connected(alice_session) as socket:
            started = await socket.say("go", model="scripted")
            await socket.until("turn.delta")
            client_id = str(uuid.uuid4())
            await socket.send(
                "message.send",
                text="/stop",
                client_id=client_id,
                conversation=started["conversation"],
            )
            # Either may come first: the answer's end or that of the command.
            seen: dict[str, Frame] = {}
            while not {"turn.finished", "command.result"} <= seen.keys():
                frame = await socket.receive()
                seen[frame["type"]] = frame
    assert seen["turn.finished"]["outcome"] == "interrupted"
    assert seen["command.result"]["client_id"] == client_id
    assert seen["command.result"]["text"] == "Stopped; what was written so far stays."


async def test_model_holds_for_the_next_message(alice_session: str) -> None:
    async with connected(alice_session) as socket:
        started = await socket.say("one", model="scripted")
        await socket.until("turn.finished")
        here = started["conversation"]
        frame = await command(socket, "/model scripted", conversation=here)
        assert frame["route"] == "model:scripted"
        finished = await socket.ask("two", conversation=here)
        assert finished["model"] == "scripted"
        assert finished["outcome"] == "complete"
        new = await command(socket, "/model deep")
        assert (new["route"], new["conversation"]) == ("tier:3", None)
    chat = await run_in_db_pool(Conversation.objects.get)
    assert chat.model_label == "scripted"


async def test_what_only_looks_like_a_command_is_a_message(alice_session: str) -> None:
    async with connected(alice_session) as socket:
        for text in ("//new", "/frobnicate the thing", "/etc/hosts"):
            finished = await socket.ask(text, model="scripted")
            assert socket.text_of(finished["turn"]) == text


async def test_other_peoples_conversations_do_not_exist(
    alice_session: str, bob_session: str
) -> None:
    async with connected(alice_session) as mine:
        started = await mine.say("hello", model="scripted")
        await mine.until("turn.finished")
    async with connected(bob_session) as theirs:
        for place in (
            {"conversation": started["conversation"]},
            {"conversation": str(uuid.uuid4())},
            {"persona": "inara"},
        ):
            await theirs.send("message.send", text="/cost", client_id="c", **place)
            error = await theirs.until("error", client_id="c")
            assert error["code"] == "not_found"


async def test_somebody_who_is_gone_gives_no_commands(alice: User) -> None:
    alice.is_active = False
    await run_in_db_pool(alice.save)
    request = TurnRequest("c", "/cost", persona="inara")
    with pytest.raises(TurnError) as refusal:
        await answer_command(alice.pk, request, Command("cost"))
    assert refusal.value.code == "unauthenticated"
    assert refusal.value.client_id == "c"


def test_only_new_messages_are_commands(persona: Persona) -> None:
    message = uuid.uuid4()
    assert command_in(TurnRequest("c", "/new")) == Command("new")
    assert command_in(TurnRequest("c", "hello")) is None
    assert command_in(EditRequest("c", message, "/new")) is None
    assert command_in(RetryRequest("c", message)) is None


async def test_a_database_that_fails_is_told_without_its_words(
    alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: Any) -> None:
        raise DatabaseError("disk /secret is full")

    monkeypatch.setattr(typed_commands, "run", broken)
    request = TurnRequest("c", "/cost", persona="inara")
    with pytest.raises(TurnError) as refusal:
        await answer_command(alice.pk, request, Command("cost"))
    assert refusal.value.code == "internal"
    assert "secret" not in str(refusal.value)
    assert turns.running_count() == 0


async def test_a_conversation_begun_by_a_command_is_titled_by_its_first_message(
    alice_session: str, alice: User
) -> None:
    request = TurnRequest("c", "/model scripted", persona="inara", channel="api")
    frame = await answer_command(alice.pk, request, Command("model", "scripted"))
    assert frame is not None and frame["conversation"] is not None
    async with connected(alice_session) as socket:
        await socket.ask("Plan my day", conversation=frame["conversation"])
        await socket.ask("And tomorrow", conversation=frame["conversation"])
        titles = [each["title"] for each in socket.received if "title" in each]
    assert titles == ["Plan my day"]
    chat = await run_in_db_pool(Conversation.objects.get)
    assert chat.title == "Plan my day"
