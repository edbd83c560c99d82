"""Queued tasks of the kind “brief”: a stored turn that a person's schedule begins.

It is an ordinary turn of the owner, with their rights at the time it runs, in a
conversation that keeps what every run was told. Another attempt finds the turn of the
one before: an answer that is written somewhere is waited for, one that is there is
taken, and one that the end of Cortex cut off is asked for once more. Where others read
the answer, nothing private enters it. ``brief_delivery`` hands it on.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any, Final
from uuid import UUID

from django.db import transaction

from channels_app import turns
from channels_app.bots.answering import LOOK_EVERY_S
from channels_app.bots.asking import CUT_OFF
from channels_app.bots.endings import BROKEN_OFF, EMPTY
from channels_app.errors import RETRYABLE, TurnError
from channels_app.jobs.brief_checks import ROOMS
from channels_app.jobs.brief_turns import again_id, answers_of, first_id
from channels_app.jobs.costs import left_of_cap
from channels_app.jobs.kinds import Done, TaskFailed
from channels_app.jobs.task_turns import begun, cut_off_when_lost, start_stored
from channels_app.live_turns import spawn
from channels_app.models import QueuedTask, Schedule
from channels_app.turn_requests import RetryRequest, Tier, TurnRequest
from personas.conversations import (
    conversations_visible_to,
    rename,
    start_conversation,
)
from personas.models import Conversation, Message
from routing.db_pool import run_in_db_pool

CHANNEL: Final = "schedule"
"""What the messages of briefs have for a door."""
STOPPED: Final = "conflict"
"""Code of a run whose answer a person stopped."""
END_WITHIN_S: Final = 5.0
_TIERS: Final[dict[int | None, Tier]] = {1: 1, 2: 2, 3: 3}
_States = Message.State
_CANCELLED = QueuedTask.State.CANCELLED


async def work(task: QueuedTask) -> Done:
    """Have a brief answered; cancelled by its owner, the model's call ends.

    So it does when the lease is lost, because somebody else may answer from then on.
    Whoever cancels it for another reason leaves the turn running: the end of the
    process sees to it, or the next attempt waits for it.

    Raises:
        TaskFailed: With the sentence of what stood in the way.
    """
    try:
        answer = await _answer(task)
    except asyncio.CancelledError:
        if task.lost:  # the turn was stopped on the spot
            raise
        ending = spawn(_stop_if_asked(task), f"stop of {task.pk}")
        for _ in range(2):  # cancelled once more, it still ends
            with suppress(asyncio.CancelledError):
                await asyncio.shield(ending)
        raise
    return _done(answer)


async def _answer(task: QueuedTask) -> Message:
    """Return the ended answer to a run's message, asked for where there is none."""
    answer = await _asked_or_found(task)
    if not await run_in_db_pool(_was_cut_off_once, task, answer):
        return answer
    if turns.draining():
        raise TaskFailed(CUT_OFF, answer.error_message, retryable=True)
    return await _asked_or_found(task)


async def _asked_or_found(task: QueuedTask) -> Message:
    step = await run_in_db_pool(next_step, task)
    if isinstance(step, UUID):
        with cut_off_when_lost(task, step):
            return await _ended(task.owner_id, step)
    started = await begun(lambda: start_stored(task, step))
    assert started.turn is not None  # noqa: S101  an answer was asked for
    with cut_off_when_lost(task, started.turn):
        if started.stream is not None:
            async for _ in started.stream.read():
                pass
        return await _ended(task.owner_id, started.turn)


async def _ended(user_id: int, turn: UUID) -> Message:
    """Return an answer when it has ended, wherever it is written.

    That of a process which died is ended by the worker's tick.
    """
    while True:
        answer = await run_in_db_pool(_message, user_id, turn)
        if answer is None:
            raise TaskFailed("not_found", "The answer was deleted before it was read.")
        if answer.state != _States.GENERATING:
            return answer
        await asyncio.sleep(LOOK_EVERY_S)


async def _stop_if_asked(task: QueuedTask) -> None:
    """Stop the turn of a run that its owner has cancelled, and wait for its end."""
    turn = await run_in_db_pool(_turn_to_stop, task)
    if turn is None:
        await asyncio.sleep(LOOK_EVERY_S)  # it may have been about to begin
        turn = await run_in_db_pool(_turn_to_stop, task)
    if turn is None:
        return
    with suppress(TurnError, TaskFailed, TimeoutError):
        await turns.stop_turn(task.owner_id, turn)
        async with asyncio.timeout(END_WITHIN_S):
            await _ended(task.owner_id, turn)


def _done(answer: Message) -> Done:
    """Return what came of a run; raises ``TaskFailed`` where nothing did."""
    text = answer.text.strip()
    if answer.state == _States.INTERRUPTED and not was_cut_off(answer):
        raise TaskFailed(STOPPED, "You stopped the answer.")
    if answer.state != _States.COMPLETE:
        code = answer.error_code or "internal"
        sentence = answer.error_message or "The answer broke off."
        if not text:
            may_pass = code in RETRYABLE and not was_cut_off(answer)
            raise TaskFailed(code, sentence, retryable=may_pass)
        text = f"{text}\n\n{BROKEN_OFF} {sentence}"
    return Done(
        result=text or EMPTY,
        model=answer.model,
        input_tokens=answer.input_tokens,
        output_tokens=answer.output_tokens,
        conversation_id=answer.conversation_id,
    )


def was_cut_off(answer: Message) -> bool:
    """Say whether the end of Cortex ended an answer, and no person."""
    return (
        answer.state == _States.INTERRUPTED
        and answer.error_code == CUT_OFF
        and not answer.stop_asked
    )


# --- in the database ----------------------------------------------------------


def next_step(task: QueuedTask) -> UUID | TurnRequest | RetryRequest:
    """Return what an attempt does: take the answer of an earlier one, or ask.

    Asked for again is what failed, and what the end of Cortex cut off for the first
    time. The first attempt after somebody pressed “retry” asks in any case, unless
    there is an answer.

    Raises:
        TaskFailed: The brief, its owner's account or its persona is gone, or its cap
            is used up.
    """
    with transaction.atomic():
        schedule = _schedule(task)
        answers = _answers(task)
        if answers and _is_taken(task, answers):
            return answers[-1].pk
        return _request(task, schedule, answers)


def _schedule(task: QueuedTask) -> Schedule:
    """Return the brief of a run, which may run now; raises ``TaskFailed``."""
    rows = Schedule.objects.select_related("owner", "persona", "room")
    mine = rows.select_for_update(of=("self",)).filter(owner=task.owner_id)
    schedule = None
    if task.schedule_id is not None:
        schedule = mine.filter(pk=task.schedule_id).first()
    if schedule is None:
        raise TaskFailed("not_found", "The brief was deleted.")
    if not schedule.owner.is_active:
        raise TaskFailed("forbidden", "The account of its owner is switched off.")
    if schedule.persona.owner_id != schedule.owner_id:
        raise TaskFailed("not_found", "The persona of this brief is gone.")
    return schedule


def _answers(task: QueuedTask) -> list[Message]:
    """Return the answers of earlier attempts that still stand in a conversation."""
    found = answers_of(task)
    return [each for each in found if each.conversation.deleted_at is None]


def _is_taken(task: QueuedTask, answers: list[Message]) -> bool:
    """Say whether the last answer stays, or is awaited where it is being written."""
    last = answers[-1]
    if last.state == _States.FAILED:
        return False
    if was_cut_off(last):
        asked_by_hand = task.tries <= 1 and not last.text.strip()
        return _cut_offs(answers) > 1 and not asked_by_hand
    return last.state != _States.INTERRUPTED or task.tries > 1


def _cut_offs(answers: list[Message]) -> int:
    return sum(map(was_cut_off, answers))


def _was_cut_off_once(task: QueuedTask, answer: Message) -> bool:
    return was_cut_off(answer) and _cut_offs(_answers(task)) == 1


def _request(
    task: QueuedTask, schedule: Schedule, answers: list[Message]
) -> TurnRequest | RetryRequest:
    """Describe the turn of an attempt: the first, or another answer to its message."""
    conversation = _conversation(schedule)
    common: dict[str, Any] = {
        "tier": _TIERS.get(task.tier),
        "channel": CHANNEL,
        "alone": not conversation.shared,
        "background": True,
        "max_cost_nano_usd": left_of_cap(task, schedule.cap_nano_usd),
    }
    if answers and answers[-1].conversation_id == conversation.pk:
        last = answers[-1].pk
        return RetryRequest(client_id=again_id(task), message=last, **common)
    return TurnRequest(
        client_id=again_id(task) if answers_of(task) else first_id(task),
        text=task.text,
        conversation=conversation.pk,
        **common,
    )


def _conversation(schedule: Schedule) -> Conversation:
    """Return the conversation that goes on, or a new one, titled like the brief.

    What was said alone is never carried to where others read, nor the other way round:
    another conversation begins then.
    """
    if schedule.conversation_id is not None:
        mine = conversations_visible_to(schedule.owner)
        found = mine.filter(
            pk=schedule.conversation_id, persona=schedule.persona, temporary=False
        ).first()
        if found is not None and _suits(schedule, found):
            return found
    conversation = start_conversation(
        schedule.owner, schedule.persona, shared=_others_read(schedule)
    )
    rename(conversation, schedule.name)
    Schedule.objects.filter(pk=schedule.pk).update(conversation=conversation)
    return conversation


def _suits(schedule: Schedule, conversation: Conversation) -> bool:
    """Say whether the same people read in a conversation as get the answer."""
    if schedule.delivery == Schedule.Delivery.CONVERSATION:
        return True
    return conversation.shared == _others_read(schedule)


def _others_read(schedule: Schedule) -> bool:
    """Say whether others than the owner read where the answer goes.

    Where the room is gone it goes nowhere.
    """
    if schedule.delivery not in ROOMS or schedule.room is None:
        return False
    return not schedule.room.alone


def _message(user_id: int, turn: UUID) -> Message | None:
    return Message.objects.filter(pk=turn, owner=user_id).first()


def _turn_to_stop(task: QueuedTask) -> UUID | None:
    """Return the turn that is written for a run which its owner has cancelled."""
    row = QueuedTask.objects.filter(pk=task.pk).first()
    if row is None or not (row.cancel_asked or row.state == _CANCELLED):
        return None
    answers = answers_of(row)
    if answers and answers[-1].state == _States.GENERATING:
        return answers[-1].pk
    return None
