"""Answers to what comes by a bot: once, in order, and whatever dies."""

from __future__ import annotations

import asyncio
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.db import DataError, OperationalError, connection
from django.utils import timezone

from accounts.models import User
from channels_app import turns
from channels_app.abandoned import interrupt_abandoned
from channels_app.bots import (
    answering,
    asking,
    claims,
    desk,
    endings,
    inbox,
    judging,
    outbox,
    readers,
    rooms,
)
from channels_app.errors import TurnError
from channels_app.models import Channel, ChannelRoom, InboundEvent, OutboundReply
from channels_app.turn_requests import TurnRequest
from personas.models import Message
from personas.personas import create_persona
from routing.backends.base import ConnectionFailed, Finished, TextDelta
from routing.backends.scripted import calls, playing
from routing.db_pool import run_in_db_pool
from tests.support.bots import (
    ROOM,
    Platform,
    TestAdapter,
    make_channel,
    make_room,
)

State = InboundEvent.State


async def test_a_message_is_answered_in_its_room(platform: Platform) -> None:
    event = await platform.say("hello there")
    assert platform.texts() == ["hello there"]
    (sent,) = TestAdapter.sent
    assert (sent.room_id, sent.reply_to) == (ROOM, "1")
    assert sent.id == outbox.key_of(event) == TestAdapter.shown[0]
    assert (event.state, event.reason, event.payload) == (State.DONE, "", {})


async def test_an_answer_is_cut_and_every_part_sent_in_order(
    platform: Platform,
) -> None:
    text = "".join(f"{number:04} " for number in range(100))
    event = await platform.say(text)
    assert "".join(platform.texts()).strip() == text.strip()
    assert [message.part for message in TestAdapter.sent] == [0, 1, 2]
    assert [message.reply_to for message in TestAdapter.sent] == ["1", "", ""]
    assert await run_in_db_pool(event.replies.count) == 3


async def test_the_conversation_goes_on_in_a_room(platform: Platform) -> None:
    first = await platform.say("one")
    second = await platform.say("two")
    answers = await run_in_db_pool(
        lambda: {
            message.pk: message.conversation_id
            for message in Message.objects.filter(role="assistant")
        }
    )
    assert answers[first.turn_id] == answers[second.turn_id]  # type: ignore[index]
    assert len(calls[-1].prompt.messages) == 3


# --- repetitions --------------------------------------------------------------------


async def test_twenty_copies_at_once_are_one_event(platform: Platform) -> None:
    copy = platform.message("hello")
    receipts = await asyncio.gather(*[platform.receive(copy) for _ in range(20)])
    assert sorted(receipt.is_new for receipt in receipts) == [False] * 19 + [True]
    assert len({receipt.event_id for receipt in receipts}) == 1
    await platform.over(receipts[0].event_id or 0)
    assert platform.texts() == ["hello"]
    assert not (await platform.receive(copy)).is_new
    assert await run_in_db_pool(Message.objects.count) == 2


async def test_a_nonce_that_was_seen_has_no_effect(platform: Platform) -> None:
    await platform.say("hello", nonce="once")
    replay = platform.message("something else", nonce="once")
    receipt = await platform.receive(replay)
    assert not receipt.is_new
    assert await run_in_db_pool(InboundEvent.objects.count) == 1


async def test_events_without_a_nonce_do_not_collide(platform: Platform) -> None:
    await platform.say("one", nonce="")
    await platform.say("two", nonce="")
    assert platform.texts() == ["one", "two"]


async def test_an_event_of_a_channel_that_is_gone_is_not_kept(
    platform: Platform,
) -> None:
    good = inbox.receive(platform.channel.pk, platform.message("hello"))
    gone = inbox.receive(platform.channel.pk + 999, platform.message("hello"))
    kept, lost = await asyncio.gather(good, gone)
    assert kept.is_new
    assert (lost.event_id, lost.is_new) == (None, False)


async def test_an_event_that_the_database_does_not_take_spoils_no_other(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert = inbox._insert

    def picky(event: InboundEvent) -> inbox.Receipt:
        if event.payload["text"] == "bad":
            raise DataError("on purpose")
        return insert(event)

    monkeypatch.setattr(inbox, "_insert", picky)
    texts = ("one", "bad", "two")
    receipts = await asyncio.gather(
        *[inbox.receive(platform.channel.pk, platform.message(text)) for text in texts]
    )
    assert [receipt.is_new for receipt in receipts] == [True, False, True]
    assert receipts[1].event_id is None


async def test_what_no_database_takes_is_replaced(platform: Platform) -> None:
    event = await platform.say(
        "a\0b\ud800c",
        external_id="x" * 400,
        sender_name="A\0",
        extra={"deep": [{"a\0": "b\ud800"}]},
    )
    assert platform.texts() == ["a�b�c"]
    assert len(event.external_id) == 255
    assert (await platform.receive(platform.message("", external_id="x" * 400))) == (
        inbox.Receipt(event.pk, False)
    )


async def test_what_has_no_effect_is_over_when_it_is_stored(
    platform: Platform,
) -> None:
    receipt = await platform.receive(platform.message("hello", kind="reaction"))
    event = await run_in_db_pool(InboundEvent.objects.get, pk=receipt.event_id)
    assert (event.state, event.payload) == (State.IGNORED, {})


# --- order and many at once ---------------------------------------------------------


async def test_messages_of_a_room_are_answered_in_their_order(
    platform: Platform,
) -> None:
    script = [0.02, TextDelta("x"), Finished()]
    with playing(scripted=script):
        messages = [platform.message(f"number {number}") for number in range(5)]
        receipts = [await platform.receive(message) for message in messages]
        for receipt in receipts:
            await platform.over(receipt.event_id or 0)
        asked = [call.prompt.messages[-1].text for call in calls]
    assert asked == [f"number {number}" for number in range(5)]


async def test_rooms_of_one_channel_wait_for_their_turn(
    platform: Platform, bob: User
) -> None:
    """Twelve rooms of one channel, of which eight are answered, hold up nobody else."""
    others = await run_in_db_pool(_twelve_rooms, platform, bob)
    lasting = [TextDelta("x"), 60.0, Finished()]
    quick = [TextDelta("y"), Finished()]
    with playing(scripted=[*[lasting] * 9, quick]):
        ids = []
        for number in range(12):
            message = platform.message("hello", room_id=f"busy{number}")
            ids.append((await platform.receive(message)).event_id)
        ids.append((await others.receive(others.message("hello"))).event_id)
        async with asyncio.timeout(30):
            while len(running := await run_in_db_pool(_running)) < 9:
                await asyncio.sleep(0.01)
        mine, theirs = platform.channel.pk, others.channel.pk
        channels = [channel for channel, _ in running]
        assert channels.count(mine) == claims.ROOMS_PER_CHANNEL
        assert channels.count(theirs) == 1
        await turns.stop_all(tuple(turn for _, turn in running))
        for event_id in ids:
            await platform.over(event_id or 0, 30)


def _running() -> list[tuple[int, uuid.UUID]]:
    """Return the channels and turns of the events whose answers are being written."""
    rows = InboundEvent.objects.filter(state=State.PROCESSING)
    found = rows.values_list("channel_id", "turn_id")
    return [(channel_id, turn) for channel_id, turn in found if turn is not None]


def _twelve_rooms(platform: Platform, bob: User) -> Platform:
    for number in range(12):
        make_room(platform.channel, f"busy{number}")
    tina = create_persona(bob, template="companion", name="tina", display_name="Tina")
    channel = make_channel(tina)
    make_room(channel)
    return Platform(channel)


async def test_many_at_once_are_all_answered_in_order(platform: Platform) -> None:
    count, rooms = 120, 12
    await run_in_db_pool(
        lambda: [make_room(platform.channel, f"r{number}") for number in range(rooms)]
    )
    messages = [
        platform.message(f"number {number}", room_id=f"r{number % rooms}")
        for number in range(count)
    ]
    receipts = await asyncio.gather(*map(platform.receive, messages))
    assert all(receipt.is_new for receipt in receipts)
    for receipt in receipts:
        await platform.over(receipt.event_id or 0, 50)
    assert sorted(platform.texts()) == sorted(message.text for message in messages)
    asked = [call.prompt.messages[-1].text for call in calls[-count:]]
    for room in range(rooms):
        mine = [message.text for message in messages if message.room_id == f"r{room}"]
        assert [text for text in asked if text in mine] == mine


def test_old_events_cost_the_claim_nothing(platform: Platform) -> None:
    """Only the index of open events is read, however many are over."""
    if connection.vendor != "sqlite":
        pytest.skip("PostgreSQL decides by its statistics, which a test has not")
    for statement, values, index in (
        (claims._HEADS, ["", ""], "COVERING INDEX channels_event_lane"),
        (claims._SOME, ["", ""], "INDEX channels_event_open"),
        (claims._FIRST, ["1", "room"] * 2, "INDEX channels_event_lane"),
    ):
        with connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN QUERY PLAN {statement}", values)
            plan = [str(row[-1]) for row in cursor.fetchall()]
        assert any(index in step for step in plan)
        rows = [step for step in plan if "channels_app_inboundevent" in step]
        assert all("INDEX channels_event_" in step for step in rows)


async def test_after_a_failure_what_works_for_others_takes_nothing_new(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(_: claims.Claim) -> None:
        raise RuntimeError("on purpose")

    for_others, woken = desk.Desk(fail), list[str]()
    monkeypatch.setattr(desk, "FAILED_PAUSES_S", (0.0,))
    monkeypatch.setattr(for_others, "wake", lambda: woken.append("wake"))
    event_id = await _stored(platform)
    await run_in_db_pool(_later, event_id)
    assert await for_others.work_off() == 1
    await asyncio.sleep(0.05)
    assert woken == []
    # Nor does it go at the same one again and again, however short the pause.
    event = await run_in_db_pool(InboundEvent.objects.get, pk=event_id)
    assert (event.state, event.attempts) == (State.RECEIVED, 1)


async def test_events_that_came_before_the_start_are_answered_at_once(
    platform: Platform,
) -> None:
    event_id = await _stored(platform)
    await answering.go_on()
    await platform.over(event_id)
    assert platform.texts() == ["hello"]


async def test_start_does_not_fail_with_the_database(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away() -> bool:
        raise OperationalError("away")

    monkeypatch.setattr(claims, "some_are_due", away)
    event_id = await _stored(platform)
    await answering.go_on()
    event = await run_in_db_pool(InboundEvent.objects.get, pk=event_id)
    assert event.state == State.RECEIVED


async def test_event_that_a_response_waits_for_is_left_to_its_process_for_longer(
    platform: Platform,
) -> None:
    event_id = await _stored(platform, extra={"sync": True})
    waited = timedelta(seconds=15)

    async def left_for(seconds: int) -> list[int]:
        then = timezone.now() - timedelta(seconds=seconds)
        rows = InboundEvent.objects.filter(pk=event_id)
        await run_in_db_pool(rows.update, next_at=then)
        found = await run_in_db_pool(claims.claim_due, {}, waited=waited)
        return [claim.event_id for claim in found]

    assert await left_for(20) == []
    assert await left_for(31) == [event_id]


# --- processes that die -------------------------------------------------------------


def _later(event_id: int) -> None:
    """Let the lease of an event be over, as after a minute."""
    past = timezone.now() - timedelta(minutes=2)
    InboundEvent.objects.filter(pk=event_id, claimed_at__isnull=False).update(
        claimed_at=past
    )
    InboundEvent.objects.filter(pk=event_id).update(next_at=past, received_at=past)


async def _stored(platform: Platform, text: str = "hello", **fields: Any) -> int:
    """Store an event that nobody is told of, as if the process died right then."""
    message = platform.message(text, **fields)
    receipt = await inbox.receive(platform.channel.pk, message)
    assert receipt.event_id is not None
    return receipt.event_id


async def _left(platform: Platform, event_id: int) -> InboundEvent:
    """Let the worker look for what was left, and return the event when it is over."""
    await run_in_db_pool(_later, event_id)
    assert await answering.process_left_over() >= 1
    return await platform.over(event_id)


async def test_an_event_that_was_only_stored_is_answered_by_the_worker(
    platform: Platform,
) -> None:
    event_id = await _stored(platform)
    assert await answering.process_left_over() == 0  # its own process may still come
    event = await _left(platform, event_id)
    assert (event.state, platform.texts()) == (State.DONE, ["hello"])
    assert await answering.process_left_over() == 0


async def test_the_worker_goes_on_with_what_came_behind(platform: Platform) -> None:
    first = await _stored(platform, "one")
    second = await _stored(platform, "two")
    await _left(platform, first)
    await platform.over(second)
    assert platform.texts() == ["one", "two"]


async def test_a_claim_holds_until_its_lease_ends(platform: Platform) -> None:
    event_id = await _stored(platform)
    (claim,) = await run_in_db_pool(claims.claim_due, {})
    assert (claim.event_id, claim.attempt) == (event_id, 1)
    assert await run_in_db_pool(claims.claim_due, {}) == []
    await _left(platform, event_id)
    assert await run_in_db_pool(claims.refresh, [claim]) == {event_id}
    assert platform.texts() == ["hello"]


async def test_a_turn_found_finished_is_sent_without_another(
    platform: Platform,
) -> None:
    """The process died between the answer and its way into the outbox."""
    event_id = await _begun(platform)
    await _end_of_turns()
    count = len(calls)
    event = await _left(platform, event_id)
    assert (event.state, platform.texts()) == (State.DONE, ["hello"])
    assert len(calls) == count


async def test_a_turn_found_running_is_followed(platform: Platform) -> None:
    script = [TextDelta("one "), 0.3, TextDelta("two"), Finished()]
    with playing(scripted=script):
        event_id = await _begun(platform)
        await _left(platform, event_id)
        assert len(calls) == 1
    assert platform.texts() == ["one two"]


async def test_a_turn_that_died_is_asked_for_once_more(platform: Platform) -> None:
    event_id = await _begun(platform)
    await _end_of_turns()
    await run_in_db_pool(_die, event_id, "\x1fevent-{}")
    event = await _left(platform, event_id)
    assert (event.state, platform.texts()) == (State.DONE, ["hello"])
    states = await run_in_db_pool(
        lambda: list(
            Message.objects.filter(role="assistant").values_list("state", flat=True)
        )
    )
    assert states == ["interrupted", "complete"]
    assert await run_in_db_pool(Message.objects.filter(role="user").count) == 1


async def test_a_turn_that_is_found_dead_while_it_is_followed_is_asked_for_again(
    platform: Platform,
) -> None:
    """The worker looks at the event before its tick has found the dead answer."""
    event_id = await _begun(platform)
    await _end_of_turns()
    await run_in_db_pool(_die, event_id, "\x1fevent-{}", False)
    await run_in_db_pool(_later, event_id)
    looking = asyncio.create_task(answering.process_left_over())
    async with asyncio.timeout(10):
        while not await run_in_db_pool(
            InboundEvent.objects.filter(pk=event_id, attempts=2).exists
        ):
            await asyncio.sleep(0.02)
    assert await run_in_db_pool(interrupt_abandoned) == 1
    await platform.over(event_id)
    await looking
    assert platform.texts() == ["hello"]


async def test_a_turn_that_died_twice_is_apologised_for(platform: Platform) -> None:
    event_id = await _begun(platform)
    await _end_of_turns()
    await run_in_db_pool(_die, event_id, "\x1fevent-{}")
    await run_in_db_pool(_copy_as_second, event_id)
    count = len(calls)
    await _left(platform, event_id)
    assert platform.texts() == [
        "half an\n\n(The answer breaks off here.) "
        "Cortex stopped while this answer was being written."
    ]
    assert len(calls) == count


async def test_what_its_owner_wanted_no_more_of_is_not_asked_for_again(
    platform: Platform,
) -> None:
    """The process died before it saw that the answer was to be stopped."""
    event_id = await _begun(platform)
    await _end_of_turns()
    await run_in_db_pool(_die, event_id, "\x1fevent-{}")
    answers = Message.objects.filter(role="assistant")
    await run_in_db_pool(answers.update, stop_asked=True)
    count = len(calls)
    await _left(platform, event_id)
    (text,) = platform.texts()
    assert text.startswith("half an\n\n(The answer breaks off here.)")
    assert len(calls) == count


async def test_a_room_is_told_of_the_conversation_of_a_turn_that_is_found(
    platform: Platform,
) -> None:
    """The process died between the start of the turn and its note in the room."""
    event_id = await _begun(platform, noted=False)
    await _end_of_turns()
    event = await _left(platform, event_id)
    answer = await run_in_db_pool(Message.objects.get, role="assistant")
    room = await run_in_db_pool(ChannelRoom.objects.get)
    assert platform.texts() == ["hello"]
    assert (event.turn_id, room.conversation_id) == (answer.pk, answer.conversation_id)


@pytest.mark.parametrize("died", [True, False])
async def test_what_was_begun_alone_is_not_told_where_others_read_by_then(
    platform: Platform, died: bool
) -> None:
    """Between two attempts the owner takes back that only they read in the room."""
    event_id = await _begun(platform, names_bot=True)
    await _end_of_turns()
    if died:
        await run_in_db_pool(_die, event_id, "\x1fevent-{}")
    await run_in_db_pool(ChannelRoom.objects.update, alone=False)
    count = len(calls)
    event = await _left(platform, event_id)
    assert platform.texts() == [endings.ELSEWHERE]
    assert (event.state, event.reason) == (State.DONE, readers.NOT_ALONE)
    assert len(calls) == count


async def test_an_answer_that_others_may_read_goes_on_where_they_read(
    platform: Platform,
) -> None:
    await run_in_db_pool(ChannelRoom.objects.update, alone=False)
    event_id = await _begun(platform, names_bot=True)
    await _end_of_turns()
    await run_in_db_pool(_die, event_id, "\x1fevent-{}")
    await _left(platform, event_id)
    assert platform.texts() == ["Alice: hello"]


@pytest.mark.parametrize(
    ("change", "texts", "reason"),
    [
        ({"alone": False}, [endings.ELSEWHERE], readers.NOT_ALONE),
        ({"state": "refused"}, [], readers.NOT_ALLOWED),
    ],
)
async def test_a_room_is_looked_at_again_when_its_answer_is_there(
    platform: Platform, change: dict[str, Any], texts: list[str], reason: str
) -> None:
    with playing(scripted=[TextDelta("one "), 0.4, TextDelta("two"), Finished()]):
        receipt = await platform.receive(platform.message("hello"))
        await _writing()
        await run_in_db_pool(lambda: ChannelRoom.objects.update(**change))
        event = await platform.over(receipt.event_id or 0)
    assert (platform.texts(), event.reason) == (texts, reason)
    answer = await run_in_db_pool(Message.objects.get, pk=event.turn_id)
    assert answer.text == "one two"


async def test_the_answer_in_the_outbox_is_not_added_again(
    platform: Platform,
) -> None:
    """The process died after the commit: nothing is left to do but sending."""
    event = await platform.say("hello")

    def add_again() -> int:
        return outbox.add(event, ["hello"], incoming=platform.message("hello"))

    assert await run_in_db_pool(add_again) == 0
    assert await run_in_db_pool(OutboundReply.objects.count) == 1


async def test_whoever_lost_the_claim_changes_nothing(platform: Platform) -> None:
    event_id = await _stored(platform)
    (claim,) = await run_in_db_pool(claims.claim_due, {})
    await _left(platform, event_id)
    assert await run_in_db_pool(judging.judge, claim) is None
    message = platform.message("hello")
    refused = await run_in_db_pool(endings.refuse, claim, message, "busy", "No.")
    ended = await run_in_db_pool(
        lambda: endings.finish(claim, message, uuid.uuid4(), alone=True)
    )
    assert refused == ended == endings.Ended(again=True)
    assert platform.texts() == ["hello"]


async def _begun(platform: Platform, *, noted: bool = True, **fields: Any) -> int:
    """Claim an event and begin its turn, as a process does that dies right then."""
    event_id = await _stored(platform, **fields)
    (claim,) = await run_in_db_pool(claims.claim_due, {})
    ask = await run_in_db_pool(judging.judge, claim)
    assert isinstance(ask, asking.Ask)
    assert ask.request is not None
    started = await turns.start_turn(ask.user_id, ask.request)
    assert started.turn is not None
    if not noted:
        return event_id
    await run_in_db_pool(
        endings.note_start,
        claim,
        ask.room,
        started.turn,
        started.beginning.conversation,
    )
    return event_id


async def _end_of_turns() -> None:
    async with asyncio.timeout(10):
        while turns.running_count():
            await asyncio.sleep(0.01)


def _die(event_id: int, client_id: str, found: bool = True) -> None:
    """Let the answer be half written, and ``found``: noticed by the tick."""
    rows = Message.objects.filter(
        role="assistant", client_id=client_id.format(event_id)
    )
    assert rows.update(
        state=Message.State.GENERATING,
        text="half an",
        alive_at=timezone.now() - timedelta(minutes=1),
    )
    if found:
        assert interrupt_abandoned() == 1


def _copy_as_second(event_id: int) -> None:
    row = Message.objects.get(role="assistant", client_id=f"\x1fevent-{event_id}")
    row.pk, row.client_id = uuid.uuid4(), f"\x1fevent-{event_id}-again"
    row.save(force_insert=True)


# --- the end of the process ---------------------------------------------------------


async def test_a_drain_stores_what_is_answered(platform: Platform) -> None:
    script = [TextDelta("one "), 0.3, TextDelta("two"), Finished()]
    with playing(scripted=script):
        receipt = await platform.receive(platform.message("hello"))
        await _writing()
        await turns.drain(5)
        await answering.drain(2)
    event = await run_in_db_pool(InboundEvent.objects.get, pk=receipt.event_id)
    replies = await run_in_db_pool(lambda: list(OutboundReply.objects.all()))
    assert event.state == State.DONE
    assert len(replies) == 1


async def test_an_answer_that_a_drain_cuts_off_is_left_to_another_process(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    lasting = [TextDelta("one "), 20.0, TextDelta("two"), Finished()]
    whole = [TextDelta("whole"), Finished()]
    with playing(scripted=[lasting, whole]):
        receipt = await platform.receive(platform.message("hello"))
        event_id = receipt.event_id or 0
        await _writing()
        await turns.drain(0.05)
        await answering.drain(2)
        event = await run_in_db_pool(InboundEvent.objects.get, pk=event_id)
        cut_off = await run_in_db_pool(Message.objects.get, pk=event.turn_id)
        assert event.state == State.RECEIVED
        assert (cut_off.state, cut_off.error_code) == ("interrupted", "internal")
        assert event.payload["text"] == "hello"
        _new_process(monkeypatch)
        await _left(platform, event_id)
    assert platform.texts() == ["whole"]


async def test_what_comes_during_a_drain_waits_for_the_next_process(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    await turns.drain(0)
    receipt = await platform.receive(platform.message("hello"))
    await answering.drain(1)
    event = await run_in_db_pool(InboundEvent.objects.get, pk=receipt.event_id)
    assert (event.state, event.attempts) == (State.RECEIVED, 0)
    _new_process(monkeypatch)
    await _left(platform, event.pk)
    assert platform.texts() == ["hello"]


async def _writing() -> None:
    async with asyncio.timeout(10):
        while not await run_in_db_pool(
            InboundEvent.objects.exclude(turn_id=None).exists
        ):
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)


def _new_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns._Draining, "now", False)
    answering._OFFICES.clear()


# --- what goes wrong ----------------------------------------------------------------


async def test_an_answer_that_failed_is_apologised_for(platform: Platform) -> None:
    with playing(scripted=[ConnectionFailed("The host is on fire.")]):
        event = await platform.say("hello")
    (text,) = platform.texts()
    assert text.startswith("Sorry, I could not answer this message.")
    assert event.state == State.FAILED
    assert event.payload == {}


async def test_an_answer_that_breaks_off_says_so(platform: Platform) -> None:
    with playing(scripted=[TextDelta("one"), ConnectionFailed("Gone.")]):
        await platform.say("hello")
    (text,) = platform.texts()
    assert text.startswith("one\n\n(The answer breaks off here.)")


async def test_a_message_that_is_too_long_is_told_so(platform: Platform) -> None:
    await platform.say("x" * 32_001)
    assert platform.texts() == ["The message has 32,001 characters; 32,000 fit."]
    assert await run_in_db_pool(Message.objects.count) == 0


async def test_an_answer_waits_for_the_one_before_in_its_conversation(
    platform: Platform,
) -> None:
    """The owner asks on the web page at the same time, in the same conversation."""
    first = await platform.say("hello")
    answer = await run_in_db_pool(Message.objects.get, pk=first.turn_id)
    slow = [TextDelta("a"), 0.4, TextDelta("b"), Finished()]
    with playing(scripted=[slow, [TextDelta("after"), Finished()]]):
        await turns.start_turn(
            platform.channel.owner_id,
            TurnRequest("w1", "web", conversation=answer.conversation_id),
        )
        await platform.say("talk")
    assert platform.texts() == ["hello", "after"]


async def test_work_is_shown_while_the_turn_waits_for_another(
    platform: Platform,
) -> None:
    first = await platform.say("hello")
    answer = await run_in_db_pool(Message.objects.get, pk=first.turn_id)
    lasting = [TextDelta("a"), 20.0, Finished()]
    with playing(scripted=[lasting, [TextDelta("after"), Finished()]]):
        other = await turns.start_turn(
            platform.channel.owner_id,
            TurnRequest("w1", "web", conversation=answer.conversation_id),
        )
        receipt = await platform.receive(platform.message("talk"))
        async with asyncio.timeout(10):
            while len(TestAdapter.shown) < 2:
                await asyncio.sleep(0.01)
        event = await run_in_db_pool(InboundEvent.objects.get, pk=receipt.event_id)
        assert (event.state, event.turn_id) == (State.PROCESSING, None)
        assert (TestAdapter.showing, turns.running_count()) == (1, 1)
        assert other.turn is not None
        await turns.stop_all((other.turn,))
        await platform.over(receipt.event_id or 0)
    assert platform.texts() == ["hello", "after"]
    assert TestAdapter.shown[1] == outbox.key_of(event) == TestAdapter.sent[1].id


@pytest.mark.parametrize(
    ("state", "texts", "withdrawn"),
    [
        ("allowed", ["Sorry, I could not answer this message. No."], 0),
        ("refused", [], 1),
    ],
)
async def test_a_turn_that_cannot_start_leaves_no_sign_of_work(
    platform: Platform,
    monkeypatch: pytest.MonkeyPatch,
    state: str,
    texts: list[str],
    withdrawn: int,
) -> None:
    """Its refusal replaces what stands for the answer; unsaid, that is taken back."""

    async def refused(*_: Any) -> Any:
        await run_in_db_pool(lambda: ChannelRoom.objects.update(state=state))
        raise TurnError("busy", "No.")

    monkeypatch.setattr(turns, "start_turn", refused)
    monkeypatch.setattr(answering, "BUSY_PAUSES_S", (0.01,))
    TestAdapter.stands_for = "placeholder"
    event = await platform.say("hello")
    assert (event.state, event.reason) == (State.FAILED, "busy")
    assert platform.texts() == texts
    assert all(each.external_id == "placeholder" for each in TestAdapter.sent)
    await _no_sign()
    assert TestAdapter.withdrawn == withdrawn


async def test_an_answer_that_nobody_may_read_takes_its_sign_with_it(
    platform: Platform,
) -> None:
    with playing(scripted=[TextDelta("one "), 0.4, TextDelta("two"), Finished()]):
        receipt = await platform.receive(platform.message("hello"))
        await _writing()
        await run_in_db_pool(lambda: ChannelRoom.objects.update(state="refused"))
        await platform.over(receipt.event_id or 0)
    await _no_sign()
    assert (platform.texts(), TestAdapter.withdrawn) == ([], 1)


async def test_a_start_that_fails_is_tried_again_and_given_up_with_a_word(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it was named by its text alone, too: its sign of work stands there."""
    tries = []

    async def broken(*_: Any) -> Any:
        tries.append(TestAdapter.showing)
        raise TurnError("internal", "Broken.")

    await run_in_db_pool(lambda: ChannelRoom.objects.update(alone=False))
    monkeypatch.setattr(turns, "start_turn", broken)
    monkeypatch.setattr(desk, "FAILED_PAUSES_S", (0.01,))
    event = await platform.say("inara, hello")
    assert tries == [1] * claims.MAX_ATTEMPTS
    assert event.state == State.FAILED
    (sent,) = TestAdapter.sent
    assert (sent.text, sent.id) == (endings.SORRY, TestAdapter.shown[0])
    assert TestAdapter.showing == 0


async def _no_sign() -> None:
    async with asyncio.timeout(10):
        while TestAdapter.showing:
            await asyncio.sleep(0.01)


async def test_a_fault_of_our_own_is_tried_again_and_then_given_up(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = []

    def broken(*args: Any, **kwargs: Any) -> None:
        tries.append(1)
        raise RuntimeError("on purpose")

    monkeypatch.setattr(desk, "FAILED_PAUSES_S", (0.01,))
    monkeypatch.setattr(judging, "_judge_message", broken)
    event = await platform.say("hello")
    assert len(tries) == claims.MAX_ATTEMPTS
    assert event.state == State.FAILED
    assert platform.texts() == ["Sorry, I could not answer this message."]


async def test_an_event_that_cannot_even_be_given_up_ends(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("on purpose")

    monkeypatch.setattr(desk, "FAILED_PAUSES_S", (0.01,))
    monkeypatch.setattr(rooms, "see", broken)
    event = await platform.say("hello")
    assert (event.state, event.reason) == (State.FAILED, judging.GAVE_UP)
    assert event.payload == {}


async def test_an_event_that_cannot_be_read_ends(platform: Platform) -> None:
    event_id = await _stored(platform)
    await run_in_db_pool(lambda: InboundEvent.objects.update(payload={"x": 1}))
    event = await _left(platform, event_id)
    assert (event.state, platform.texts()) == (State.FAILED, [])


async def test_a_sign_of_work_that_fails_costs_no_answer(
    platform: Platform,
) -> None:
    def fail() -> None:
        raise RuntimeError("on purpose")

    TestAdapter.on_show = fail
    await platform.say("hello")
    assert platform.texts() == ["hello"]


async def test_a_channel_that_is_switched_off_answers_nothing(
    platform: Platform,
) -> None:
    await run_in_db_pool(Channel.objects.update, enabled=False)
    event = await platform.say("hello")
    assert (event.state, platform.texts()) == (State.IGNORED, [])


# --- answers that a response carries ------------------------------------------------


async def test_an_answer_can_be_waited_for(platform: Platform) -> None:
    message = platform.message("hello", extra={"sync": True})
    receipt = await inbox.receive(platform.channel.pk, message)
    assert await answering.answer_now(receipt.event_id or 0, 10) == "hello"
    assert platform.texts() == []
    assert await run_in_db_pool(OutboundReply.objects.count) == 0


async def test_an_answer_that_comes_before_it_is_asked_for_is_kept(
    platform: Platform,
) -> None:
    event = await platform.say("/help", extra={"sync": True})
    said = await answering.answer_now(event.pk, 10)
    assert said is not None
    assert "/new" in said


async def test_an_answer_that_is_late_stands_on_the_web_page(
    platform: Platform,
) -> None:
    slow = [TextDelta("a"), 0.5, TextDelta("b"), Finished()]
    with playing(scripted=slow):
        message = platform.message("hello", extra={"sync": True})
        receipt = await inbox.receive(platform.channel.pk, message)
        assert await answering.answer_now(receipt.event_id or 0, 0.1) is None
        event = await platform.over(receipt.event_id or 0)
    answer = await run_in_db_pool(Message.objects.get, pk=event.turn_id)
    assert (answer.text, platform.texts()) == ("ab", [])
