"""Conversations, their branches, titles and deletion."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.http import Http404
from django.utils import timezone

from accounts.models import User
from personas.conversations import (
    branch,
    conversations_visible_to,
    delete_conversation,
    get_conversation_for_user,
    get_message_for_user,
    messages_visible_to,
    purge_deleted,
    rename,
    select_sibling,
    start_conversation,
    title_from,
    undelete,
)
from personas.models import Conversation, Message, Persona
from personas.policies import AnswerPolicy
from routing.models import RouteDecision
from tests.personas.trees import add, line, long_line


@pytest.fixture
def conversation(alice: User, persona: Persona) -> Conversation:
    return start_conversation(alice, persona, first_text="Hello there")


def texts(messages: list[Message]) -> list[str]:
    return [message.text for message in messages]


# --- who sees what ---------------------------------------------------------------


def test_outsiders_find_neither_conversation_nor_message(
    alice: User, charlie: User, admin_user: User, conversation: Conversation
) -> None:
    (message,) = line(conversation, "hi")
    assert get_conversation_for_user(alice, str(conversation.pk)) == conversation
    assert get_message_for_user(alice, message.pk) == message
    for outsider in (charlie, admin_user):
        assert not conversations_visible_to(outsider).exists()
        assert not messages_visible_to(outsider).exists()
        with pytest.raises(Http404):
            get_conversation_for_user(outsider, conversation.pk)
        with pytest.raises(Http404):
            get_message_for_user(outsider, message.pk)
        with pytest.raises(Http404):
            undelete(outsider, conversation.pk)


@pytest.mark.parametrize("bad", ["", "x", "1", "../", "0" * 500, uuid.uuid4()])
def test_what_is_not_an_id_is_not_found(alice: User, bad: Any) -> None:
    for get in (get_conversation_for_user, get_message_for_user, undelete):
        with pytest.raises(Http404):
            get(alice, bad)


def test_nobody_talks_to_another_persons_persona(
    charlie: User, persona: Persona
) -> None:
    with pytest.raises(Http404):
        start_conversation(charlie, persona)


def test_getting_a_conversation_brings_persona_and_owner(
    alice: User, conversation: Conversation, django_assert_num_queries: Any
) -> None:
    (message,) = line(conversation, "hi")
    with django_assert_num_queries(2):
        found = get_conversation_for_user(alice, conversation.pk)
        assert found.persona.name and found.owner.username
        found = get_message_for_user(alice, message.pk).conversation
        assert found.persona.name and found.owner.username


@pytest.mark.parametrize(
    ("of_persona", "of_conversation", "private"),
    [(False, False, False), (True, False, True), (False, True, True)],
)
def test_privacy_comes_from_either_flag(
    alice: User,
    persona: Persona,
    of_persona: bool,
    of_conversation: bool,
    private: bool,
) -> None:
    persona.private = of_persona
    conversation = start_conversation(alice, persona, private=of_conversation)
    assert conversation.is_private is private


def test_a_conversation_takes_its_tier_from_the_persona(
    alice: User, persona: Persona
) -> None:
    persona.tier = 3
    assert start_conversation(alice, persona).tier == 3
    assert start_conversation(alice, persona, policy=AnswerPolicy(1)).tier == 1


# --- titles ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("Hello there", "Hello there"),
        ("  two\n\n lines\there ", "two lines here"),
        ("# A **bold** `plan`", "A bold plan"),
        ("> quoted", "quoted"),
        ("snake_case and 2*3 stay", "snake_case and 2*3 stay"),
        ("<b>html</b> stays text", "<b>html</b> stays text"),
        ("nul\0 gone", "nul gone"),
        ("", ""),
        ("***", ""),
        ("word " * 30, ("word " * 12).strip() + "…"),
        ("x" * 100, "x" * 59 + "…"),
    ],
)
def test_title_is_the_first_words_without_marks(text: str, title: str) -> None:
    assert title_from(text) == title


def test_rename_makes_one_line_that_fits(conversation: Conversation) -> None:
    rename(conversation, " a\n b\0" + "c" * 200)
    conversation.refresh_from_db()
    assert conversation.title.startswith("a bc") and len(conversation.title) == 120


# --- branches --------------------------------------------------------------------


def test_branch_shows_the_newest_message_without_a_choice(
    conversation: Conversation,
) -> None:
    line(conversation, "q1", "a1", "q2")
    assert texts(branch(conversation)) == ["q1", "a1", "q2"]


def test_branch_of_an_empty_conversation_is_empty(conversation: Conversation) -> None:
    assert branch(conversation) == []


def test_branch_pages_upwards(
    conversation: Conversation, django_assert_num_queries: Any
) -> None:
    messages = long_line(conversation, 70)
    conversation.current_message = messages[-1]
    with django_assert_num_queries(2):
        last = branch(conversation)
    assert [m.pk for m in last] == [m.pk for m in messages[40:]]
    middle = branch(conversation, before=last[0].pk)
    assert [m.pk for m in middle] == [m.pk for m in messages[10:40]]
    first = branch(conversation, before=middle[0].pk)
    assert [m.pk for m in first] == [m.pk for m in messages[:10]]
    assert first[0].parent_id is None
    assert branch(conversation, before=first[0].pk) == []


def test_branch_marks_siblings_oldest_first(conversation: Conversation) -> None:
    q1, a1 = line(conversation, "q1", "a1")
    retry = add(conversation, q1, "a1 again")
    edited = add(conversation, None, "q1 edited")
    shown = branch(conversation, leaf=retry.pk)
    assert texts(shown) == ["q1", "a1 again"]
    assert shown[0].sibling_ids == (q1.pk, edited.pk)
    assert shown[1].sibling_ids == (a1.pk, retry.pk)
    assert branch(conversation, leaf=edited.pk)[0].sibling_ids == (q1.pk, edited.pk)


def test_select_sibling_follows_the_newest_replies_and_is_remembered(
    alice: User, conversation: Conversation
) -> None:
    q1, a1 = line(conversation, "q1", "a1")
    q2 = add(conversation, a1, "q2")
    add(conversation, q2, "a2 old")
    newest = add(conversation, q2, "a2 new")
    other = add(conversation, q1, "a1 again")
    assert select_sibling(conversation, other.pk) == other
    again = get_conversation_for_user(alice, conversation.pk)
    assert texts(branch(again)) == ["q1", "a1 again"]
    assert select_sibling(again, str(a1.pk)) == newest
    again = get_conversation_for_user(alice, conversation.pk)
    assert texts(branch(again)) == ["q1", "a1", "q2", "a2 new"]


def test_messages_of_another_conversation_are_not_found(
    alice: User, persona: Persona, conversation: Conversation
) -> None:
    (foreign,) = line(start_conversation(alice, persona), "hi")
    for call in (
        lambda: branch(conversation, leaf=foreign.pk),
        lambda: branch(conversation, before=foreign.pk),
        lambda: select_sibling(conversation, foreign.pk),
        lambda: select_sibling(conversation, "nonsense"),
    ):
        with pytest.raises(Http404):
            call()


# --- deletion --------------------------------------------------------------------


def test_delete_hides_and_undelete_brings_back(
    alice: User, conversation: Conversation
) -> None:
    (message,) = line(conversation, "hi")
    delete_conversation(conversation)
    assert not conversations_visible_to(alice).exists()
    with pytest.raises(Http404):
        get_conversation_for_user(alice, conversation.pk)
    with pytest.raises(Http404):
        get_message_for_user(alice, message.pk)
    assert undelete(alice, conversation.pk) == conversation
    assert get_message_for_user(alice, message.pk) == message


def test_purge_takes_the_words_of_the_classifier_along(
    alice: User, persona: Persona, conversation: Conversation
) -> None:
    kept = start_conversation(alice, persona)
    for each in (conversation, kept):
        RouteDecision.objects.create(
            owner=alice,
            thread_id=each.pk,
            role="chat",
            tier=2,
            decided_by="classifier",
            reason="asks about a test result",
            plan=[{"label": "m", "reason": "cheapest (asks about a test result)"}],
            cost_nano_usd=5,
        )
    delete_conversation(conversation)
    assert RouteDecision.objects.exclude(reason="").count() == 2  # can be undone
    Conversation.objects.filter(pk=conversation.pk).update(
        deleted_at=timezone.now() - timedelta(minutes=61)
    )
    purge_deleted()
    (gone,) = RouteDecision.objects.filter(thread_id=None)
    assert (gone.reason, gone.plan, gone.cost_nano_usd) == ("", [], 5)
    assert RouteDecision.objects.get(thread_id=kept.pk).reason


def test_purge_removes_only_what_was_deleted_an_hour_ago(
    alice: User, persona: Persona, conversation: Conversation
) -> None:
    line(conversation, "hi", "ho")
    recent, kept = (start_conversation(alice, persona) for _ in range(2))
    delete_conversation(conversation)
    delete_conversation(recent)
    Conversation.objects.filter(pk=conversation.pk).update(
        deleted_at=timezone.now() - timedelta(minutes=61)
    )
    assert purge_deleted() == 1
    assert purge_deleted() == 0
    assert set(Conversation.objects.all()) == {recent, kept}
    assert not Message.objects.exists()
    with pytest.raises(Http404):
        undelete(alice, conversation.pk)


def test_purge_removes_temporary_talk_a_day_after_its_last_message(
    alice: User, persona: Persona, conversation: Conversation
) -> None:
    old, recent = (start_conversation(alice, persona, temporary=True) for _ in range(2))
    now = timezone.now()
    for chat, hours in ((old, 24.1), (recent, 23.9), (conversation, 24.1)):
        line(chat, "hi", "ho")
        Conversation.objects.filter(pk=chat.pk).update(
            last_active_at=now - timedelta(hours=hours)
        )
    assert purge_deleted() == 1
    assert set(Conversation.objects.all()) == {recent, conversation}
    assert Message.objects.count() == 4
