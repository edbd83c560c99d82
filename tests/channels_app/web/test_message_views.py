"""Single messages on the chat page: deleting, their address, notes and the switch."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import User
from channels_app.models import InboundEvent, OutboundReply, QueuedTask
from channels_app.turn_requests import OWN_ID
from personas.conversations import start_conversation
from personas.files import save_file
from personas.memory.notes import notes_of
from personas.models import (
    Conversation,
    MemoryNote,
    MemoryRun,
    Message,
    Persona,
    PersonaFile,
)
from tests.personas.trees import add, line
from tests.support.bots import make_channel

FETCH = {"X-Requested-With": "fetch"}
LINE = "- 2026-11-20 Plays the cello. <!-- pin -->"


@pytest.fixture
def chat(alice: User, persona: Persona) -> Conversation:
    return start_conversation(alice, persona, first_text="Swordfish is the word")


@pytest.fixture
def said(chat: Conversation) -> list[Message]:
    return line(chat, "Swordfish is the word", "Swordfish, noted", "Thanks")


@pytest.fixture
def client(alice: User, client_for: Callable[..., Client]) -> Client:
    return client_for(alice)


def post(client: Client, message: Message, act: str, **headers: str) -> tuple[int, str]:
    path = f"/c/{message.conversation_id}/messages/{message.pk}/{act}"
    response = client.post(path, headers=headers)
    return response.status_code, response.get("Location", response.content.decode())


def page_of(client: Client, chat: Conversation, query: str = "") -> str:
    response = client.get(f"/c/{chat.pk}{query}")
    assert response.status_code == 200
    return response.content.decode()


def test_a_deleted_message_leaves_a_line_with_undo(
    client: Client, chat: Conversation, said: list[Message]
) -> None:
    asked = said[0]
    place = f"/c/{chat.pk}?message={asked.pk}#m-{asked.pk}"
    assert post(client, asked, "delete") == (302, place)
    assert post(client, said[1], "delete")[0] == 302
    page = page_of(client, chat)
    assert "Swordfish" not in page  # nor in the title
    assert page.count("This message was deleted.") == 2
    assert f"{asked.pk}/undelete" in page
    assert post(client, asked, "undelete") == (302, place)
    assert "Swordfish is the word" in page_of(client, chat)


def test_a_script_gets_the_message_alone(client: Client, said: list[Message]) -> None:
    status, fragment = post(client, said[0], "delete", **FETCH)
    assert status == 200
    assert fragment.count("<article") == 1
    assert 'data-state="deleted"' in fragment and "Swordfish" not in fragment
    _, fragment = post(client, said[0], "undelete", **FETCH)
    assert "Swordfish is the word" in fragment


@pytest.mark.parametrize("headers", [{}, FETCH])
def test_an_answer_being_written_is_refused_in_words(
    client: Client, said: list[Message], headers: dict[str, str]
) -> None:
    Message.objects.filter(pk=said[1].pk).update(state=Message.State.GENERATING)
    status, words = post(client, said[1], "delete", **headers)
    assert status == 409
    assert "still being written: stop it first" in words


def test_after_the_hour_there_is_no_undo(
    client: Client, chat: Conversation, said: list[Message]
) -> None:
    post(client, said[0], "delete")
    Message.objects.update(deleted_at=timezone.now() - timedelta(minutes=61))
    assert "/undelete" not in page_of(client, chat)
    status, words = post(client, said[0], "undelete", **FETCH)
    assert status == 409 and "more than an hour ago" in words


def test_no_other_page_shows_it(
    client: Client, alice: User, chat: Conversation, said: list[Message]
) -> None:
    asked, answered, _ = said
    for message in (asked, answered):
        post(client, message, "delete")
    other = start_conversation(alice, chat.persona)
    for path in (
        f"/c/{chat.pk}",
        f"/c/{chat.pk}/messages?message={answered.pk}",
        f"/c/{chat.pk}?before={said[2].pk}",
        f"/jobs/briefs/new/?conversation={chat.pk}",
        "/",
        f"/c/{other.pk}",
        "/money/",
    ):
        page = client.get(path, follow=True)
        assert page.status_code == 200, path
        assert "swordfish" not in page.content.decode().lower(), path
    assert client.get(f"/c/{chat.pk}/why/{answered.pk}").status_code == 404


def test_the_result_of_a_brief_goes_and_comes_with_its_answer(
    client: Client, alice: User, chat: Conversation, said: list[Message]
) -> None:
    task = QueuedTask.objects.create(
        owner=alice, persona=chat.persona, text="?", state="done", result=said[1].text
    )
    answer = said[1]
    Message.objects.filter(pk=answer.pk).update(client_id=f"{OWN_ID}task-{task.pk}")
    post(client, answer, "delete")
    task.refresh_from_db()
    assert task.result == ""
    post(client, answer, "undelete")
    task.refresh_from_db()
    assert task.result == "Swordfish, noted"


@pytest.mark.parametrize("state", ["pending", "failed", "unknown", "sent"])
def test_what_was_not_sent_yet_of_an_answer_is_not_sent(
    client: Client, persona: Persona, said: list[Message], state: str
) -> None:
    channel = make_channel(persona)
    event = InboundEvent.objects.create(
        channel=channel, external_id="1", turn_id=said[1].pk
    )
    other = InboundEvent.objects.create(channel=channel, external_id="2")
    waiting, kept = (
        OutboundReply.objects.create(
            channel=channel, event=each, room_id="r", text="Swordfish", state=state
        )
        for each in (event, other)
    )
    post(client, said[1], "delete")
    waiting.refresh_from_db()
    kept.refresh_from_db()
    expected = ("sent", "Swordfish") if state == "sent" else ("failed", "")
    assert (waiting.state, waiting.text) == expected
    assert (kept.state, kept.text) == (state, "Swordfish")


# --- the address of a message ---------------------------------------------------------


def test_the_address_of_a_message_leads_to_it(
    client: Client, chat: Conversation, said: list[Message]
) -> None:
    answer = client.get(f"/m/{said[1].pk}", follow=True)
    page = answer.content.decode()
    assert f'id="m-{said[1].pk}"' in page
    assert page.count(" found") == 1
    assert "data-older" not in page  # everything is there, so one can go on talking
    assert " found" not in page_of(client, chat)


def test_an_old_message_is_shown_among_its_neighbours(
    client: Client, chat: Conversation
) -> None:
    long = line(chat, *(f"word {number}." for number in range(120)))
    Conversation.objects.update(current_message=long[-1])
    page = client.get(f"/m/{long[20].pk}", follow=True).content.decode()
    assert page.count("<article") == 30 + 2  # and the page's two templates
    assert "word 20." in page and "word 35." in page and "word 36." not in page
    assert "data-older" in page and "Back to the newest messages" in page


def test_a_message_on_another_branch_is_shown_and_nothing_is_changed(
    client: Client, chat: Conversation, said: list[Message]
) -> None:
    other = add(chat, said[0], "Another answer")
    below = add(chat, other, "And more")
    Conversation.objects.update(current_message=said[2])
    page = client.get(f"/m/{other.pk}", follow=True).content.decode()
    assert "Another answer" in page and "And more" in page
    assert "Swordfish, noted" not in page
    assert "Go on from here" in page
    chat.refresh_from_db()
    assert chat.current_message_id == said[2].pk
    client.post(f"/c/{chat.pk}/branch", {"message": str(other.pk)})
    chat.refresh_from_db()
    assert chat.current_message_id == below.pk


def test_a_message_of_nobody_or_of_another_chat_is_not_found(
    client: Client, alice: User, chat: Conversation, said: list[Message]
) -> None:
    other = start_conversation(alice, chat.persona)
    assert client.get(f"/m/{uuid.uuid4()}").status_code == 404
    assert client.get(f"/c/{other.pk}?message={said[0].pk}").status_code == 404


# --- notes and the switch -------------------------------------------------------------


@pytest.fixture
def note(alice: User, persona: Persona, said: list[Message]) -> MemoryNote:
    """The first message led to a line of the memory."""
    save_file(persona, "MEMORY_SHORT.md", f"# Short\n\n{LINE}\n", author=alice)
    run = MemoryRun.objects.create(
        persona=persona,
        step="short",
        state="applied",
        changes=[{"file": "MEMORY_SHORT.md", "remove": [], "add": [LINE]}],
    )
    return MemoryNote.objects.create(run=run, message=said[0], line=LINE)


def test_a_message_tells_what_was_remembered_and_that_can_be_undone(
    client: Client, chat: Conversation, said: list[Message], note: MemoryNote
) -> None:
    page = page_of(client, chat)
    assert "Remembered: Plays the cello.</span>" in page
    path = f"/c/{chat.pk}/messages/{said[0].pk}/notes/{note.pk}/undo"
    assert path in page
    assert client.post(path).status_code == 302
    assert "Remembered" not in page_of(client, chat)
    assert "cello" not in PersonaFile.objects.get(name="MEMORY_SHORT.md").text
    assert client.post(path).status_code == 302  # again: nothing


def test_a_note_belongs_to_its_message(
    client: Client, chat: Conversation, said: list[Message], note: MemoryNote
) -> None:
    path = f"/c/{chat.pk}/messages/{said[2].pk}/notes/{note.pk}/undo"
    assert client.post(path).status_code == 404
    assert "cello" in PersonaFile.objects.get(name="MEMORY_SHORT.md").text


@pytest.mark.parametrize(
    "change",
    [
        lambda note: MemoryRun.objects.update(state="waiting"),
        lambda note: MemoryNote.objects.update(undone_at=timezone.now()),
        lambda note: PersonaFile.objects.update(text=""),
        lambda note: Message.objects.update(deleted_at=timezone.now()),
    ],
    ids=["waits", "undone", "not in the memory any more", "message deleted"],
)
def test_what_is_not_in_the_memory_has_no_note(
    alice: User, note: MemoryNote, change: Callable[[MemoryNote], object]
) -> None:
    assert len(notes_of(alice, [note.message_id])[note.message_id]) == 1
    change(note)
    assert notes_of(alice, [note.message_id]) == {}


def test_notes_are_for_the_owner_alone(bob: User, note: MemoryNote) -> None:
    assert notes_of(bob, [note.message_id]) == {}


def test_the_switch_pauses_the_memory_of_a_chat(
    client: Client, chat: Conversation
) -> None:
    assert 'aria-checked="true"' in page_of(client, chat)
    path = f"/c/{chat.pk}/memory"
    assert client.post(path, {"remember": "off"}).status_code == 302
    chat.refresh_from_db()
    assert chat.memory_paused
    page = page_of(client, chat)
    assert "memory paused" in page and 'aria-checked="false"' in page
    client.post(path, {"remember": "on"})
    chat.refresh_from_db()
    assert not chat.memory_paused


def test_a_temporary_chat_has_no_switch(client: Client, chat: Conversation) -> None:
    Conversation.objects.update(temporary=True)
    assert "Remember this chat" not in page_of(client, chat)
