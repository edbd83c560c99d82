"""Sessions that were taken over are written back: as they were, or as they are now."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from django.utils import timezone

from accounts.models import User
from personas.deletion import delete_message, purge_messages
from personas.home.session_file import read
from personas.home.session_rows import digest_of, store_session
from personas.home.session_text import own_id, own_name, own_text, session_text
from personas.models import Conversation, HomePiece, HomeSession, Message, Persona

pytestmark = pytest.mark.django_db

ROWS = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "one", "timestamp": "2025-03-01T10:00:00Z", "x": 1},
    {"role": "tool", "content": "found one"},
    {"role": "assistant", "content": "two", "model": "old", "timestamp": 1740823201},
    {"role": "user", "content": "three"},
]
FORMS = {
    "list.json": json.dumps(ROWS, indent=1),
    "object.json": json.dumps({"id": 7, "messages": ROWS, "mood": "fine"}),
    "lines.jsonl": "".join(f"{json.dumps(row)}\r\n" for row in ROWS),
}


def take(persona: Persona, name: str, text: str = "") -> HomeSession:
    raw = (text or FORMS[name]).encode()
    store_session(persona, name, digest_of(raw), read(name, raw), 1_740_000_000)
    return HomeSession.objects.select_related("conversation").get(name=name)


def messages(session: HomeSession) -> dict[str, Message]:
    rows = Message.objects.filter(conversation=session.conversation)
    return {message.text: message for message in rows}


def rows_of(name: str, text: str) -> list[dict[str, object]]:
    if name.endswith("l"):
        return [json.loads(line) for line in text.splitlines()]
    value = json.loads(text)
    return value if isinstance(value, list) else value["messages"]


@pytest.mark.parametrize("name", FORMS)
def test_an_untouched_session_is_its_old_text(persona: Persona, name: str) -> None:
    assert session_text(take(persona, name)) == FORMS[name]


@pytest.mark.parametrize("name", FORMS)
def test_what_was_added_stands_behind_the_old_entries(
    alice: User, persona: Persona, name: str
) -> None:
    session = take(persona, name)
    conversation = session.conversation
    assert conversation is not None
    conversation.current_message = Message.objects.create(
        conversation=conversation,
        owner=alice,
        parent=conversation.current_message,
        role="assistant",
        text='four "\n',
        model="new",
    )
    conversation.save()
    session.refresh_from_db()

    text = session_text(session)

    rows = rows_of(name, text)
    assert rows[:5] == ROWS
    assert (rows[5]["role"], rows[5]["content"]) == ("assistant", 'four "\n')
    assert len(rows) == 6
    if name == "object.json":
        assert json.loads(text)["mood"] == "fine"


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("purged", [False, True])
def test_a_deleted_message_goes_with_what_tools_said_of_it(
    alice: User, persona: Persona, name: str, purged: bool
) -> None:
    session = take(persona, name)
    delete_message(alice, messages(session)["one"].pk)
    if purged:
        Message.objects.exclude(deleted_at=None).update(
            deleted_at=timezone.now() - timedelta(hours=2)
        )
        assert purge_messages() == 1
        assert not HomePiece.objects.filter(text__contains="one").exists()

    rows = rows_of(name, session_text(session))

    assert rows == [ROWS[0], *ROWS[3:]]


@pytest.mark.parametrize("name", FORMS)
def test_all_messages_may_be_deleted(alice: User, persona: Persona, name: str) -> None:
    session = take(persona, name)
    for message in messages(session).values():
        delete_message(alice, message.pk)

    assert rows_of(name, session_text(session)) == ROWS[:1]


def test_an_empty_session_can_be_gone_on_with(alice: User, persona: Persona) -> None:
    for name, text in {"a.json": "[ ]", "b.jsonl": "\n"}.items():
        session = take(persona, name, text)
        assert session_text(session) == text
        conversation = Conversation.objects.get(home_session=session)
        Message.objects.create(
            conversation=conversation, owner=alice, role="user", text="Hello"
        )

        assert rows_of(name, session_text(session).strip())[0]["content"] == "Hello"


def test_messages_without_times_come_in_their_order(persona: Persona) -> None:
    rows = [{"role": "user", "content": str(number)} for number in range(5)]
    rows[3]["timestamp"] = "2025-03-01T10:00:00Z"

    session = take(persona, "a.json", json.dumps(rows))

    found = list(Message.objects.filter(conversation=session.conversation))
    assert [message.text for message in found] == ["0", "1", "2", "3", "4"]
    assert found[3].created_at.isoformat() == "2025-03-01T10:00:00+00:00"
    assert found[4].parent == found[3]
    undated = take(persona, "b.json", json.dumps(rows[:2]))
    first = Message.objects.filter(conversation=undated.conversation).first()
    assert first is not None
    assert f"{first.created_at:%Y-%m-%d}" == "2025-02-19"  # when the file was changed


def test_guests_stay_guests(persona: Persona) -> None:
    row = {"role": "user", "content": "Hi", "author": "Tom", "guest": True}

    session = take(persona, "a.json", json.dumps([row]))

    message = messages(session)["Hi"]
    assert (message.from_guest, message.author_name) == (True, "Tom")
    conversation = Conversation.objects.get(home_session=session)
    assert conversation.shared
    entry = json.loads(own_text(conversation))["messages"][0]
    assert (entry["guest"], entry["author"]) == (True, "Tom")
    assert own_id(own_name(conversation)) == conversation.pk
    assert own_id("cortex-no.json") is None
    assert own_id("2025.json") is None


def test_only_the_branch_that_is_shown_is_written(
    alice: User, persona: Persona
) -> None:
    conversation = Conversation.objects.create(owner=alice, persona=persona)
    asked = Message.objects.create(
        conversation=conversation, owner=alice, role="user", text="asked"
    )
    for text in ("first answer", "second answer"):
        conversation.current_message = Message.objects.create(
            conversation=conversation,
            owner=alice,
            role="assistant",
            text=text,
            parent=asked,
        )
    conversation.save()

    rows = json.loads(own_text(conversation))["messages"]

    assert [row["content"] for row in rows] == ["asked", "second answer"]
