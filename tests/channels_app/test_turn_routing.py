"""What a turn tells of routing: who goes on inside an answer, and notices."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import pytest
from django.utils import timezone

from accounts.models import User
from channels_app import live_turns, turn_rows
from channels_app.abandoned import interrupt_abandoned
from channels_app.turn_requests import TurnRequest
from channels_app.turn_rows import Progress
from channels_app.turns import StartedTurn, start_turn
from ledger.models import LedgerEntry
from personas.conversations import start_conversation
from personas.models import Message, Persona
from routing.backends.base import ConnectionFailed, Finished, TextDelta
from routing.backends.scripted import Step, playing
from routing.events import DispatchResult, Notice, Routed
from routing.models import RoleSlot, RoutingPreferences
from tests.support.chat import scripted_model

pytestmark = pytest.mark.usefixtures("turns_running", "persona")
Seen = Callable[..., Any]


@pytest.fixture
def chain(transactional_db: None, alice: User) -> None:
    """Two models for ``chat``; alice lets the second finish what the first began."""
    for position, label in enumerate(("first", "second")):
        model = scripted_model(label, tier=position + 1)
        RoleSlot.objects.create(role="chat", position=position, model=model)
    RoutingPreferences.objects.create(owner=alice, finish_with_another_model=True)


async def start(user: User, **fields: Any) -> StartedTurn:
    request = TurnRequest(str(uuid.uuid4()), "hello", persona="inara", **fields)
    return await start_turn(user.pk, request)


async def frames_of(started: StartedTurn) -> list[dict[str, Any]]:
    assert started.stream is not None
    async with asyncio.timeout(10):
        return [
            frame.fields async for batch in started.stream.read() for frame in batch
        ]


async def row(seen: Seen, started: StartedTurn) -> Message:
    found: Message = await seen(
        lambda: Message.objects.get(pk=started.beginning.turn or uuid.uuid4())
    )
    return found


# --- seams ------------------------------------------------------------------------

CUT: list[Step] = [TextDelta("Eins 👋 "), ConnectionFailed("The line is cut.")]


@pytest.mark.usefixtures("chain")
async def test_who_goes_on_is_told_and_kept(alice: User, seen: Seen) -> None:
    rest: list[Step] = [TextDelta("two"), Finished()]
    with playing(first=CUT, second=rest):
        started = await start(alice)
        frames = await frames_of(started)

    routed = [frame for frame in frames if frame["type"] == "turn.routed"]
    assert [(f["model"], f["continues"]) for f in routed] == [
        ("first", False),
        ("second", True),
    ]
    kinds = [frame["type"] for frame in frames if frame["type"] != "turn.stage"]
    assert kinds == [
        "turn.started", "turn.routed", "turn.delta", "turn.routed", "turn.delta",
        "turn.finished",
    ]  # fmt: skip
    assert [frame["seq"] for frame in frames] == list(range(len(frames)))
    answer = await row(seen, started)
    assert answer.text == "Eins 👋 two"
    assert answer.seams == [{"at": 7, "model": "second"}]
    assert answer.state == "complete"


@pytest.mark.usefixtures("chain")
async def test_a_seam_is_kept_while_the_answer_is_written(
    alice: User, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_turns, "SAVE_EVERY_S", 0.01)
    rest: list[Step] = [TextDelta("two "), 20.0, Finished()]
    with playing(first=CUT, second=rest):
        started = await start(alice)
        async with asyncio.timeout(10):
            while (answer := await row(seen, started)).text != "Eins 👋 two ":
                await asyncio.sleep(0.01)
        assert answer.state == "generating"
        assert answer.seams == [{"at": 7, "model": "second"}]
        live_turns.stop_local(answer.pk)
        await frames_of(started)
    ended = await row(seen, started)
    assert (ended.state, ended.seams) == ("interrupted", answer.seams)


async def test_an_abandoned_answer_keeps_its_seams(
    alice: User, persona: Persona, seen: Seen
) -> None:
    def abandoned() -> Message:
        chat = start_conversation(alice, persona)
        asked = Message.objects.create(conversation=chat, owner=alice, role="user")
        answer = Message.objects.create(
            conversation=chat,
            owner=alice,
            role="assistant",
            parent=asked,
            state="generating",
            alive_at=timezone.now(),
        )
        seams = ({"at": 3, "model": "second"},)
        turn_rows.save_progress({answer.pk: Progress("one two", seams)})  # type: ignore[arg-type]
        return answer

    answer = await seen(abandoned)
    assert await seen(interrupt_abandoned, -1) == 1
    await seen(answer.refresh_from_db)
    assert (answer.state, answer.text) == ("interrupted", "one two")
    assert answer.seams == [{"at": 3, "model": "second"}]


def third_model() -> None:
    model = scripted_model("third", tier=3)
    RoleSlot.objects.create(role="chat", position=2, model=model)


BROKEN: list[Step] = [ConnectionFailed("Nobody there.")]


@pytest.mark.usefixtures("chain")
async def test_who_wrote_nothing_leaves_no_seam(alice: User, seen: Seen) -> None:
    await seen(third_model)
    rest: list[Step] = [TextDelta("three"), Finished()]
    with playing(first=CUT, second=BROKEN, third=rest):
        started = await start(alice)
        frames = await frames_of(started)

    asked = [f["model"] for f in frames if f["type"] == "turn.routed"]
    assert asked == ["first", "second", "third"]
    answer = await row(seen, started)
    assert answer.text == "Eins 👋 three"
    assert answer.seams == [{"at": 7, "model": "third"}]


@pytest.mark.usefixtures("chain")
async def test_when_nobody_goes_on_there_is_no_seam(alice: User, seen: Seen) -> None:
    await seen(third_model)
    with playing(first=CUT, second=BROKEN, third=BROKEN):
        started = await start(alice)
        await frames_of(started)
    answer = await row(seen, started)
    assert (answer.text, answer.seams) == ("Eins 👋 ", [])
    assert answer.state == "incomplete"


@pytest.mark.usefixtures("chain")
async def test_seams_are_saved_when_they_change_and_kept_by_later_texts(
    alice: User, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_turns, "SAVE_EVERY_S", 0.01)
    saved: list[Progress] = []
    real = turn_rows.save_progress

    def save(answers: Mapping[uuid.UUID, Progress]) -> None:
        saved.extend(answers.values())
        real(answers)

    monkeypatch.setattr(turn_rows, "save_progress", save)
    words: list[Step] = []
    for number in range(6):
        words += [TextDelta(f"word {number} "), 0.05]
    with playing(first=CUT, second=[*words, 20.0, Finished()]):
        started = await start(alice)
        async with asyncio.timeout(10):
            while "word 5" not in (answer := await row(seen, started)).text:
                await asyncio.sleep(0.01)
        live_turns.stop_local(answer.pk)
        await frames_of(started)
    assert answer.seams == [{"at": 7, "model": "second"}]
    assert len(saved) > 2
    assert sum(progress.seams is not None for progress in saved) == 1


@pytest.mark.usefixtures("chain")
async def test_who_was_asked_to_go_on_and_died_is_not_booked_for_the_words_of_others(
    alice: User, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_turns, "SAVE_EVERY_S", 0.01)
    begun: list[Step] = [TextDelta("x" * 400), 0.2, ConnectionFailed("It is cut.")]

    def entries(kind: str) -> list[LedgerEntry]:
        return list(LedgerEntry.objects.filter(kind=kind).order_by("id"))

    with playing(first=begun, second=[20.0, Finished()]):
        started = await start(alice)
        async with asyncio.timeout(10):
            while (
                len((await row(seen, started)).text) < 400
                or len(await seen(entries, "reserve")) < 2
            ):
                await asyncio.sleep(0.01)
        assert await seen(interrupt_abandoned, -60) == 1
        first, second = await seen(entries, "settle")
    assert (first.output_tokens, second.output_tokens) == (100, 0)
    assert second.input_tokens >= first.input_tokens + 100
    answer = await row(seen, started)
    assert (answer.input_tokens, answer.output_tokens) == (None, None)


@pytest.mark.usefixtures("chain")
async def test_an_abandoned_call_is_booked_with_what_it_wrote_itself(
    alice: User, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_turns, "SAVE_EVERY_S", 0.01)
    begun: list[Step] = [TextDelta("x" * 400), ConnectionFailed("The line is cut.")]
    rest: list[Step] = [TextDelta("y" * 40), 20.0, Finished()]

    def closing() -> list[LedgerEntry]:
        return list(LedgerEntry.objects.exclude(kind="reserve").order_by("id"))

    with playing(first=begun, second=rest):
        started = await start(alice)
        async with asyncio.timeout(10):
            while len((await row(seen, started)).text) < 440:
                await asyncio.sleep(0.01)
        assert await seen(interrupt_abandoned, -60) == 1
        first, second = await seen(closing)
    assert (first.output_tokens, second.output_tokens) == (100, 10)
    assert second.input_tokens >= first.input_tokens + 100
    answer = await row(seen, started)
    assert (answer.model, answer.state) == ("second", "interrupted")
    assert (answer.input_tokens, answer.output_tokens) == (None, None)
    assert answer.cost_nano_usd is None


# --- notices ----------------------------------------------------------------------

BUSY = Notice("busy", "All models are busy; trying again.")
SPENT = Notice("budget", "80 % of your budget for this month is used.")


class PlayedDispatch:
    """Gives events of a test's choice in the place of the dispatcher."""

    def __init__(self, events: list[Any], notices: tuple[Notice, ...]) -> None:
        self.events = events
        self.result = DispatchResult(
            outcome="complete",
            model="m",
            tier=1,
            reason="",
            attempts=1,
            usage=None,
            cost_nano_usd=None,
            estimated=True,
            error=None,
            notices=notices,
        )
        self.asked: dict[str, Any] = {}

    def __aiter__(self) -> AsyncIterator[Any]:
        return self._each()

    async def _each(self) -> AsyncIterator[Any]:
        for event in self.events:
            yield event

    def stop(self) -> None:
        """Nobody stops it."""

    async def __aenter__(self) -> PlayedDispatch:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Nothing is open."""

    def prepare(self) -> None:
        """Nothing is to be prepared."""

    def stream(self, prompt: Any, **asked: Any) -> PlayedDispatch:
        self.asked = asked
        return self


async def test_notices_come_as_frames_and_those_of_the_end_before_it(
    alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = [BUSY, Routed("m", 1, "", 1, False), TextDelta("Hi")]
    played = PlayedDispatch(events, (BUSY, SPENT))
    monkeypatch.setattr("channels_app.turn_run.dispatcher.stream", played.stream)

    started = await start(alice, tier="auto")
    frames = await frames_of(started)

    told = [frame for frame in frames if frame["type"] == "turn.notice"]
    assert [(frame["code"], frame["text"]) for frame in told] == [
        ("busy", BUSY.text),
        ("budget", SPENT.text),
    ]
    assert set(told[0]) == {"type", "turn", "seq", "code", "text"}
    kinds = [frame["type"] for frame in frames if frame["type"] != "turn.stage"]
    assert kinds == [
        "turn.started", "turn.notice", "turn.routed", "turn.delta", "turn.notice",
        "turn.finished",
    ]  # fmt: skip
    assert played.asked["thread_id"] == started.beginning.conversation
    assert played.asked["policy"] == "asked"
    assert played.asked["tier"] == "auto"
    assert played.asked["redo_of"] is None
