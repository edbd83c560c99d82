"""What was said beside an answer stands there after a reload, for its owner alone."""

from __future__ import annotations

import re
from collections.abc import Callable
from html import unescape

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts.models import User
from personas.conversations import start_conversation
from personas.models import Conversation, Message, Persona
from routing.models import RouteDecision

SignIn = Callable[..., Client]
SPENT = {"code": "budget", "text": "80 % of “your month” is <used>."}
BUSY = {"code": "busy", "text": "All models are busy; trying again."}


@pytest.fixture
def chat(alice: User, persona: Persona) -> Conversation:
    """An empty conversation of alice."""
    return start_conversation(alice, persona)


def answered(chat: Conversation, owner: User, *notices: dict[str, str] | str) -> None:
    """Add a question, its answer, and the decision with its notices."""
    fields = {"conversation": chat, "owner": chat.owner}
    asked = Message.objects.create(
        parent=chat.current_message, role="user", text="Q", **fields
    )
    answer = Message.objects.create(
        parent=asked, role="assistant", text="A", state="complete", **fields
    )
    chat.current_message = answer
    chat.save()
    RouteDecision.objects.create(
        owner=owner, turn_id=answer.pk, role="chat", tier=1, notices=list(notices)
    )


def notes_in(html: str) -> list[tuple[str, str]]:
    """Return code and text of each note, the templates for new messages left out."""
    found = re.findall(r'<p data-code="(\w*)">(.*?)</p>', html)
    return [(code, unescape(text)) for code, text in found]


@pytest.mark.parametrize("path", ["", "/messages"])
def test_a_warning_that_nobody_watched_is_there_after_a_reload(
    chat: Conversation, client_for: SignIn, path: str
) -> None:
    answered(chat, chat.owner)
    answered(chat, chat.owner, BUSY, SPENT)
    answered(chat, chat.owner, "Kept without a code.")

    html = client_for(chat.owner).get(f"/c/{chat.pk}{path}").content.decode()

    assert notes_in(html) == [
        ("budget", SPENT["text"]),
        ("budget", "Kept without a code."),
    ]
    assert "<used>" not in html
    second = html.split("<article")[4]
    assert "80 %" in second


def test_decisions_of_somebody_else_say_nothing(
    chat: Conversation, charlie: User, client_for: SignIn
) -> None:
    answered(chat, charlie, SPENT)
    html = client_for(chat.owner).get(f"/c/{chat.pk}").content.decode()
    assert notes_in(html) == []


def test_many_answers_take_no_more_queries_than_one(
    chat: Conversation, client_for: SignIn
) -> None:
    client = client_for(chat.owner)

    def queries() -> tuple[int, int]:
        with CaptureQueriesContext(connection) as caught:
            html = client.get(f"/c/{chat.pk}/messages").content.decode()
        return len(caught), len(notes_in(html))

    answered(chat, chat.owner, SPENT)
    queries()
    few, notes = queries()
    assert notes == 1
    for _ in range(9):
        answered(chat, chat.owner, SPENT)
    assert queries() == (few, 10)
