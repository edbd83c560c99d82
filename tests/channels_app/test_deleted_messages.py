"""What cannot be done any more with a message that its person deleted."""

from __future__ import annotations

import uuid

import pytest

from accounts.models import User
from channels_app.errors import TurnError
from channels_app.jobs.beat_steps import retention
from channels_app.turn_requests import EditRequest, RetryRequest, TurnRequest
from channels_app.turn_rows import state_for_user
from channels_app.turn_start import begin
from ledger import previews
from personas.conversations import start_conversation
from personas.deletion import delete_message, purgeable_messages
from personas.models import Message, Persona
from tests.personas.test_deletion import let_an_hour_pass
from tests.personas.trees import line
from tests.support.ledger import book, make_caller


@pytest.fixture
def said(alice: User, persona: Persona) -> list[Message]:
    return line(start_conversation(alice, persona), "What is a cello?", "A friend")


def refused(user: User, request: EditRequest | RetryRequest | TurnRequest) -> str:
    with pytest.raises(TurnError) as caught:
        begin(user.pk, request)
    return f"{caught.value.code}: {caught.value.message}"


def test_it_is_neither_edited_nor_asked_again(alice: User, said: list[Message]) -> None:
    asked, answered = said
    delete_message(alice, asked.pk)
    edit = EditRequest(client_id="e", message=asked.pk, text="Another", answer=True)
    assert refused(alice, edit) == "not_found: There is no such message."
    retry = RetryRequest(client_id="r", message=answered.pk)
    assert (
        refused(alice, retry) == "bad_request: The message that it answers was deleted."
    )
    delete_message(alice, answered.pk)
    assert refused(alice, retry) == "not_found: There is no such message."
    assert Message.objects.count() == 2


def test_its_text_is_not_had_by_repeating_the_request(
    alice: User, said: list[Message]
) -> None:
    """Neither by the turn's id, nor by the client id that began it."""
    asked, answered = said
    Message.objects.update(client_id="mine", channel="api")
    again = TurnRequest(
        client_id="mine",
        text=asked.text,
        channel="api",
        conversation=asked.conversation_id,
    )
    assert begin(alice.pk, again).turn == answered.pk
    delete_message(alice, answered.pk)
    with pytest.raises(TurnError, match="no such answer"):
        state_for_user(alice.pk, answered.pk)
    sentence = "not_found: What was begun with this client_id was deleted."
    assert refused(alice, again) == sentence


def test_its_beginning_goes_from_the_previews_of_calls(
    alice: User, said: list[Message]
) -> None:
    asked, answered = said
    calls = [
        book(alice, caller=make_caller(alice, turn_id=turn))
        for turn in (answered.pk, uuid.uuid4())
    ]
    for call in calls:
        previews.seal(call, alice.pk, asked.text).save()
    delete_message(alice, asked.pk)
    assert previews.for_user(alice, calls) == {calls[1]: asked.text}


def test_the_heartbeat_empties_it_after_an_hour(
    alice: User, said: list[Message]
) -> None:
    delete_message(alice, said[0].pk)
    assert retention.find() == 0
    let_an_hour_pass()
    assert retention.find() == 1
    for purge in retention.PURGES:
        while purge.remove():
            pass
    assert retention.find() == 0 and not purgeable_messages().exists()
    assert Message.objects.get(pk=said[0].pk).text == ""
