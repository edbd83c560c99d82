"""The sidebar's list: what is shown, in which groups, and to whom."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from django.template.loader import render_to_string

from accounts.models import User
from channels_app.web.chat_list import PAGE_SIZE, chat_list, group_by_day
from personas.conversations import delete_conversation, start_conversation
from personas.models import Conversation, Message, Persona
from personas.personas import create_persona

NOW = datetime(2026, 3, 18, 1, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("age", "group"),
    [
        (timedelta(0), "Today"),
        (timedelta(hours=-3), "Today"),
        (timedelta(hours=2), "Yesterday"),
        (timedelta(days=1, hours=2), "Last 7 days"),
        (timedelta(days=6), "Last 7 days"),
        (timedelta(days=7), "Last 30 days"),
        (timedelta(days=40), "February"),
        (timedelta(days=400), "February 2025"),
    ],
)
def test_groups_follow_the_calendar(age: timedelta, group: str) -> None:
    rows = [Conversation(last_active_at=NOW - age)]
    assert group_by_day(rows, ZoneInfo("UTC"), NOW) == [(group, rows)]


def test_midnight_is_that_of_the_persons_time_zone() -> None:
    rows = [Conversation(last_active_at=NOW - timedelta(hours=2))]
    assert group_by_day(rows, ZoneInfo("Asia/Tokyo"), NOW) == [("Today", rows)]
    assert group_by_day(rows, ZoneInfo("UTC"), NOW) == [("Yesterday", rows)]


def test_only_the_personas_own_undeleted_chats_are_shown(
    alice: User, persona: Persona
) -> None:
    other = create_persona(
        alice, template="developer", name="tina", display_name="Tina"
    )
    shown = start_conversation(alice, persona, first_text="Shown")
    start_conversation(alice, other, first_text="Of another persona")
    delete_conversation(start_conversation(alice, persona, first_text="Deleted"))
    assert chat_list(alice, persona).groups == [("Today", [shown])]


def test_a_running_answer_marks_its_chat_with_one_query(
    alice: User, persona: Persona, django_assert_num_queries: object
) -> None:
    quiet = start_conversation(alice, persona, first_text="Quiet")
    running = start_conversation(alice, persona, first_text="Running")
    Message.objects.create(
        conversation=running, owner=alice, role="assistant", state="generating"
    )
    with django_assert_num_queries(1):  # type: ignore[operator]
        [(_, rows)] = chat_list(alice, persona).groups
    assert {row.pk: row.running for row in rows} == {  # type: ignore[attr-defined]
        quiet.pk: False,
        running.pk: True,
    }


def test_a_long_list_is_cut_and_says_how_to_see_more(
    alice: User, persona: Persona
) -> None:
    Conversation.objects.bulk_create(
        Conversation(owner=alice, persona=persona) for _ in range(PAGE_SIZE + 1)
    )
    first = chat_list(alice, persona)
    assert sum(len(rows) for _, rows in first.groups) == PAGE_SIZE
    assert first.more == 2 * PAGE_SIZE
    assert chat_list(alice, persona, first.more).more is None


def test_doors_and_shared_rooms_are_marked(alice: User, persona: Persona) -> None:
    doors = {
        "Web": ["web"],
        "Joined": ["web", "google_chat"],
        "Bot": ["google_chat", "web"],
        "Room": ["web", "nextcloud_talk"],
        "Empty": [],
    }
    for title, channels in doors.items():
        chat = start_conversation(
            alice, persona, first_text=title, shared=title == "Room"
        )
        for channel in channels:
            chat.current_message = Message.objects.create(
                conversation=chat, owner=alice, role="user", channel=channel
            )
        chat.save()
    context = {"chats": chat_list(alice, persona), "current_persona": persona}
    html = render_to_string("chat/list.html", context)
    items = {
        title: item
        for item in html.split('<li class="chat-item"')[1:]
        for title in doors
        if f'class="chat-link-title">{title}<' in item
    }
    assert "Others read along" in items["Room"]
    assert ">Nextcloud Talk</span>" in items["Room"]
    assert ">Google Chat</span>" in items["Bot"]
    for title in ("Web", "Joined", "Empty"):
        assert "chat-marks" not in items[title]
