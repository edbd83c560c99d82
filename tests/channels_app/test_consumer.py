"""The chat socket against the real application, with the scripted model."""

from __future__ import annotations

import asyncio
import uuid
from contextlib import AsyncExitStack
from typing import Any

import pytest
from channels.layers import get_channel_layer

from accounts.models import User
from channels_app.web import sockets
from channels_app.web.frames import ResumeRequest
from channels_app.web.sockets import SOCKETS, FrameLimit
from ledger.models import LedgerEntry
from personas.models import Conversation, Message
from routing.backends.base import (
    Finished,
    RateLimited,
    TextDelta,
    ThinkingDelta,
    Usage,
    UsageReported,
)
from routing.backends.scripted import playing
from routing.db_pool import run_in_db_pool
from tests.support.chat import Closed, connected

pytestmark = pytest.mark.usefixtures("turns_running", "scripted", "persona")
SLOW = [TextDelta("one "), 0.2, TextDelta("two "), 30.0, TextDelta("three"), Finished()]


async def message(id: object) -> Message:
    """Read a message from the database."""
    return await run_in_db_pool(lambda: Message.objects.get(pk=id))


async def test_a_message_is_answered(alice_session: str, seen: Any) -> None:
    async with connected(alice_session) as socket:
        finished = await socket.ask("one two three", model="scripted")
        assert finished["outcome"] == "complete"
        assert finished["error"] is None
        assert finished["model"] == "scripted"
        assert finished["cost_usd"] is not None
        assert socket.text_of(finished["turn"]) == "one two three"
    answer = await message(finished["turn"])
    asked = await message(answer.parent_id)
    assert (asked.role, asked.text, asked.parent_id) == ("user", "one two three", None)
    assert (answer.state, answer.text) == ("complete", "one two three")
    assert answer.model == "scripted"
    assert answer.output_tokens == finished["usage"]["output_tokens"]
    assert answer.alive_at is None
    assert answer.finished_at is not None


async def test_frames_are_as_agreed(alice_session: str, alice: User) -> None:
    script = [
        ThinkingDelta("hm"),
        TextDelta("Hi"),
        UsageReported(Usage(10, 2)),
        Finished(),
    ]
    with playing(scripted=script):
        async with connected(alice_session) as socket:
            finished = await socket.ask("Hello", client_id="c-1", model="scripted")
    turn = finished["turn"]
    frames = [frame for frame in socket.received if frame.get("seq") is not None]
    started = frames[0]
    assert (
        started
        | {
            "type": "turn.started",
            "seq": 0,
            "client_id": "c-1",
            "persona": "inara",
            "message": turn,
        }
        == started
    )
    assert uuid.UUID(started["conversation"])
    assert uuid.UUID(started["user_message"])
    kinds = [(frame["type"], frame.get("stage")) for frame in frames]
    assert kinds == [
        ("turn.started", None),
        ("turn.stage", "routing"),
        ("turn.routed", None),
        ("turn.stage", "waiting"),
        ("turn.stage", "thinking"),
        ("turn.thinking", None),
        ("turn.stage", "writing"),
        ("turn.delta", None),
        ("turn.finished", None),
    ]
    assert [frame["seq"] for frame in frames] == list(range(9))
    assert set(frames[2]) == {
        "type", "turn", "seq", "model", "tier", "reason", "attempt", "fallback",
        "continues",
    }  # fmt: skip
    assert set(finished) == {
        "type", "turn", "seq", "outcome", "message", "model", "tier", "usage",
        "cost_usd", "estimated", "error",
    }  # fmt: skip
    assert finished["usage"] == {
        "input_tokens": 10,
        "output_tokens": 2,
        "cache_read_tokens": None,
        "cache_write_tokens": None,
    }


async def test_a_second_message_continues_the_conversation(
    alice_session: str, seen: Any
) -> None:
    async with connected(alice_session) as socket:
        first = await socket.say("one", model="scripted")
        await socket.until("turn.finished")
        second = await socket.say(
            "two", model="scripted", conversation=first["conversation"]
        )
        await socket.until("turn.finished")
    assert second["conversation"] == first["conversation"]
    asked = await message(second["user_message"])
    assert str(asked.parent_id) == first["message"]
    conversation = await seen(
        lambda: Conversation.objects.get(pk=first["conversation"])
    )
    assert str(conversation.current_message_id) == second["message"]
    assert conversation.title == "one"


async def test_a_repeat_of_a_message_gets_the_same_turn(
    alice_session: str, seen: Any
) -> None:
    async with connected(alice_session) as first, connected(alice_session) as second:
        one = await first.say("once", client_id="same", model="scripted")
        two = await second.say("once", client_id="same", model="scripted")
        assert one == two
        await second.until("turn.finished")
        assert second.text_of(two["turn"]) == "once"
    assert await seen(Message.objects.count) == 2


async def test_repeats_at_the_same_moment_make_one_turn(
    alice_session: str, seen: Any
) -> None:
    async with AsyncExitStack() as stack:
        tabs = [
            await stack.enter_async_context(connected(alice_session)) for _ in range(10)
        ]
        started = await asyncio.gather(
            *(tab.say("once", client_id="same", model="scripted") for tab in tabs)
        )
        await asyncio.gather(*(tab.until("turn.finished") for tab in tabs))
    assert len({frame["turn"] for frame in started}) == 1
    assert await seen(Message.objects.count) == 2
    assert await seen(Conversation.objects.count) == 1


async def test_a_retry_is_a_new_sibling(alice_session: str, seen: Any) -> None:
    async with connected(alice_session) as socket:
        first = await socket.say("again", model="scripted")
        await socket.until("turn.finished")
        await socket.send(
            "turn.retry", client_id="r", message=first["message"], model="scripted"
        )
        second = await socket.until("turn.started", client_id="r")
        await socket.until("turn.finished", turn=second["turn"])
    assert second["user_message"] == first["user_message"]
    assert second["message"] != first["message"]
    answers = await seen(
        lambda: list(
            Message.objects.filter(parent=first["user_message"]).values_list(
                "text", flat=True
            )
        )
    )
    assert answers == ["again", "again"]


async def test_an_edit_is_a_new_sibling_with_an_answer(
    alice_session: str, seen: Any
) -> None:
    async with connected(alice_session) as socket:
        first = await socket.say("wrong", model="scripted")
        await socket.until("turn.finished")
        await socket.send(
            "message.edit", client_id="e", message=first["user_message"], text="right"
        )
        second = await socket.until("turn.started", client_id="e")
        await socket.until("turn.finished", turn=second["turn"])
    edited = await message(second["user_message"])
    original = await message(first["user_message"])
    assert (original.text, edited.text) == ("wrong", "right")
    assert edited.parent_id == original.parent_id


async def test_an_edit_without_an_answer_starts_no_turn(
    alice_session: str, seen: Any
) -> None:
    async with connected(alice_session) as socket:
        first = await socket.say("wrong", model="scripted")
        await socket.until("turn.finished")
        await socket.send(
            "message.edit",
            client_id="e",
            message=first["user_message"],
            text="right",
            answer=False,
        )
        while "turn" in (changed := await socket.until("conversation.changed")):
            pass
    assert changed == {
        "type": "conversation.changed",
        "conversation": first["conversation"],
    }
    edited = await seen(lambda: Message.objects.get(text="right"))
    assert await seen(Message.objects.count) == 3
    conversation = await seen(
        lambda: Conversation.objects.get(pk=first["conversation"])
    )
    assert conversation.current_message_id == edited.pk


async def test_only_fitting_messages_can_be_retried_or_edited(
    alice_session: str,
) -> None:
    async with connected(alice_session) as socket:
        first = await socket.say("one", model="scripted")
        await socket.until("turn.finished")
        await socket.send("turn.retry", client_id="r", message=first["user_message"])
        error = await socket.until("error", client_id="r")
        assert error["code"] == "bad_request"
        await socket.send(
            "message.edit", client_id="e", message=first["message"], text="mine now"
        )
        error = await socket.until("error", client_id="e")
        assert error["code"] == "bad_request"


async def test_a_conversation_takes_one_message_at_a_time(
    alice_session: str, seen: Any
) -> None:
    with playing(scripted=SLOW):
        async with connected(alice_session) as socket:
            first = await socket.say("one", model="scripted")
            await socket.send(
                "message.send",
                client_id="second",
                persona="inara",
                conversation=first["conversation"],
                text="two",
            )
            error = await socket.until("error", client_id="second")
            assert (error["code"], error["retryable"]) == ("busy", True)
            await socket.send("turn.stop", turn=first["turn"])
            await socket.until("turn.finished")
    assert await seen(Message.objects.count) == 2


async def test_stop_keeps_the_text_and_books_it(alice_session: str, seen: Any) -> None:
    with playing(scripted=SLOW):
        async with connected(alice_session) as socket:
            started = await socket.say("count", model="scripted")
            while socket.text_of(started["turn"]) != "one two ":
                await socket.until("turn.delta")
            await socket.send("turn.stop", turn=started["turn"])
            finished = await socket.until("turn.finished", within_s=2)
            await socket.send("turn.stop", turn=started["turn"])
            await socket.send("ping")
            assert (await socket.receive())["type"] == "pong"
    assert finished["outcome"] == "interrupted"
    answer = await message(started["turn"])
    assert (answer.state, answer.text) == ("interrupted", "one two ")
    closing = await seen(
        lambda: LedgerEntry.objects.get(turn_id=started["turn"], kind="settle")
    )
    assert closing.outcome == "interrupted"
    assert closing.output_tokens


async def test_a_failed_turn_finishes_with_its_error(
    alice_session: str, seen: Any
) -> None:
    error = RateLimited("The host asked to slow down.", retry_after_s=600)
    with playing(scripted=[error]):
        async with connected(alice_session) as socket:
            finished = await socket.ask("hello", model="scripted")
    assert finished["outcome"] == "failed"
    assert finished["error"]["code"] == "too_many"
    assert finished["error"]["retryable"] is True
    answer = await message(finished["turn"])
    assert (answer.state, answer.error_code) == ("failed", "too_many")
    assert answer.error_message == finished["error"]["message"]


async def test_a_fault_of_our_own_still_finishes_the_turn(
    alice_session: str, seen: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: Any, **options: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("channels_app.turn_run.dispatcher.stream", broken)
    async with connected(alice_session) as socket:
        finished = await socket.ask("hello", model="scripted")
    assert finished["outcome"] == "failed"
    assert finished["error"]["code"] == "internal"
    assert (await message(finished["turn"])).state == "failed"


async def test_text_is_saved_while_it_streams(
    alice_session: str, seen: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("channels_app.live_turns.SAVE_EVERY_S", 0.02)
    with playing(scripted=SLOW):
        async with connected(alice_session) as socket:
            started = await socket.say("count", model="scripted")
            async with asyncio.timeout(5):
                while True:
                    answer = await message(started["turn"])
                    if answer.text == "one two ":
                        break
                    await asyncio.sleep(0.02)
            assert answer.state == "generating"
            await socket.send("turn.stop", turn=started["turn"])
            await socket.until("turn.finished")


async def test_other_tabs_learn_of_a_turn_and_can_follow_it(
    alice_session: str,
) -> None:
    async with connected(alice_session) as first, connected(alice_session) as second:
        started = await first.say("over here", model="scripted")
        note = await second.until("conversation.changed")
        assert note["turn"] == started["turn"]
        assert note["conversation"] == started["conversation"]
        assert note["title"] == "over here"
        await second.send("turn.resume", turn=started["turn"], after=-1)
        await second.until("turn.finished")
        await first.until("turn.finished")
        assert second.text_of(started["turn"]) == "over here"


async def test_nobody_elses_tabs_hear_of_it(
    alice_session: str, charlie_session: str
) -> None:
    async with connected(alice_session) as mine, connected(charlie_session) as other:
        await mine.ask("secret", model="scripted")
        await other.send("ping")
        assert (await other.receive())["type"] == "pong"
        assert other.received == [{"type": "pong"}]


async def test_resuming_twice_on_one_socket_doubles_nothing(
    alice_session: str,
) -> None:
    with playing(scripted=[TextDelta("a"), 0.1, TextDelta("b"), Finished()]):
        async with connected(alice_session) as socket:
            started = await socket.say("x", model="scripted")
            while not socket.text_of(started["turn"]):
                frame = await socket.until("turn.delta")
            await socket.send("turn.resume", turn=started["turn"], after=frame["seq"])
            await socket.until("turn.finished")
            await socket.send("ping")
            await socket.until("pong")
        assert socket.text_of(started["turn"]) == "ab"
        kinds = [frame["type"] for frame in socket.received]
        assert kinds.count("turn.finished") == 1


async def test_resuming_beyond_the_end_repeats_the_end(alice_session: str) -> None:
    async with connected(alice_session) as socket:
        finished = await socket.ask("bye", model="scripted")
        await socket.send("turn.resume", turn=finished["turn"], after=1000)
        assert await socket.receive() == finished
        await socket.send("ping")
        assert (await socket.receive())["type"] == "pong"


async def test_a_turn_that_is_no_longer_kept_is_gone(
    alice_session: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("channels_app.stream_hub.KEEP_FINISHED_S", 0)
    async with connected(alice_session) as socket:
        finished = await socket.ask("bye", client_id="c", model="scripted")
        await asyncio.sleep(0.01)
        await socket.send("turn.resume", turn=finished["turn"], after=-1)
        error = await socket.until("error", turn=finished["turn"])
        assert error["code"] == "turn_gone"
        await socket.send("message.send", client_id="c", persona="inara", text="bye")
        error = await socket.until("error", client_id="c")
        assert (error["code"], error["turn"]) == ("turn_gone", finished["turn"])
        answer = await message(finished["turn"])
        assert error["conversation"] == str(answer.conversation_id)
        assert error["user_message"] == str(answer.parent_id)
        assert error["message"] == "This message was answered before."


async def test_a_repeat_after_a_crash_is_told_that_the_answer_broke_off(
    alice_session: str, seen: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("channels_app.stream_hub.KEEP_FINISHED_S", 0)
    async with connected(alice_session) as socket:
        await socket.ask("hi", client_id="c", model="scripted")
        await seen(lambda: Message.objects.update(state="generating"))
        await socket.send("message.send", client_id="c", persona="inara", text="hi")
        error = await socket.until("error", client_id="c")
    assert error["code"] == "turn_gone"
    assert "stopped" in error["message"]


async def test_what_started_nothing_stores_nothing(
    alice_session: str, seen: Any
) -> None:
    async with connected(alice_session) as socket:
        unknown = str(uuid.uuid4())
        wishes: list[dict[str, Any]] = [
            {"persona": "nobody"},
            {"persona": "inara", "conversation": unknown},
            {"persona": "inara", "parent": unknown},
        ]
        for wish in wishes:
            await socket.send("message.send", client_id="c", text="hi", **wish)
            error = await socket.until("error", client_id="c")
            assert error["code"] == "not_found"
    assert await seen(Message.objects.count) == 0
    assert await seen(Conversation.objects.count) == 0


async def test_unknown_frames_are_ignored_and_broken_ones_answered(
    alice_session: str,
) -> None:
    async with connected(alice_session) as socket:
        await socket.send("what.is.this", client_id="x")
        await socket.send_text("no json")
        assert (await socket.receive())["code"] == "bad_request"
        await socket.communicator.send_to(bytes_data=b"\xff\x00")
        assert (await socket.receive())["code"] == "bad_request"
        await socket.send("ping")
        assert (await socket.receive()) == {"type": "pong"}


async def test_a_closed_socket_leaves_nothing_behind(alice_session: str) -> None:
    async with connected(alice_session) as socket:
        await socket.ask("hello", model="scripted")
        assert len(SOCKETS) == 1
    assert len(SOCKETS) == 0
    assert len(SOCKETS._tasks) == 0


async def test_the_last_socket_ends_the_listener_and_leaves_its_group(
    alice_session: str,
) -> None:
    layer = get_channel_layer()
    async with connected(alice_session) as socket:
        await socket.ask("hello", model="scripted")
        tasks, channel = SOCKETS._tasks, SOCKETS._layer_channel
        assert any(channel in group for group in layer.groups.values())
        assert len(tasks) == 3
    async with asyncio.timeout(5):
        while len(tasks) or any(channel in group for group in layer.groups.values()):
            await asyncio.sleep(0.01)


async def test_a_resume_that_another_one_replaces_at_once_leaves_nothing(
    alice_session: str,
) -> None:
    """A coroutine that nobody awaits would be a warning, and so fail this test."""
    async with connected(alice_session) as socket:
        finished = await socket.ask("hello", model="scripted")
        (consumer,) = SOCKETS._by_person[next(iter(SOCKETS._by_person))]
        resume = ResumeRequest(uuid.UUID(finished["turn"]), -1)
        await consumer._handle(resume)  # type: ignore[attr-defined]
        await consumer._handle(resume)  # type: ignore[attr-defined]
        assert await socket.until("turn.finished") == finished


# --- limits ------------------------------------------------------------------------


async def test_too_many_sockets_of_one_person_are_closed(
    alice_session: str, charlie_session: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets, "MAX_SOCKETS_PER_PERSON", 1)
    async with connected(alice_session) as first, connected(alice_session) as second:
        assert await second.closed() == 4429
        async with connected(charlie_session) as other:
            for socket in (first, other):
                await socket.send("ping")
                assert (await socket.receive()) == {"type": "pong"}


def test_frames_are_limited_to_bursts_and_a_rate() -> None:
    limit = FrameLimit(100.0)
    verdicts = [limit.take(100.0) for _ in range(200)]
    assert verdicts.count("ok") == FrameLimit.BURST
    assert verdicts.count("refuse") == FrameLimit.REFUSALS
    assert verdicts[-1] == "close"
    assert FrameLimit(0.0).take(1e9) == "ok"
    later = FrameLimit(100.0)
    assert all(later.take(100.0 + number / 20) == "ok" for number in range(500))


async def test_who_sends_too_fast_is_told_and_then_closed(
    alice_session: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FrameLimit, "BURST", 2)
    monkeypatch.setattr(FrameLimit, "REFUSALS", 3)
    monkeypatch.setattr(FrameLimit, "PER_SECOND", 0.0)
    async with connected(alice_session) as socket:
        for _ in range(6):
            await socket.send("ping")
        kinds = []
        with pytest.raises(Closed) as closed:
            while True:
                kinds.append((await socket.receive()).get("code", "pong"))
    assert kinds == ["pong", "pong", "too_many", "too_many", "too_many"]
    assert closed.value.code == 4429


async def test_a_resume_that_comes_too_fast_is_refused_by_its_turn(
    alice_session: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FrameLimit, "BURST", 0)
    monkeypatch.setattr(FrameLimit, "PER_SECOND", 0.0)
    turn = str(uuid.uuid4())
    async with connected(alice_session) as socket:
        await socket.send("turn.resume", turn=turn, after=-1)
        error = await socket.until("error", turn=turn)
    assert (error["code"], error["retryable"]) == ("too_many", True)


async def test_a_layer_that_fails_costs_only_the_notes(
    alice_session: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*args: Any) -> None:
        raise OSError

    layer = "channels.layers.InMemoryChannelLayer"
    for verb in ("group_add", "group_send", "receive", "new_channel"):
        monkeypatch.setattr(f"{layer}.{verb}", broken)
    async with connected(alice_session) as socket:
        finished = await socket.ask("still here", model="scripted")
    assert finished["outcome"] == "complete"
