"""Turns without a socket: limits, the end of a process, and what it leaves behind."""

from __future__ import annotations

import asyncio
import json
import threading
import uuid
from datetime import timedelta
from typing import Any

import pytest
from channels.layers import get_channel_layer
from django.db import OperationalError
from django.utils import timezone

from accounts.models import User
from channels_app import live_turns, turn_control, turn_run, turns
from channels_app.abandoned import interrupt_abandoned
from channels_app.errors import TurnError
from channels_app.live_turns import RUNNING, LiveTurn
from channels_app.presence import group_of
from channels_app.streams import TurnStream
from channels_app.turn_requests import TurnRequest
from channels_app.turn_run import storable
from channels_app.turns import StartedTurn, start_turn
from ledger.models import LedgerEntry
from personas.conversations import delete_conversation
from personas.models import Conversation, Message, Persona
from routing import db_pool
from routing.backends import scripted as scripted_backend
from routing.backends.base import Finished, TextDelta, ThinkingDelta
from routing.backends.scripted import playing
from routing.db_pool import run_in_db_pool

pytestmark = pytest.mark.usefixtures("turns_running", "scripted", "persona")
LASTING = [TextDelta("one "), 20.0, TextDelta("two"), Finished()]
SHORT = [TextDelta("one "), 0.2, TextDelta("two"), Finished()]


async def start(user: User, text: str = "hello", **fields: Any) -> StartedTurn:
    fields = {"persona": "inara", "model": "scripted"} | fields
    return await start_turn(user.pk, TurnRequest(str(uuid.uuid4()), text, **fields))


async def end_of(stream: TurnStream | None) -> dict[str, Any]:
    """Read a stream to its end and return ``turn.finished``."""
    assert stream is not None
    async with asyncio.timeout(10):
        frames = [frame async for batch in stream.read() for frame in batch]
    kinds = [frame.type for frame in frames]
    assert kinds.count("turn.finished") == 1
    assert kinds[-1] == "turn.finished"
    last: dict[str, Any] = json.loads(frames[-1].json)
    return last


async def first_text(stream: TurnStream | None) -> None:
    assert stream is not None
    async for batch in stream.read():
        if any(frame.type == "turn.delta" for frame in batch):
            return


def held_starts(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Hold every start in the database until the returned event is set."""
    release, begin = threading.Event(), turns.begin

    def held(*args: Any) -> Any:
        release.wait(10)
        return begin(*args)

    monkeypatch.setattr(turns, "begin", held)
    return release


async def message(id: object) -> Message:
    return await turns.run_in_db_pool(lambda: Message.objects.get(pk=id))


# --- the end of the process -----------------------------------------------------


async def test_a_drain_lets_answers_end(alice: User) -> None:
    with playing(scripted=SHORT):
        started = await start(alice)
        await first_text(started.stream)
        reading = asyncio.create_task(end_of(started.stream))
        await turns.drain(5)
        assert (await reading)["outcome"] == "complete"
    assert turns.running_count() == 0


async def test_a_drain_waits_for_what_has_begun_to_start(
    alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = held_starts(monkeypatch)
    starting = asyncio.create_task(start(alice))
    await asyncio.sleep(0.01)
    draining = asyncio.create_task(turns.drain(5))
    await asyncio.sleep(0.01)
    release.set()
    assert (await end_of((await starting).stream))["outcome"] == "complete"
    await draining
    assert turns.running_count() == 0


async def test_a_drain_ends_in_time_although_the_database_hangs(
    alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "SETTLE_S", 0.2)
    release = held_starts(monkeypatch)
    starting = asyncio.create_task(start(alice))
    await asyncio.sleep(0.01)
    try:
        async with asyncio.timeout(3):
            await turns.drain(0)
        with pytest.raises(asyncio.CancelledError):
            await starting
    finally:
        release.set()
    assert turns.running_count() == 0


async def test_a_drain_takes_nothing_new(alice: User) -> None:
    await turns.drain(0)
    with pytest.raises(TurnError) as caught:
        await start(alice)
    assert (caught.value.code, caught.value.retryable) == ("busy", True)
    assert await turns.run_in_db_pool(Message.objects.count) == 0


async def test_a_drain_stops_and_books_what_takes_too_long(alice: User) -> None:
    with playing(scripted=LASTING):
        started = await start(alice)
        await first_text(started.stream)
        reading = asyncio.create_task(end_of(started.stream))
        await turns.drain(0.05)
        assert (await reading)["outcome"] == "interrupted"
    answer = await message(started.turn)
    assert (answer.state, answer.text) == ("interrupted", "one ")
    assert (answer.error_code, answer.stop_asked) == ("internal", False)
    rows = await turns.run_in_db_pool(
        lambda: list(LedgerEntry.objects.values_list("kind", "outcome"))
    )
    assert rows == [("reserve", ""), ("settle", "interrupted")]


async def test_what_runs_in_another_process_stops_by_its_row(
    alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without Redis no process can be told; the one that writes looks by itself."""
    monkeypatch.setattr(turn_control, "RUNNING", {})
    with playing(scripted=LASTING):
        started = await start(alice)
        await first_text(started.stream)
        assert started.turn is not None
        await turns.stop_turn(alice.pk, started.turn)
        finished = await end_of(started.stream)
    assert (finished["outcome"], finished["error"]) == ("interrupted", None)
    answer = await message(started.turn)
    assert (answer.stop_asked, answer.error_code, answer.text) == (True, "", "one ")
    await turns.stop_turn(alice.pk, started.turn)  # it is over: nothing to be said


async def test_a_stop_says_so_where_the_process_is_gone(alice: User) -> None:
    stale = timezone.now() - timedelta(seconds=31)
    answer = await run_in_db_pool(lambda: abandoned(alice, alive_at=stale))
    with pytest.raises(TurnError) as caught:
        await turns.stop_turn(alice.pk, answer.pk)
    assert caught.value.code == "turn_gone"
    assert (await message(answer.pk)).stop_asked


async def test_a_cancelled_turn_still_finishes_and_is_booked(alice: User) -> None:
    with playing(scripted=LASTING):
        started = await start(alice)
        await first_text(started.stream)
        (live,) = RUNNING.values()
        assert live.task is not None
        live.task.cancel()
        finished = await end_of(started.stream)
    assert finished["outcome"] == "interrupted"
    answer = await message(started.turn)
    assert (answer.state, answer.model) == ("interrupted", "scripted")
    assert answer.error_code == "internal"
    assert answer.output_tokens == finished["usage"]["output_tokens"] > 0
    closed = LedgerEntry.objects.filter(kind="settle", outcome="interrupted")
    assert await turns.run_in_db_pool(closed.count) == 1


async def test_a_caller_that_goes_away_does_not_undo_a_start(alice: User) -> None:
    caller = asyncio.create_task(start(alice))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    async with asyncio.timeout(5):
        done = Message.objects.filter(role="assistant", state="complete")
        while not await turns.run_in_db_pool(done.exists):
            await asyncio.sleep(0.01)


# --- what a dead process leaves behind ----------------------------------------------


def abandoned(user: User, **fields: Any) -> Message:
    """Store an answer that is being written, as another process would."""
    conversation = Conversation.objects.create(
        owner=user, persona=Persona.objects.get()
    )
    fields = {"state": "generating", "alive_at": timezone.now()} | fields
    return Message.objects.create(
        owner=user,
        conversation=conversation,
        role="assistant",
        text="half an ans",
        **fields,
    )


@pytest.mark.parametrize("alive_at", [None, timezone.now() - timedelta(seconds=31)])
def test_abandoned_answers_are_interrupted_with_their_text(
    alice: User, alive_at: Any
) -> None:
    answer = abandoned(alice, alive_at=alive_at)
    assert interrupt_abandoned() == 1
    answer.refresh_from_db()
    assert (answer.state, answer.text) == ("interrupted", "half an ans")
    assert answer.error_message
    assert answer.finished_at
    assert interrupt_abandoned() == 0


async def test_the_call_of_an_abandoned_answer_is_booked_by_its_text(
    alice: User,
) -> None:
    layer = get_channel_layer()
    channel = await layer.new_channel()

    def crash() -> None:
        """Leave the rows as a killed process does."""
        reserve = LedgerEntry.objects.get(kind="reserve", attempt_number=1)
        Message.objects.filter(role="assistant").update(
            text="half an answer", alive_at=reserve.created_at - timedelta(minutes=1)
        )

    with playing(scripted=LASTING):
        started = await start(alice, "What is this?")
        await first_text(started.stream)
        await turns.run_in_db_pool(crash)
        await layer.group_add(group_of(alice.pk), channel)
        assert await turns.run_in_db_pool(interrupt_abandoned) == 1
    async with asyncio.timeout(5):
        while "turn" not in (note := await layer.receive(channel)):
            pass
    await layer.group_discard(group_of(alice.pk), channel)
    assert note["turn"] == str(started.turn)
    rows = LedgerEntry.objects.order_by("id")
    _, closing = await turns.run_in_db_pool(list, rows)
    assert (closing.kind, closing.outcome) == ("settle", "interrupted")
    assert (closing.error_code, closing.estimated) == ("abandoned", True)
    assert closing.input_tokens > closing.output_tokens > 0
    answer = await message(started.turn)
    assert (answer.state, answer.text) == ("interrupted", "half an answer")
    assert (answer.model, answer.estimated) == ("scripted", True)
    assert answer.input_tokens == closing.input_tokens
    assert answer.output_tokens == closing.output_tokens
    assert answer.cost_nano_usd == closing.cost_nano_usd


async def test_the_late_end_of_an_answer_that_seemed_abandoned_keeps_its_text_alone(
    alice: User,
) -> None:
    with playing(scripted=LASTING):
        started = await start(alice)
        await first_text(started.stream)
        reading = asyncio.create_task(end_of(started.stream))
        await turns.run_in_db_pool(interrupt_abandoned, -60)
        before = await message(started.turn)
        live_turns.stop_local(started.turn)
        async with asyncio.timeout(10):
            assert (await reading)["outcome"] == "interrupted"
    after = await message(started.turn)
    assert (after.state, after.error_code) == ("interrupted", "internal")
    assert after.finished_at == before.finished_at
    assert (before.text, after.text) == ("", "one ")


async def test_a_turn_whose_process_died_may_be_asked_for_again(alice: User) -> None:
    answer = await turns.run_in_db_pool(abandoned, alice, alive_at=None)
    with pytest.raises(TurnError) as caught:
        await turns.resume(alice.pk, answer.pk)
    assert (caught.value.code, caught.value.retryable) == ("turn_gone", True)
    await turns.run_in_db_pool(interrupt_abandoned)
    with pytest.raises(TurnError) as caught:
        await turns.resume(alice.pk, answer.pk)
    assert (caught.value.code, caught.value.retryable) == ("turn_gone", False)


def test_answers_of_living_processes_are_left_alone(alice: User) -> None:
    answer = abandoned(alice, alive_at=timezone.now() - timedelta(seconds=20))
    done = abandoned(alice, state="complete", alive_at=None)
    assert interrupt_abandoned() == 0
    assert interrupt_abandoned(10) == 1
    done.refresh_from_db()
    assert done.state == "complete"
    assert answer.pk


async def test_an_abandoned_answer_keeps_its_conversation_busy_only_for_a_while(
    alice: User,
) -> None:
    answer = await turns.run_in_db_pool(abandoned, alice)
    with pytest.raises(TurnError) as caught:
        await start(alice, conversation=answer.conversation_id)
    assert caught.value.code == "busy"
    await turns.run_in_db_pool(
        lambda: Message.objects.update(alive_at=timezone.now() - timedelta(seconds=31))
    )
    started = await start(alice, conversation=answer.conversation_id)
    assert (await end_of(started.stream))["outcome"] == "complete"


async def test_a_running_answer_says_that_it_is_alive(
    alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    with playing(scripted=LASTING):
        started = await start(alice)
        await first_text(started.stream)
        old = timezone.now() - timedelta(hours=1)
        await turns.run_in_db_pool(lambda: Message.objects.update(alive_at=old))
        await turns.refresh_alive()
        alive_at = (await message(started.turn)).alive_at
    assert alive_at is not None
    assert alive_at > old


@pytest.mark.parametrize("reason", ["deactivated", "deleted conversation"])
async def test_answers_that_nobody_may_have_any_more_are_stopped(
    alice: User, reason: str
) -> None:
    def withdraw() -> None:
        if reason == "deactivated":
            User.objects.filter(pk=alice.pk).update(is_active=False)
        else:
            delete_conversation(Conversation.objects.get())

    with playing(scripted=LASTING):
        started = await start(alice)
        await first_text(started.stream)
        await turns.run_in_db_pool(withdraw)
        await turns.refresh_alive()
        assert (await end_of(started.stream))["outcome"] == "interrupted"


# --- limits -----------------------------------------------------------------------


async def test_a_person_has_so_many_turns_at_once(
    alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "MAX_TURNS_PER_PERSON", 1)
    with playing(scripted=LASTING):
        await start(alice)
        with pytest.raises(TurnError) as caught:
            await start(alice)
    assert caught.value.code == "too_many"


async def test_turns_that_start_at_the_same_moment_are_counted_too(
    alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "MAX_TURNS_PER_PERSON", 2)
    with playing(scripted=LASTING):
        starts = [start(alice) for _ in range(6)]
        results = await asyncio.gather(*starts, return_exceptions=True)
    refused = [each for each in results if isinstance(each, TurnError)]
    assert [error.code for error in refused] == ["too_many"] * 4
    assert turns.running_count() == 2


@pytest.mark.parametrize("kind", [TextDelta, ThinkingDelta])
async def test_an_endless_answer_is_ended(
    alice: User, monkeypatch: pytest.MonkeyPatch, kind: Any
) -> None:
    monkeypatch.setattr(turn_run, "MAX_ANSWER_CHARS", 2000)
    endless = [step for _ in range(100) for step in (kind("x" * 400), 0.001)]
    with playing(scripted=[*endless, Finished()]):
        started = await start(alice)
        finished = await end_of(started.stream)
    assert (finished["outcome"], finished["error"]["code"]) == (
        "incomplete",
        "too_long",
    )
    assert started.stream is not None
    assert started.stream.chars < 4000


async def test_a_deactivated_person_starts_nothing(alice: User) -> None:
    await turns.run_in_db_pool(lambda: User.objects.update(is_active=False))
    with pytest.raises(TurnError) as caught:
        await start(alice)
    assert caught.value.code == "unauthenticated"
    assert await turns.run_in_db_pool(Conversation.objects.count) == 0


async def test_a_stop_before_the_call_begins_makes_no_call(
    alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    def add_stopped(live: LiveTurn) -> None:
        live_turns.add(live)
        live.stop()

    monkeypatch.setattr(turns, "add", add_stopped)
    with playing(scripted=SHORT):
        started = await start(alice)
        assert (await end_of(started.stream))["outcome"] == "interrupted"
        assert scripted_backend.calls == []
    assert (await message(started.turn)).text == ""
    closing = await turns.run_in_db_pool(LedgerEntry.objects.get, kind="settle")
    assert (closing.outcome, closing.input_tokens) == ("interrupted", 0)


async def test_a_turn_is_stored_and_its_attempt_reserved_in_one_crossing(
    alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    crossings: list[str] = []

    async def counted(func: Any, *args: Any) -> Any:
        crossings.append(func.__name__)
        return await run_in_db_pool(func, *args)

    monkeypatch.setattr(turns, "run_in_db_pool", counted)
    monkeypatch.setattr(db_pool, "run_in_db_pool", counted)
    with playing(scripted=SHORT):
        started = await start(alice)
        await first_text(started.stream)
        assert len(crossings) == 1
        await end_of(started.stream)


async def test_what_stands_in_the_way_of_the_call_ends_a_stored_turn(
    alice: User,
) -> None:
    started = await start(alice, model="nobody knows it")
    finished = await end_of(started.stream)
    assert (finished["outcome"], finished["error"]["code"]) == ("failed", "no_model")
    assert (await message(started.beginning.user_message)).text == "hello"
    assert (await message(started.turn)).error_code == "no_model"


async def test_the_end_is_saved_although_the_database_fails_at_first(
    alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    save, failures = turn_run.turn_rows.end, iter([OperationalError("locked")])

    def failing(*args: Any) -> None:
        if error := next(failures, None):
            raise error
        save(*args)

    monkeypatch.setattr(turn_run.turn_rows, "end", failing)
    monkeypatch.setattr(turn_run, "END_PAUSE_S", 0.01)
    started = await start(alice)
    assert (await end_of(started.stream))["outcome"] == "complete"
    assert (await message(started.turn)).state == "complete"


async def test_a_turn_finishes_even_if_its_end_cannot_be_saved(
    alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*args: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(turn_run.turn_rows, "end", failing)
    started = await start(alice)
    assert (await end_of(started.stream))["outcome"] == "complete"
    assert turns.running_count() == 0


def test_nothing_reaches_the_stream_that_cannot_be_stored() -> None:
    assert storable("plain é 🌍") == "plain é 🌍"
    assert storable("a\0b") == "a\ufffdb"
    assert storable("x\ud83c\udf0dy") == "x🌍y"
    assert storable("half \ud83c") == "half \ufffd"


async def test_tokens_do_not_wait_for_a_slow_database(
    alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Saving the text runs beside the answer, never in between its pieces."""
    saving = asyncio.Event()
    loop = asyncio.get_running_loop()
    release = threading.Event()

    def slow(texts: Any) -> None:
        loop.call_soon_threadsafe(saving.set)
        release.wait(5)

    monkeypatch.setattr(live_turns, "SAVE_EVERY_S", 0.01)
    monkeypatch.setattr(live_turns.turn_rows, "save_progress", slow)
    script = [step for n in range(50) for step in (TextDelta(f"{n} "), 0.005)]
    with playing(scripted=[*script, Finished()]):
        started = await start(alice)
        async with asyncio.timeout(5):
            await saving.wait()
        try:
            assert (await end_of(started.stream))["outcome"] == "complete"
        finally:
            release.set()
