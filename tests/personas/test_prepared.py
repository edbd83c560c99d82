"""A prepared query finds what its queryset finds."""

from __future__ import annotations

import threading
import uuid
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.models import User
from personas.conversations import conversations_visible_to, start_conversation
from personas.models import Conversation, Persona
from personas.prepared import Prepared


def visible_conversation() -> Prepared[Conversation]:
    return Prepared(
        lambda user_id, id: conversations_visible_to(User(pk=user_id)).filter(pk=id),
        [
            (User._meta.get_field("id"), -7),
            (Conversation._meta.get_field("id"), uuid.UUID(int=7)),
        ],
    )


def values(row: Any) -> dict[str, Any]:
    return {name: value for name, value in vars(row).items() if name != "_state"}


def test_the_same_objects_are_found(
    alice: User, charlie: User, persona: Persona
) -> None:
    conversation = start_conversation(alice, persona, first_text="Sea")
    prepared = visible_conversation()
    for _ in range(2):
        found = prepared.first(alice.pk, conversation.pk)
        assert found is not None
        usual = conversations_visible_to(alice).get(pk=conversation.pk)
        assert values(found) == values(usual)
        with CaptureQueriesContext(connection) as queries:
            assert values(found.persona) == values(usual.persona)
            assert values(found.owner) == values(usual.owner)
        assert len(queries) == 0
        assert prepared.first(charlie.pk, conversation.pk) is None
        assert prepared.first(alice.pk, uuid.uuid4()) is None


def test_its_sql_is_written_once(
    alice: User, persona: Persona, monkeypatch: pytest.MonkeyPatch
) -> None:
    conversation = start_conversation(alice, persona, first_text="Sea")
    prepared = visible_conversation()
    prepared.first(alice.pk, conversation.pk)

    def unwanted(*args: Any, **options: Any) -> None:
        raise AssertionError("the SQL was written again")

    compiler = "django.db.models.sql.compiler.SQLCompiler.as_sql"
    monkeypatch.setattr(compiler, unwanted)
    assert prepared.first(alice.pk, conversation.pk) == conversation


@pytest.mark.django_db(transaction=True)
def test_each_thread_has_its_own(alice: User, persona: Persona) -> None:
    conversation = start_conversation(alice, persona, first_text="Sea")
    prepared = visible_conversation()
    found: list[object] = [prepared.first(alice.pk, conversation.pk)]

    def look() -> None:
        found.append(prepared.first(alice.pk, conversation.pk))
        connection.close()

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert found == [conversation, conversation]


def test_several_rows_keep_their_order(alice: User, persona: Persona) -> None:
    for title in "abc":
        start_conversation(alice, persona, first_text=title)
    prepared = Prepared(
        lambda user_id: conversations_visible_to(User(pk=user_id)),
        [(User._meta.get_field("id"), -7)],
    )
    assert prepared.all(alice.pk) == list(conversations_visible_to(alice))
    assert prepared.all(-1) == []
