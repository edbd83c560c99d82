"""Turns that nothing is stored of but their rows in the ledger."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from django.db import OperationalError

from accounts.models import User
from channels_app import live_turns, turns
from channels_app.errors import TurnError
from channels_app.live_turns import RUNNING
from channels_app.streams import Frame, TurnStream
from channels_app.turn_requests import UnstoredRequest
from ledger.models import LedgerEntry, LedgerPreview
from personas.models import Conversation, Message, Persona
from routing.backends import scripted as scripted_backend
from routing.backends.base import (
    Finished,
    PromptMessage,
    TextDelta,
    ToolCall,
    ToolResult,
    ToolSpec,
)
from routing.backends.scripted import playing
from routing.models import Model
from tests.support.chat import scripted_model

pytestmark = pytest.mark.usefixtures("turns_running", "scripted", "persona")
LASTING = [TextDelta("one "), 20.0, TextDelta("two"), Finished()]
LOOKUP = ToolSpec("lookup", "Looks a word up", {"type": "object"})
ANSWER = [TextDelta("Bark."), Finished()]
CALL = ToolCall("call_1", "lookup", {"word": "cortex"})


def asking(text: str = "hello", **fields: Any) -> UnstoredRequest:
    fields = {"model": "scripted"} | fields
    fields.setdefault("messages", (PromptMessage("user", text),))
    return UnstoredRequest(**fields)


def deactivate(user: User) -> None:
    User.objects.filter(pk=user.pk).update(is_active=False)


async def frames_of(stream: TurnStream) -> list[Frame]:
    async with asyncio.timeout(10):
        return [frame async for batch in stream.read() for frame in batch]


async def ended(stream: TurnStream) -> dict[str, Any]:
    """Read a stream to its end and return ``turn.finished``."""
    frames = await frames_of(stream)
    assert [frame.type for frame in frames].count("turn.finished") == 1
    assert frames[-1].type == "turn.finished"
    last: dict[str, Any] = json.loads(frames[-1].json)
    return last


async def first_text(stream: TurnStream) -> None:
    async for batch in stream.read():
        if any(frame.type == "turn.delta" for frame in batch):
            return


@pytest.fixture
def scripted(transactional_db: None) -> Model:
    """A model that can call tools."""
    return scripted_model(tags=["tools"])


async def test_an_answer_leaves_only_rows_in_the_ledger(
    alice: User, seen: Callable[..., Any]
) -> None:
    stream = await turns.start_unstored(alice.pk, asking("hello there"))
    finished = await ended(stream)
    assert stream.text("turn.delta") == "hello there"
    assert finished["outcome"] == "complete"
    assert not RUNNING
    assert await seen(Message.objects.count) == 0
    assert await seen(Conversation.objects.count) == 0
    rows = await seen(
        lambda: list(LedgerEntry.objects.values_list("kind", "channel", "turn_id"))
    )
    assert rows == [("reserve", "api", stream.turn), ("settle", "api", stream.turn)]


async def test_frames_are_counted_without_gaps(alice: User) -> None:
    stream = await turns.start_unstored(alice.pk, asking())
    frames = await frames_of(stream)
    assert frames[0].fields == {
        "type": "turn.started",
        "turn": str(stream.turn),
        "seq": 0,
        "persona": None,
    }
    kept = [frame async for batch in stream.read(0) for frame in batch]
    assert [frame.seq for frame in frames][1:] == [frame.seq for frame in kept]


async def test_nobody_else_can_find_or_stop_it(alice: User, bob: User) -> None:
    with playing(scripted=LASTING):
        stream = await turns.start_unstored(alice.pk, asking())
        await first_text(stream)
        for act in (turns.resume, turns.stop_turn):
            with pytest.raises(TurnError) as caught:
                await act(bob.pk, stream.turn)
            assert caught.value.code == "not_found"
        assert stream.turn in RUNNING
        await turns.stop_turn(alice.pk, stream.turn)
        assert (await ended(stream))["outcome"] == "interrupted"
    with pytest.raises(TurnError) as caught:
        await turns.resume(alice.pk, stream.turn)
    assert caught.value.code == "not_found"


async def test_a_preview_is_kept_unless_the_persona_is_private(
    alice: User, persona: Persona, seen: Callable[..., Any]
) -> None:
    await ended(await turns.start_unstored(alice.pk, asking(persona="inara")))
    assert await seen(LedgerPreview.objects.count) == 1
    await seen(lambda: Persona.objects.update(private=True))
    await ended(await turns.start_unstored(alice.pk, asking(persona="inara")))
    assert await seen(LedgerPreview.objects.count) == 1
    assert await seen(LedgerEntry.objects.filter(kind="settle").count) == 2


async def test_the_output_limit_reaches_the_host(alice: User) -> None:
    with playing(scripted=[TextDelta("x"), Finished()]):
        await ended(await turns.start_unstored(alice.pk, asking(max_output_tokens=7)))
        (call,) = scripted_backend.calls
    assert call.max_output_tokens == 7


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"persona": "nobody"}, "not_found"),
        ({"messages": ()}, "bad_request"),
        ({"messages": (PromptMessage("assistant", "hello"),)}, "bad_request"),
    ],
)
async def test_a_wrong_request_is_refused(
    alice: User, fields: dict[str, Any], code: str
) -> None:
    with pytest.raises(TurnError) as caught:
        await turns.start_unstored(alice.pk, asking(**fields))
    assert caught.value.code == code
    assert not RUNNING


async def test_a_persona_of_somebody_else_is_not_found(bob: User) -> None:
    with pytest.raises(TurnError) as caught:
        await turns.start_unstored(bob.pk, asking(persona="inara"))
    assert caught.value.code == "not_found"


async def test_a_deactivated_person_starts_nothing(
    alice: User, seen: Callable[..., Any]
) -> None:
    await seen(deactivate, alice)
    with pytest.raises(TurnError) as caught:
        await turns.start_unstored(alice.pk, asking())
    assert caught.value.code == "unauthenticated"


async def test_they_count_among_the_turns_of_a_person(
    alice: User, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "MAX_TURNS_PER_PERSON", 2)
    with playing(scripted=LASTING):
        for _ in range(2):
            await turns.start_unstored(alice.pk, asking())
        with pytest.raises(TurnError) as caught:
            await turns.start_unstored(alice.pk, asking())
        assert caught.value.code == "too_many"
        await turns.start_unstored(bob.pk, asking())


async def test_a_drain_takes_nothing_new(alice: User) -> None:
    await turns.drain(0)
    with pytest.raises(TurnError) as caught:
        await turns.start_unstored(alice.pk, asking())
    assert caught.value.code == "busy"


async def test_the_keeper_neither_saves_nor_stops_it(alice: User) -> None:
    with playing(scripted=LASTING):
        stream = await turns.start_unstored(alice.pk, asking())
        await first_text(stream)
        (live,) = RUNNING.values()
        assert not live.save_due(float("inf"))
        await live_turns.refresh_alive()
        assert not live.stop_asked


async def test_it_ends_when_its_person_is_deactivated(
    alice: User, bob: User, seen: Callable[..., Any]
) -> None:
    with playing(scripted=LASTING):
        mine = await turns.start_unstored(alice.pk, asking())
        others = await turns.start_unstored(bob.pk, asking())
        await first_text(mine)
        await seen(deactivate, alice)
        await live_turns.refresh_alive()
        assert (await ended(mine))["outcome"] == "interrupted"
        assert others.turn in RUNNING


async def test_a_drain_ends_and_books_it(alice: User, seen: Callable[..., Any]) -> None:
    with playing(scripted=LASTING):
        stream = await turns.start_unstored(alice.pk, asking())
        await first_text(stream)
        await turns.drain(0.05)
        assert (await ended(stream))["outcome"] == "interrupted"
    closed = LedgerEntry.objects.filter(kind="settle", outcome="interrupted")
    assert await seen(closed.count) == 1


async def test_a_caller_that_goes_away_ends_it(
    alice: User, seen: Callable[..., Any]
) -> None:
    with playing(scripted=LASTING):
        caller = asyncio.create_task(turns.start_unstored(alice.pk, asking()))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        async with asyncio.timeout(5):
            while turns._STARTING or RUNNING:
                await asyncio.sleep(0.01)
    closed = LedgerEntry.objects.exclude(kind="reserve").values("attempt_id")
    left_open = LedgerEntry.objects.exclude(attempt_id__in=closed)
    assert not await seen(left_open.count)


async def test_a_database_that_fails_is_told_as_ours(
    alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: Any) -> Any:
        raise OperationalError("away")

    monkeypatch.setattr(turns, "call_for", broken)
    with pytest.raises(TurnError) as caught:
        await turns.start_unstored(alice.pk, asking())
    assert caught.value.code == "internal"


# --- tools and prompts ----------------------------------------------------------


async def test_a_tool_call_comes_as_a_frame_and_its_result_goes_back(
    alice: User, seen: Callable[..., Any]
) -> None:
    question = PromptMessage("user", "What does cortex mean?")
    with playing(scripted=[[TextDelta("Let me look."), CALL, Finished()], ANSWER]):
        stream = await turns.start_unstored(
            alice.pk, asking(messages=(question,), tools=(LOOKUP,))
        )
        frames = await frames_of(stream)
        (called,) = [f.fields for f in frames if f.type == "turn.tool_call"]
        assert (called["id"], called["name"]) == ("call_1", "lookup")
        assert called["arguments"] == {"word": "cortex"}
        assert frames[-1].fields["outcome"] == "complete"
        made = PromptMessage("assistant", "Let me look.", tool_calls=(CALL,))
        result = ToolResult("call_1", "lookup", "bark")
        messages = (question, made, PromptMessage("user", "", tool_results=(result,)))
        again = await turns.start_unstored(
            alice.pk, asking(messages=messages, tools=(LOOKUP,))
        )
        await ended(again)
        first, second = scripted_backend.calls
    assert again.text("turn.delta") == "Bark."
    assert first.prompt.tools == second.prompt.tools == (LOOKUP,)
    assert second.prompt.messages == messages


async def test_unusable_arguments_come_as_they_were_written(alice: User) -> None:
    broken = ToolCall("call_1", "lookup", {}, "No object.", raw='{"word": ')
    with playing(scripted=[broken, Finished()]):
        stream = await turns.start_unstored(alice.pk, asking(tools=(LOOKUP,)))
        frames = await frames_of(stream)
    (called,) = [f.fields for f in frames if f.type == "turn.tool_call"]
    assert (called["arguments"], called["raw"]) == ({}, '{"word": ')


async def test_tools_are_only_given_to_models_that_know_them(
    alice: User, seen: Callable[..., Any]
) -> None:
    await seen(lambda: Model.objects.update(tags=[]))
    stream = await turns.start_unstored(alice.pk, asking(tools=(LOOKUP,)))
    error = (await ended(stream))["error"]
    assert error["code"] == "no_model"
    assert "tools" in error["message"]


async def test_the_persona_stands_before_the_instructions_of_the_program(
    alice: User,
) -> None:
    with playing(scripted=ANSWER):
        request = asking(persona="inara", system="Answer in French.")
        await ended(await turns.start_unstored(alice.pk, request))
        (call,) = scripted_backend.calls
    system = call.prompt.system
    assert system.startswith("You are Inara, talking with alice.")
    assert system.count("Answer in French.") == 1
    assert 200 < system.index("Answer in French.") < system.index("It is ")
    assert system.endswith(call.prompt.passing)
    assert call.prompt.passing.startswith("It is ")


async def test_without_a_persona_there_is_only_the_instructions_of_the_program(
    alice: User,
) -> None:
    with playing(scripted=ANSWER):
        request = asking(system="Answer in French.")
        await ended(await turns.start_unstored(alice.pk, request))
        (call,) = scripted_backend.calls
    assert call.prompt.system == "Answer in French."
