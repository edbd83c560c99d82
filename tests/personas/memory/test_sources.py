"""Whose words may be remembered: a table of everything that may not."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from personas.conversations import start_conversation
from personas.memory import sources
from personas.memory.sources import batch, existing, still_usable, undistilled
from personas.models import Conversation, Message, Persona
from tests.personas.memory.said import say

HOUR = timedelta(hours=1)
pytestmark = pytest.mark.django_db

CONVERSATIONS: dict[str, dict[str, Any]] = {
    "a temporary conversation": {"temporary": True},
    "a conversation whose memory is paused": {"memory_paused": True},
    "a private conversation of a persona that is not": {"private": True},
    "a deleted conversation": {"deleted_at": timezone.now()},
}
MESSAGES: dict[str, dict[str, Any]] = {
    "somebody else in a room": {"from_guest": True, "author_name": "Eve"},
    "a deleted message": {"deleted_at": timezone.now()},
    "the prompt of a brief": {"channel": "schedule"},
    "a task of the queue": {"channel": "queue"},
    "the persona": {"role": "assistant"},
    "a message that was read": {"distilled_at": timezone.now()},
}


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_conversations_that_are_no_source(persona: Persona, name: str) -> None:
    message = say(persona, "My code is 4711.")
    Conversation.objects.filter(pk=message.conversation_id).update(
        **CONVERSATIONS[name]
    )
    kept = say(persona, "I like boats.")
    assert [one.id for one in batch(persona)] == [kept.id]
    assert still_usable(persona, [message.id, kept.id]) == {kept.id}


@pytest.mark.parametrize("name", MESSAGES)
def test_messages_that_are_no_source(persona: Persona, name: str) -> None:
    message = say(persona, "My code is 4711.", **MESSAGES[name])
    kept = say(persona, "I like boats.")
    assert list(undistilled(persona)) == [kept]
    assert still_usable(persona, [message.id, kept.id]) == {kept.id}


def test_private_conversations_are_sources_of_a_private_persona(
    persona: Persona,
) -> None:
    conversation = start_conversation(persona.owner, persona, private=True)
    say(persona, "My code is 4711.", conversation=conversation)
    assert not batch(persona)
    persona.private = True
    persona.save()
    assert len(batch(persona)) == 1


def test_of_a_shared_room_only_the_owners_words(persona: Persona) -> None:
    room = start_conversation(persona.owner, persona, shared=True)
    say(persona, "I bring a cake.", "Eve said that she is ill.", conversation=room)
    say(persona, "I am ill.", conversation=room, from_guest=True)
    alone = say(persona, "Yes.", "Then I note the cake.")
    assert [(one.text, one.answer) for one in batch(persona)] == [
        ("I bring a cake.", ""),
        ("Yes.", "Then I note the cake."),
    ]
    assert existing(persona, [alone.id]) == {alone.id}


@pytest.mark.parametrize("state", ["failed", "incomplete", "interrupted"])
def test_only_whole_answers_are_read(persona: Persona, state: str) -> None:
    message = say(persona, "Yes.", "Half of an")
    message.children.update(state=state)
    (one,) = batch(persona)
    assert one.answer == ""
    message.children.update(state="complete", deleted_at=timezone.now())
    (one,) = batch(persona)
    assert one.answer == ""


def test_a_message_waits_for_its_answer(persona: Persona) -> None:
    message = say(persona, "Yes.", "…")
    message.children.update(state="generating")
    assert not batch(persona)


def test_another_personas_messages_are_none_of_its_business(
    persona: Persona, bob: Any
) -> None:
    other = Persona.objects.create(owner=persona.owner, name="other")
    strangers = Persona.objects.create(owner=bob, name="inara")
    messages = [say(each, "I like boats.") for each in (other, strangers)]
    assert not batch(persona)
    ids = [message.id for message in messages]
    assert not still_usable(persona, ids) and not existing(persona, ids)


def test_a_batch_has_bounds(persona: Persona, monkeypatch: pytest.MonkeyPatch) -> None:
    first = say(persona, "B" * 5_000 + "end")
    for number in range(5):
        say(persona, f"Message {number}.", conversation=first.conversation)
    (long, *_) = whole = batch(persona)
    assert len(whole) == 6
    assert len(long.text) < 1_600 and long.text.endswith("end") and "[…]" in long.text
    monkeypatch.setattr(sources, "BATCH_MESSAGES", 4)
    assert len(batch(persona)) == 4
    monkeypatch.setattr(sources, "BATCH_TOKENS", 10)
    assert batch(persona) == (long,)


def test_days_are_those_of_the_owner(
    persona: Persona, monkeypatch: pytest.MonkeyPatch
) -> None:
    persona.owner.time_zone = "Pacific/Auckland"
    persona.owner.save()
    monkeypatch.setattr(sources, "RECENT", timedelta(days=36_500))
    say(persona, "Good morning.", at=datetime(2026, 11, 20, 18, tzinfo=UTC))
    (one,) = batch(Persona.objects.get(pk=persona.pk))
    assert one.said_on == date(2026, 11, 21)


def test_history_is_not_sent_anywhere(persona: Persona) -> None:
    """A model named today gets the talk of a month, not of years."""
    say(persona, "My old code was 4711.", ago=timedelta(days=31))
    kept = say(persona, "I like boats.", ago=timedelta(days=29))
    assert [one.id for one in batch(persona)] == [kept.id]
    assert list(undistilled()) == [kept]


def test_of_an_edited_message_the_newest_version_counts(persona: Persona) -> None:
    first = say(persona, "I live in Berlin.", "Nice.")
    room = first.conversation
    berne = say(
        persona, "I live in Berne.", "Oh.", conversation=room, parent=None, ago=HOUR
    )
    below = berne.children.get()
    old = say(persona, "In a flat.", conversation=room, parent=below, ago=HOUR / 2)
    new = say(persona, "In a house.", conversation=room, parent=below, ago=HOUR / 3)
    say(
        persona,
        "In a tent.",
        conversation=room,
        parent=below,
        ago=HOUR / 4,
        from_guest=True,
    )
    assert [one.id for one in batch(persona)] == [berne.id, new.id]
    assert still_usable(persona, [first.id, old.id, new.id]) == {new.id}
    Message.objects.filter(pk__in=[new.pk, berne.pk]).update(deleted_at=timezone.now())
    assert [one.id for one in batch(persona)] == [first.id, old.id]


def test_a_persona_that_becomes_private_meanwhile(persona: Persona) -> None:
    """Its private chats join no batch of a call that was begun in the open."""
    room = start_conversation(persona.owner, persona, private=True)
    say(persona, "My code is 4711.", conversation=room)
    kept = say(persona, "I like boats.")
    Persona.objects.filter(pk=persona.pk).update(private=True)
    assert not persona.private
    assert [one.id for one in batch(persona)] == [kept.id]
    assert len(batch(Persona.objects.get(pk=persona.pk))) == 2


def test_conversations_stay_together(persona: Persona) -> None:
    first = say(persona, "one")
    say(persona, "other")
    say(persona, "two", conversation=first.conversation)
    assert [one.text for one in batch(persona)] == ["one", "two", "other"]
    assert Message.objects.filter(distilled_at=None).count() == 3
