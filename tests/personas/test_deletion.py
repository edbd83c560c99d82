"""Deleting one message: out of everything at once, back within the hour, then gone."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.http import Http404
from django.utils import timezone

from accounts.models import User
from personas.context import load_material
from personas.conversations import (
    branch,
    get_message_for_user,
    messages_visible_to,
    start_conversation,
)
from personas.costs import costliest_conversations
from personas.deletion import (
    STILL_WRITTEN,
    TOO_LATE,
    can_be_undeleted,
    delete_message,
    get_any_message_for_user,
    purge_messages,
    undelete_message,
)
from personas.errors import MessageRefused
from personas.models import Conversation, Message, Persona, SearchEntry
from personas.prompts import build_prompt
from routing.models import RouteDecision
from tests.personas.trees import line

LATER = timedelta(minutes=61)


@pytest.fixture
def conversation(alice: User, persona: Persona) -> Conversation:
    return start_conversation(alice, persona, first_text="My cello is called Rosa")


@pytest.fixture
def said(conversation: Conversation) -> list[Message]:
    """Four messages, the last one a question."""
    return line(conversation, "My cello is called Rosa", "Rosa it is", "And now?")


def let_an_hour_pass() -> None:
    gone = Message.objects.exclude(deleted_at=None)
    gone.update(deleted_at=timezone.now() - LATER)


def prompt_of(conversation: Conversation, upto: Message) -> str:
    material = load_material(conversation, upto=upto)
    return str(build_prompt(material, 6_000))


def test_a_deleted_message_is_out_of_the_prompt_and_the_thread(
    alice: User, conversation: Conversation, said: list[Message]
) -> None:
    asked, answered, last = said
    assert "called Rosa" in prompt_of(conversation, last)
    delete_message(alice, asked.pk)
    delete_message(alice, answered.pk)
    assert "Rosa" not in prompt_of(conversation, last)
    assert "And now?" in prompt_of(conversation, last)
    assert list(messages_visible_to(alice)) == [last]
    with pytest.raises(Http404):
        get_message_for_user(alice, asked.pk)
    shown = branch(conversation, leaf=last.pk)
    assert [each.pk for each in shown] == [each.pk for each in said]
    assert [each.text for each in shown] == ["", "", "And now?"]
    assert [can_be_undeleted(each) for each in shown] == [True, True, False]


def test_a_question_deleted_while_it_is_asked_is_no_other_question(
    alice: User, conversation: Conversation, said: list[Message]
) -> None:
    delete_message(alice, said[-1].pk)
    material = load_material(conversation, upto=said[-1])
    assert material.current is not None and material.current.text == ""
    assert [each.text for each in material.history] == [said[0].text, said[1].text]


def test_undo_brings_it_back(
    alice: User, conversation: Conversation, said: list[Message]
) -> None:
    delete_message(alice, said[0].pk)
    delete_message(alice, said[0].pk)
    conversation.refresh_from_db()
    assert conversation.title == ""  # it was made of the message
    undelete_message(alice, said[0].pk)
    undelete_message(alice, said[0].pk)
    assert get_message_for_user(alice, said[0].pk).text == said[0].text
    conversation.refresh_from_db()
    assert conversation.title == said[0].text


def test_a_title_that_a_person_gave_stays(
    alice: User, conversation: Conversation, said: list[Message]
) -> None:
    Conversation.objects.update(title="Music")
    delete_message(alice, said[0].pk)
    undelete_message(alice, said[0].pk)
    conversation.refresh_from_db()
    assert conversation.title == "Music"


def test_after_an_hour_the_words_are_gone_for_good(
    alice: User, conversation: Conversation, said: list[Message]
) -> None:
    asked = said[0]
    SearchEntry.objects.create(
        message=asked,
        owner=alice,
        persona=conversation.persona,
        text="cello rosa",
        said_at=asked.created_at,
    )
    delete_message(alice, asked.pk)
    assert purge_messages() == 0
    let_an_hour_pass()
    assert purge_messages() == 1
    assert purge_messages() == 0
    assert get_any_message_for_user(alice, asked.pk).text == ""
    assert not SearchEntry.objects.exists()
    with pytest.raises(MessageRefused, match=TOO_LATE):
        undelete_message(alice, asked.pk)
    assert Message.objects.count() == 3  # others stand below it


def test_an_answer_that_is_being_written_is_refused(
    alice: User, said: list[Message]
) -> None:
    Message.objects.filter(pk=said[1].pk).update(state=Message.State.GENERATING)
    with pytest.raises(MessageRefused, match=STILL_WRITTEN):
        delete_message(alice, said[1].pk)
    assert get_message_for_user(alice, said[1].pk).deleted_at is None


def test_others_can_neither_delete_nor_bring_back(
    alice: User, bob: User, said: list[Message]
) -> None:
    with pytest.raises(Http404):
        delete_message(bob, said[0].pk)
    delete_message(alice, said[0].pk)
    with pytest.raises(Http404):
        undelete_message(bob, said[0].pk)
    assert messages_visible_to(alice).count() == 2


def test_what_its_answer_cost_stays_and_why_it_was_asked_goes(
    alice: User, conversation: Conversation, said: list[Message]
) -> None:
    asked, answered, _ = said
    Message.objects.filter(pk=answered.pk).update(
        cost_nano_usd=7, attempts=1, reason="asks about a cello"
    )
    RouteDecision.objects.create(
        owner=alice,
        turn_id=answered.pk,
        thread_id=conversation.pk,
        role="chat",
        tier=2,
        decided_by="classifier",
        reason="asks about a cello",
        plan=[{"label": "m", "reason": "cheapest (asks about a cello)"}],
    )
    delete_message(alice, asked.pk)
    decision = RouteDecision.objects.get()
    assert (decision.reason, decision.plan) == ("", [])
    assert Message.objects.get(pk=answered.pk).reason == ""
    delete_message(alice, answered.pk)
    (cost,) = costliest_conversations(alice)
    assert cost.cost_nano_usd == 7
