"""Runs of briefs: the turn, its attempts, and where the answer goes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import User
from channels_app import mails, turns
from channels_app.bots import endings, outbox
from channels_app.jobs import (
    brief_delivery,
    briefs,
    leases,
    queue,
    rescuing,
    schedules,
    slots,
)
from channels_app.jobs.briefs import STOPPED, next_step, work
from channels_app.jobs.running import Runner, Why
from channels_app.live_turns import RUNNING
from channels_app.models import (
    Channel,
    ChannelRoom,
    MailDelivery,
    OutboundReply,
    QueuedTask,
    Schedule,
    WebhookDelivery,
    WebhookEndpoint,
)
from channels_app.webhooks import announcing, endpoints
from channels_app.webhooks.announcing import payload_kept
from personas.conversations import delete_conversation, start_conversation
from personas.files import save_file
from personas.models import Conversation, Message, Persona
from routing.backends.base import (
    BadRequest,
    ConnectionFailed,
    Finished,
    TextDelta,
    Usage,
    UsageReported,
)
from routing.backends.scripted import calls, playing
from routing.breakers import BREAKERS
from routing.db_pool import run_in_db_pool
from routing.models import Host, Model
from tests.support.bots import TestAdapter, make_room
from tests.support.briefs import WORKER, make_brief, moment, run_all, run_now

pytestmark = pytest.mark.django_db(transaction=True)
Delivery = Schedule.Delivery
State = QueuedTask.State
Seen = Callable[..., Any]
SECRET_WORD = "Rumpelstiltskin"
WRONG = [BadRequest("The call is wrong.")]
WELL = [TextDelta("It is well."), Finished()]
SEVEN = "2026-11-23 07:00"


@pytest.fixture
def brief(channel: Channel, persona: Persona) -> Schedule:
    """A brief that stays in its conversation."""
    return make_brief(persona)


def answers() -> list[Message]:
    rows = Message.objects.filter(role=Message.Role.ASSISTANT)
    return list(rows.select_related("conversation").order_by("created_at"))


def replies() -> list[str]:
    rows = OutboundReply.objects.order_by("created_at", "part")
    return list(rows.values_list("text", flat=True))


def fault() -> str:
    return Schedule.objects.get().fault


def make_due() -> None:
    """Let what waits for its next attempt wait no longer."""
    QueuedTask.objects.filter(state=State.PENDING).update(not_before=timezone.now())


def lose_worker() -> None:
    """Let the lease of what runs end, as if its worker had died."""
    QueuedTask.objects.update(lease_until=moment("2020-01-01 00:00"))
    assert rescuing.rescue() == 1
    make_due()


def a_new_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns._Draining, "now", False)


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(10):
        while not await run_in_db_pool(condition):
            await asyncio.sleep(0.01)


def is_written() -> bool:
    return Message.objects.filter(state=Message.State.GENERATING).exists()


# --- the turn -------------------------------------------------------------------------


async def test_a_run_is_a_turn_in_a_conversation_of_its_own(
    brief: Schedule, seen: Seen
) -> None:
    first = await run_now(brief)
    second = await run_now(brief)

    assert (first.state, first.result, first.model) == (
        State.DONE,
        "What is new?",
        "scripted",
    )
    assert first.input_tokens and first.output_tokens and first.cost_nano_usd == 0
    chat = await seen(Conversation.objects.get)
    assert (chat.title, chat.shared) == ("Morning paper", False)
    assert first.conversation_id == second.conversation_id == chat.pk
    messages = await seen(lambda: list(chat.messages.order_by("created_at")))
    assert [each.channel for each in messages] == ["schedule"] * 4
    assert [each.text for each in messages] == ["What is new?"] * 4
    assert messages[2].parent_id == messages[1].pk
    assert await seen(fault) == ""
    assert await seen(replies) == []


async def test_a_brief_goes_on_in_the_conversation_that_was_chosen(
    channel: Channel, persona: Persona, seen: Seen
) -> None:
    chat = await seen(lambda: start_conversation(persona.owner, persona))
    brief = await seen(lambda: make_brief(persona, conversation=chat))

    assert (await run_now(brief)).conversation_id == chat.pk


async def test_a_deleted_conversation_is_begun_anew(
    brief: Schedule, seen: Seen
) -> None:
    first = await run_now(brief)
    chat = await seen(Conversation.objects.get)
    await seen(delete_conversation, chat)

    second = await run_now(brief)

    assert second.state == State.DONE
    assert second.conversation_id not in {None, first.conversation_id}


async def test_the_request_says_what_the_brief_allows(
    brief: Schedule, seen: Seen
) -> None:
    def request() -> Any:
        Schedule.objects.update(cap_nano_usd=5_000_000, tier=3)
        task = schedules.run_now(Schedule.objects.get())
        return next_step(task)

    asked = await seen(request)

    assert (asked.channel, asked.tier, asked.alone) == ("schedule", 3, True)
    assert (asked.background, asked.max_cost_nano_usd) == (True, 5_000_000)


async def test_a_run_waits_for_another_answer_in_its_conversation(
    brief: Schedule, seen: Seen
) -> None:
    short = [TextDelta("one"), 0.3, Finished()]
    with playing(scripted=[short, [TextDelta("two"), Finished()]]):
        await seen(schedules.run_now, brief)
        running = asyncio.create_task(run_all("worker-1"))
        await until(is_written)
        await seen(lambda: make_second_run(brief))
        (second,) = await run_all("worker-2")
        (first,) = await running

    assert (first.result, second.result) == ("one", "two")


def make_second_run(brief: Schedule) -> None:
    queue.enqueue(brief.owner, schedules.run_of(brief, due_at=moment(SEVEN)))


# --- attempts -------------------------------------------------------------------------


async def test_another_attempt_takes_the_answer_of_the_first(
    brief: Schedule, seen: Seen
) -> None:
    await seen(schedules.run_now, brief)
    (task,) = await seen(leases.claim, WORKER, 1)
    done = await work(task)  # the worker dies before it can settle it
    await seen(lose_worker)

    (ended,) = await run_all("worker-2")

    assert (ended.state, ended.attempts) == (State.DONE, 2)
    assert len(calls) == 1
    assert len(await seen(answers)) == 1
    assert not await seen(leases.settle_done, task, done)


async def test_another_attempt_waits_for_the_answer_that_is_written(
    brief: Schedule, seen: Seen
) -> None:
    with playing(scripted=[TextDelta("one"), 0.3, Finished()]):
        await seen(schedules.run_now, brief)
        (task,) = await seen(leases.claim, WORKER, 1)
        first = asyncio.create_task(work(task))
        await until(is_written)
        await seen(lose_worker)
        first.cancel()  # and it has not noticed that
        (ended,) = await run_all("worker-2")
        await asyncio.gather(first, return_exceptions=True)

    assert (ended.state, ended.result) == (State.DONE, "one")
    assert len(calls) == 1


@pytest.mark.parametrize("starting", [True, False])
async def test_a_run_whose_lease_is_lost_ends_its_call(
    brief: Schedule, seen: Seen, monkeypatch: pytest.MonkeyPatch, starting: bool
) -> None:
    async def unreachable(*_: object) -> None:
        raise OperationalError("The database is away.")

    lasting = [TextDelta("one "), 20.0, Finished()]
    with playing(scripted=[lasting, [TextDelta("whole"), Finished()]]):
        await seen(schedules.run_now, brief)
        (task,) = await seen(leases.claim, WORKER, 1)
        runner = Runner(WORKER)
        running = asyncio.create_task(runner.work_at(task))
        await until_async(lambda: bool(turns._STARTING if starting else calls))
        (held,) = runner._held
        with monkeypatch.context() as patch:
            patch.setattr(briefs, "run_in_db_pool", unreachable)
            runner._end(held, Why.LOST)
            await running
        await until_async(lambda: not (RUNNING or turns._STARTING))
        assert not any(call.finished for call in calls)

        await seen(make_due)
        (ended,) = await run_all("worker-2")

    assert (ended.state, ended.result) == (State.DONE, "whole")
    first, second = await seen(answers)
    assert (first.state, first.error_code) == ("interrupted", "internal")
    assert second.parent_id == first.parent_id


async def until_async(condition: Callable[[], Any]) -> None:
    """Wait for what this process knows without the database."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)


async def test_a_cap_holds_for_all_attempts_of_a_run(
    brief: Schedule, seen: Seen
) -> None:
    def set_prices() -> None:
        Model.objects.update(
            input_price_nano_usd_per_mtok=10**9, output_price_nano_usd_per_mtok=10**9
        )
        Host.objects.update(is_local=False)
        Schedule.objects.update(cap_nano_usd=2_500_000)

    await seen(set_prices)
    paid = [UsageReported(Usage(1000, 0)), ConnectionFailed("gone")]
    with playing(scripted=paid):
        ended = await run_now(brief)
        for _ in range(4):
            if ended.state == State.PENDING:
                BREAKERS.clear()
                await seen(make_due)
                (ended,) = await run_all()
        count = len(calls)
        await seen(queue.retry, ended)
        (again,) = await run_all()
        assert len(calls) == count

    for each in (ended, again):
        assert (each.state, each.error_code) == (State.FAILED, "budget_exceeded")
        assert each.cost_nano_usd and each.cost_nano_usd <= 2_500_000


async def test_what_the_end_of_cortex_cuts_off_is_asked_for_once_more(
    brief: Schedule, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    lasting = [TextDelta("one "), 20.0, Finished()]
    with playing(scripted=[lasting, [TextDelta("whole"), Finished()]]):
        await cut_off_a_run(brief, seen)
        a_new_process(monkeypatch)
        (ended,) = await run_all("worker-2")

    assert (ended.state, ended.result) == (State.DONE, "whole")
    first, second = await seen(answers)
    assert (first.parent_id, first.state) == (second.parent_id, "interrupted")


async def test_what_is_cut_off_twice_is_taken_as_it_is(
    brief: Schedule, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    with playing(scripted=[TextDelta("one "), 20.0, Finished()]):
        await cut_off_a_run(brief, seen)
        a_new_process(monkeypatch)
        running = asyncio.create_task(run_all("worker-2"))
        await until(is_written)
        await asyncio.sleep(0.05)
        await turns.drain(0.05)
        (ended,) = await running

    assert ended.state == State.DONE
    assert ended.result.startswith(f"one\n\n{endings.BROKEN_OFF}")


async def cut_off_a_run(brief: Schedule, seen: Seen) -> None:
    """Let the worker end while it runs a brief; the attempt does not count."""
    await seen(schedules.run_now, brief)
    (task,) = await seen(leases.claim, WORKER, 1)
    runner = Runner(WORKER)
    running = asyncio.create_task(runner.work_at(task))
    await until(is_written)
    await asyncio.sleep(0.05)
    runner.drain()
    await turns.drain(0.05)
    await running
    left = await seen(QueuedTask.objects.get)
    assert (left.state, left.tries) == (State.PENDING, 0)


async def test_a_failure_that_passes_is_tried_again_as_another_answer(
    brief: Schedule, seen: Seen
) -> None:
    fire = [ConnectionFailed("The host is on fire.")]
    with playing(scripted=[fire, [TextDelta("better"), Finished()]]):
        waiting = await run_now(brief)
        assert (waiting.state, waiting.error_code) == (
            State.PENDING,
            "upstream_unavailable",
        )
        BREAKERS.clear()
        await seen(make_due)
        (ended,) = await run_all()

    assert (ended.state, ended.result) == (State.DONE, "better")
    first, second = await seen(answers)
    assert first.parent_id == second.parent_id
    assert await seen(fault) == ""


async def test_what_would_fail_again_is_over_and_told(
    brief: Schedule, seen: Seen
) -> None:
    with playing(scripted=WRONG):
        ended = await run_now(brief)

    assert (ended.state, ended.error_code) == (State.FAILED, "bad_request")
    assert await seen(fault) == f"The last run failed: {ended.error}"


async def test_retrying_by_hand_asks_again(brief: Schedule, seen: Seen) -> None:
    with playing(scripted=[WRONG, WELL]):
        failed = await run_now(brief)
        await seen(queue.retry, failed)
        (ended,) = await run_all()

    assert (ended.state, ended.result) == (State.DONE, "It is well.")
    assert await seen(fault) == ""


async def test_cancelling_ends_the_call(brief: Schedule, seen: Seen) -> None:
    with playing(scripted=[TextDelta("one "), 20.0, Finished()]):
        await seen(schedules.run_now, brief)
        (task,) = await seen(leases.claim, WORKER, 1)
        runner = Runner(WORKER)
        keeping = asyncio.create_task(runner.keep())
        running = asyncio.create_task(runner.work_at(task))
        await until(is_written)
        await asyncio.sleep(0.05)
        await seen(queue.cancel, task)
        async with asyncio.timeout(10):
            await running
        keeping.cancel()
        (call,) = calls

    ended = await seen(QueuedTask.objects.get)
    assert (ended.state, ended.cost_nano_usd) == (State.CANCELLED, 0)
    assert not call.finished
    (answer,) = await seen(answers)
    assert (answer.state, answer.text) == ("interrupted", "one ")


async def test_what_a_person_stops_goes_nowhere(
    channel: Channel, persona: Persona, seen: Seen
) -> None:
    room = await seen(make_room, channel)
    brief = await seen(to_room, persona, room)
    with playing(scripted=[TextDelta("one "), 20.0, Finished()]):
        await seen(schedules.run_now, brief)
        running = asyncio.create_task(run_all())
        await until(is_written)
        await asyncio.sleep(0.05)
        (answer,) = await seen(answers)
        await turns.stop_turn(persona.owner_id, answer.pk)
        (ended,) = await running

    assert (ended.state, ended.error_code) == (State.FAILED, STOPPED)
    assert await seen(replies) == []


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda: Schedule.objects.all().delete(), "not_found"),
        (lambda: User.objects.update(is_active=False), "forbidden"),
    ],
)
async def test_a_run_needs_its_brief_and_its_owner(
    brief: Schedule, seen: Seen, change: Callable[[], object], code: str
) -> None:
    await seen(schedules.run_now, brief)
    await seen(change)

    (ended,) = await run_all()

    assert (ended.state, ended.error_code) == (State.FAILED, code)
    assert not calls


# --- rooms ----------------------------------------------------------------------------


def to_room(persona: Persona, room: ChannelRoom, **fields: Any) -> Schedule:
    return make_brief(persona, delivery=Delivery.NEXTCLOUD_TALK, room=room, **fields)


async def test_an_answer_is_said_in_a_room_part_by_part(
    channel: Channel, persona: Persona, seen: Seen
) -> None:
    room = await seen(make_room, channel)
    brief = await seen(lambda: to_room(persona, room, prompt="x" * 450))

    ended = await run_now(brief)
    await outbox.deliver_due(channel.pk)
    await seen(brief_delivery.ended, ended)  # adds nothing

    sent = TestAdapter.sent
    assert [len(each.text) for each in sent] == [200, 200, 50]
    assert {each.room_id for each in sent} == {"room1"}
    assert await seen(OutboundReply.objects.count) == 3
    assert (await seen(Conversation.objects.get)).shared is False


async def test_where_others_read_nothing_private_is_in_it(
    channel: Channel, persona: Persona, seen: Seen
) -> None:
    def private_file() -> None:
        text = f"The secret is {SECRET_WORD}."
        save_file(persona, "USER.md", text, author=persona.owner)

    await seen(private_file)
    room = await seen(lambda: make_room(channel, alone=False))
    brief = await seen(to_room, persona, room)

    await run_now(brief)
    assert SECRET_WORD not in str(calls[-1].prompt)
    shared = await seen(Conversation.objects.get)
    assert shared.shared
    (reply,) = await seen(lambda: list(OutboundReply.objects.all()))
    assert not reply.alone

    # Where only the owner reads another conversation begins, with what is private.
    await seen(lambda: ChannelRoom.objects.update(alone=True))
    second = await run_now(brief)
    assert SECRET_WORD in str(calls[-1].prompt)
    assert second.conversation_id != shared.pk


async def test_what_was_made_alone_is_not_said_where_others_came(
    channel: Channel, persona: Persona, seen: Seen
) -> None:
    room = await seen(make_room, channel)
    brief = await seen(to_room, persona, room)
    await seen(schedules.run_now, brief)
    (task,) = await seen(leases.claim, WORKER, 1)
    done = await work(task)
    await seen(lambda: ChannelRoom.objects.update(alone=False))

    assert await seen(leases.settle_done, task, done)

    assert await seen(replies) == [endings.ELSEWHERE]
    assert await seen(fault) == brief_delivery.NOT_ALONE


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda: ChannelRoom.objects.all().delete(), "The room is gone."),
        (lambda: ChannelRoom.objects.update(state="refused"), "room is not allowed"),
        (lambda: Channel.objects.update(enabled=False), "Talk is switched off"),
    ],
)
async def test_a_room_that_takes_nothing_leaves_the_answer_where_it_is(
    channel: Channel,
    persona: Persona,
    seen: Seen,
    change: Callable[[], object],
    told: str,
) -> None:
    room = await seen(make_room, channel)
    brief = await seen(to_room, persona, room)
    await seen(change)

    ended = await run_now(brief)

    assert (ended.state, ended.result) == (State.DONE, "What is new?")
    assert told in await seen(fault)
    assert await seen(replies) == []


@pytest.mark.parametrize("alone", [True, False])
async def test_a_failure_is_told_in_the_room_once_and_the_answer_after_it(
    channel: Channel, persona: Persona, seen: Seen, alone: bool
) -> None:
    room = await seen(lambda: make_room(channel, alone=alone))
    brief = await seen(to_room, persona, room)
    with playing(scripted=[WRONG, WELL]):
        failed = await run_now(brief)
        await seen(queue.retry, failed)
        await run_all()

    sorry, answer = await seen(replies)
    assert sorry.startswith("Sorry, “Morning paper” could not be answered.")
    assert (failed.error in sorry) is alone
    assert answer == "It is well."


async def test_a_late_answer_says_so(
    channel: Channel, persona: Persona, seen: Seen
) -> None:
    room = await seen(make_room, channel)

    def queue_late() -> None:
        brief = to_room(persona, room, time_zone="Europe/Berlin")
        Schedule.objects.filter(pk=brief.pk).update(next_at=moment("2026-11-23 06:00"))
        slots.enqueue_due(moment("2026-11-23 09:00"))

    await seen(queue_late)
    (ended,) = await run_all()

    assert ended.late
    assert await seen(replies) == [
        "(Late: planned for 23 November, 07:00.)\n\nWhat is new?"
    ]


async def test_an_end_that_changes_no_fault_locks_no_brief(
    brief: Schedule, seen: Seen
) -> None:
    ended = await run_now(brief)

    def statements() -> list[str]:
        with CaptureQueriesContext(connection) as queries:
            brief_delivery.ended(ended)
        table = Schedule._meta.db_table
        found = [query["sql"] for query in queries.captured_queries]
        return [sql for sql in found if sql.startswith(f'UPDATE "{table}"')]

    (update,) = await seen(statements)
    # A row that does not match is not locked either.
    assert "fault" in update.partition(" WHERE ")[2]


# --- mail and webhooks ----------------------------------------------------------------


async def test_an_answer_goes_out_by_mail(
    channel: Channel, persona: Persona, seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mails, "is_set_up", lambda: True)
    brief = await seen(lambda: make_brief(persona, delivery=Delivery.EMAIL))

    ended = await run_now(brief)
    await seen(brief_delivery.ended, ended)  # adds nothing

    mail = await seen(MailDelivery.objects.get)
    assert mail.owner_id == persona.owner_id
    assert mail.subject.startswith("Morning paper, ")
    assert mail.text.startswith("What is new?\n\nhttp")
    assert str(ended.conversation_id) in mail.text


@pytest.mark.parametrize("set_up", [True, False])
async def test_without_mail_the_brief_says_so(
    channel: Channel,
    persona: Persona,
    seen: Seen,
    monkeypatch: pytest.MonkeyPatch,
    set_up: bool,
) -> None:
    brief = await seen(lambda: make_brief(persona, delivery=Delivery.EMAIL))
    monkeypatch.setattr(mails, "is_set_up", lambda: set_up)
    await seen(lambda: User.objects.update(email=""))

    assert (await run_now(brief)).state == State.DONE

    why = brief_delivery.NO_ADDRESS if set_up else mails.NO_SERVER
    assert await seen(fault) == f"The last answer was not sent. {why}"
    assert not await seen(MailDelivery.objects.exists)


async def test_an_answer_goes_to_the_chosen_address_alone(
    channel: Channel, persona: Persona, seen: Seen
) -> None:
    def two() -> Schedule:
        events = list(announcing.EVENTS)
        endpoints.add(persona.owner, "https://example.org/other", events)
        chosen, _ = endpoints.add(persona.owner, "https://example.org/hook", [])
        return make_brief(persona, delivery=Delivery.WEBHOOK, endpoint=chosen)

    brief = await seen(two)
    ended = await run_now(brief)
    await seen(brief_delivery.ended, ended)  # adds nothing

    row = await seen(WebhookDelivery.objects.select_related("endpoint").get)
    assert (row.event, row.endpoint.url) == ("brief.done", "https://example.org/hook")
    data = row.payload["data"]
    assert (data["name"], data["persona"], data["text"]) == (
        "Morning paper",
        "inara",
        "What is new?",
    )
    assert data["link"].endswith(f"/c/{ended.conversation_id}")
    # When it has arrived the text is forgotten, and nothing else.
    assert payload_kept(row)["data"] == data | {"text": None}


async def test_a_failure_is_told_to_the_address(
    channel: Channel, persona: Persona, seen: Seen
) -> None:
    def to_address() -> Schedule:
        chosen, _ = endpoints.add(persona.owner, "https://example.org/hook", [])
        return make_brief(persona, delivery=Delivery.WEBHOOK, endpoint=chosen)

    brief = await seen(to_address)
    with playing(scripted=WRONG):
        await run_now(brief)

    row = await seen(WebhookDelivery.objects.get)
    assert row.event == "brief.failed"
    assert row.payload["data"]["error"]["code"] == "bad_request"
    assert "text" not in row.payload["data"]


@pytest.mark.parametrize(
    "change",
    [
        lambda: WebhookEndpoint.objects.all().delete(),
        lambda: WebhookEndpoint.objects.update(enabled=False),
    ],
)
async def test_an_address_that_is_gone_leaves_the_answer_where_it_is(
    channel: Channel, persona: Persona, seen: Seen, change: Callable[[], object]
) -> None:
    def to_address() -> Schedule:
        chosen, _ = endpoints.add(persona.owner, "https://example.org/hook", [])
        return make_brief(persona, delivery=Delivery.WEBHOOK, endpoint=chosen)

    brief = await seen(to_address)
    await seen(change)

    assert (await run_now(brief)).state == State.DONE
    assert (await seen(fault)).startswith("The last answer was not sent. The webhook")
