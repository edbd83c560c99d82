"""Briefs: what may be saved, who sees them, and what their buttons do."""

from __future__ import annotations

import copy
import uuid
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.http import Http404

from accounts.models import AuditEvent, User
from channels_app import mails
from channels_app.jobs import queue, schedules
from channels_app.models import Channel, ChannelRoom, QueuedTask, Schedule
from channels_app.webhooks import endpoints
from personas.conversations import delete_conversation, start_conversation
from personas.models import Persona
from personas.personas import create_persona
from tests.support.bots import make_channel, make_room
from tests.support.briefs import make_brief, moment

pytestmark = pytest.mark.django_db
Delivery = Schedule.Delivery
State = QueuedTask.State


@pytest.fixture
def bobs(bob: User) -> Persona:
    """A persona of somebody else."""
    return create_persona(bob, name="bobby", display_name="Bobby", template="assistant")


def refused(persona: Persona, **fields: Any) -> dict[str, list[str]]:
    """Return the sentences with which a brief is refused."""
    with pytest.raises(ValidationError) as refusal:
        make_brief(persona, **fields)
    assert not Schedule.objects.exists()
    return refusal.value.message_dict


def test_saving_says_when_it_comes_next(persona: Persona) -> None:
    brief = make_brief(persona, name="  Morning \n paper ", cron=" 0  7 * * * ")

    assert (brief.name, brief.cron) == ("Morning paper", "0 7 * * *")
    assert brief.next_at is not None
    assert (brief.next_at.hour, brief.next_at.minute) == (7, 0)
    event = AuditEvent.objects.get(event="brief.added")
    assert "paper" not in str(vars(event))


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"name": " "}, "name"),
        ({"name": "x" * 81}, "name"),
        ({"prompt": " \n"}, "prompt"),
        ({"prompt": "x" * 32_001}, "prompt"),
        ({"cron": "* * * * *"}, "cron"),
        ({"time_zone": "Mars/Olympus"}, "time_zone"),
        ({"tier": 4}, "tier"),
        ({"cap_nano_usd": 0}, "cap_nano_usd"),
        ({"delivery": "pigeon"}, "delivery"),
        ({"delivery": Delivery.NEXTCLOUD_TALK}, "room"),
        ({"delivery": Delivery.WEBHOOK}, "endpoint"),
    ],
)
def test_what_is_wrong_is_told_beside_its_field(
    persona: Persona, fields: dict[str, Any], field: str
) -> None:
    assert list(refused(persona, **fields)) == [field]


def test_all_faults_are_told_at_once(persona: Persona) -> None:
    assert set(refused(persona, name="", cron="x", tier=9)) == {"name", "cron", "tier"}


def test_nothing_of_others_can_be_named(persona: Persona, bobs: Persona) -> None:
    room = make_room(make_channel(bobs))
    endpoint, _ = endpoints.add(bobs.owner, "https://example.org/hook", [])
    chat = start_conversation(bobs.owner, bobs)

    talk = refused(persona, delivery=Delivery.NEXTCLOUD_TALK, room=room)
    hook = refused(persona, delivery=Delivery.WEBHOOK, endpoint=endpoint)
    said = refused(persona, conversation=chat)
    with pytest.raises(ValidationError) as by_bobs:
        schedules.save(
            Schedule(
                owner=persona.owner,
                persona=bobs,
                name="n",
                prompt="p",
                cron="0 7 * * *",
                time_zone="UTC",
            )
        )

    assert talk == {"room": ["The room is gone."]}
    assert hook == {"endpoint": ["The webhook is gone."]}
    assert said == {"conversation": ["There is no such conversation."]}
    assert list(by_bobs.value.message_dict) == ["persona"]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"state": ChannelRoom.State.WAITING}, "The room is not allowed."),
        ({"state": ChannelRoom.State.REFUSED}, "The room is not allowed."),
        ({"enabled": False}, "Nextcloud Talk is switched off."),
        ({"kind": Channel.Kind.GOOGLE_CHAT}, "The room is on another platform."),
    ],
)
def test_a_room_must_take_answers(
    persona: Persona, change: dict[str, Any], sentence: str
) -> None:
    room = make_room(make_channel(persona))
    for thing in (room, room.channel):
        for name, value in change.items():
            if hasattr(thing, name):
                setattr(thing, name, value)

    told = refused(persona, delivery=Delivery.NEXTCLOUD_TALK, room=room)

    assert told == {"room": [sentence]}


def test_google_chat_needs_a_key_to_speak_first(persona: Persona) -> None:
    room = make_room(make_channel(persona, kind=Channel.Kind.GOOGLE_CHAT))

    told = refused(persona, delivery=Delivery.GOOGLE_CHAT, room=room)

    assert "key file" in told["room"][0]


def test_mail_needs_an_address(persona: Persona) -> None:
    persona.owner.email = ""

    assert list(refused(persona, delivery=Delivery.EMAIL)) == ["delivery"]


def test_what_the_delivery_does_not_need_is_taken_out(persona: Persona) -> None:
    brief = make_brief(persona, room=make_room(make_channel(persona)))

    assert (brief.room, brief.endpoint) == (None, None)


def test_a_conversation_of_another_persona_is_refused(persona: Persona) -> None:
    other = create_persona(
        persona.owner, name="other", display_name="Other", template="assistant"
    )
    chat = start_conversation(persona.owner, other)

    assert refused(persona, conversation=chat) == {
        "conversation": ["In this conversation Other answers."]
    }


def test_with_another_persona_another_conversation_begins(persona: Persona) -> None:
    other = create_persona(
        persona.owner, name="other", display_name="Other", template="assistant"
    )
    brief = make_brief(persona, conversation=start_conversation(persona.owner, persona))
    brief.persona = other

    assert schedules.save(brief).conversation is None


def test_a_deleted_conversation_does_not_stand_in_the_way(persona: Persona) -> None:
    chat = start_conversation(persona.owner, persona)
    brief = make_brief(persona, conversation=chat)
    delete_conversation(chat)

    assert schedules.save(brief).conversation is None


def test_a_change_of_words_does_not_lose_a_time_that_has_come(persona: Persona) -> None:
    brief = make_brief(persona, "2020-01-01 07:00")
    brief.prompt = "What else?"
    assert schedules.save(brief).next_at == moment("2020-01-01 07:00")

    brief.cron = "0 8 * * *"
    brief = schedules.save(brief)
    assert brief.next_at and brief.next_at.hour == 8


def test_fifty_briefs_are_enough(
    persona: Persona, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedules, "MAX_PER_PERSON", 2)
    make_brief(persona)
    last = make_brief(persona)

    with pytest.raises(ValidationError, match="2 briefs already"):
        make_brief(persona)
    schedules.save(last)  # changing one is no new one


def test_only_the_owner_sees_a_brief(persona: Persona, bob: User) -> None:
    brief = make_brief(persona)

    assert schedules.get_schedule_for_user(persona.owner, brief.pk) == brief
    assert not schedules.schedules_visible_to(bob).exists()
    for user, id in ((bob, brief.pk), (persona.owner, uuid.uuid4()), (bob, "x")):
        with pytest.raises(Http404):
            schedules.get_schedule_for_user(user, id)


def test_a_brief_is_switched_off_and_on(persona: Persona) -> None:
    brief = make_brief(persona)
    schedules.switch(brief, False)
    assert Schedule.objects.get().next_at is None

    schedules.switch(brief, True)
    assert Schedule.objects.get().next_at is not None


def test_what_could_not_run_is_not_switched_on(persona: Persona) -> None:
    room = make_room(make_channel(persona))
    brief = make_brief(
        persona, delivery=Delivery.NEXTCLOUD_TALK, room=room, enabled=False
    )
    assert brief.next_at is None
    ChannelRoom.objects.update(state=ChannelRoom.State.REFUSED)

    with pytest.raises(ValidationError, match="not allowed"):
        schedules.switch(Schedule.objects.get(), True)


def test_run_now_queues_one_run_however_often_it_is_pressed(persona: Persona) -> None:
    brief = make_brief(persona)
    task = schedules.run_now(brief)

    assert schedules.run_now(brief) == task
    assert (task.by_hand, task.due_at, task.kind) == (True, None, "brief")
    assert list(schedules.runs_of(brief)) == [task]
    QueuedTask.objects.update(state=State.DONE)
    assert schedules.run_now(brief) != task


def test_deleting_ends_what_it_does_and_keeps_what_it_did(persona: Persona) -> None:
    brief = make_brief(persona)
    done = schedules.run_now(brief)
    QueuedTask.objects.update(state=State.DONE)
    waiting = schedules.run_now(brief)

    schedules.delete(brief)

    assert not Schedule.objects.exists()
    assert queue.get_task_for_user(persona.owner, done.pk).state == State.DONE
    ended = queue.get_task_for_user(persona.owner, waiting.pk)
    assert (ended.state, ended.schedule) == (State.CANCELLED, None)
    with pytest.raises(Http404):
        schedules.run_now(brief)


def test_mail_is_no_place_for_answers_where_none_is_sent(
    persona: Persona, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mails, "is_set_up", lambda: False)
    with pytest.raises(ValidationError) as refused:
        make_brief(persona, delivery=Schedule.Delivery.EMAIL)
    assert refused.value.message_dict == {"delivery": [mails.NO_SERVER]}


@pytest.mark.parametrize("on", [True, False])
def test_what_was_deleted_is_not_switched(persona: Persona, on: bool) -> None:
    brief = make_brief(persona)
    seen = Schedule.objects.get()
    schedules.delete(brief)

    with pytest.raises(Http404):
        schedules.switch(seen, on)
    assert not Schedule.objects.exists()


def test_what_was_deleted_does_not_come_back_by_a_change(persona: Persona) -> None:
    brief = make_brief(persona)
    seen = copy.copy(Schedule.objects.get())
    schedules.delete(brief)
    seen.prompt = "What else?"

    with pytest.raises(Http404):
        schedules.save(seen)
    assert not Schedule.objects.exists()
