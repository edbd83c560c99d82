"""Who is said to have written a message, and whose messages can be edited."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.test import Client

from accounts.models import User
from channels_app.errors import TurnError
from channels_app.turn_requests import EditRequest, TurnRequest
from channels_app.turn_start import begin
from personas.context import load_material
from personas.conversations import start_conversation
from personas.models import Conversation, Message, Persona

HELP = "what you write here can be repeated to them"


@pytest.fixture
def room(alice: User, persona: Persona) -> Conversation:
    """What is said in a room of several."""
    return start_conversation(alice, persona, first_text="Room", shared=True)


def said(room: Conversation, client_id: str, **fields: object) -> Message:
    """Return a message that somebody wrote in a room; its answer is over."""
    request = TurnRequest(client_id, "hello", conversation=room.pk, **fields)  # type: ignore[arg-type]
    begun = begin(room.owner_id, request)
    assert begun.turn is not None
    Message.objects.filter(pk=begun.turn).update(state=Message.State.COMPLETE)
    return Message.objects.get(pk=begun.user_message)


def edited(message: Message, client_id: str) -> Message:
    request = EditRequest(client_id, message.pk, "better", answer=False)
    return Message.objects.get(pk=begin(message.owner_id, request).user_message)


def test_what_a_guest_wrote_is_not_the_owners_to_rewrite(room: Conversation) -> None:
    guest = said(room, "g1", author_name="Greta", from_guest=True)
    with pytest.raises(TurnError, match="Only your own messages") as refusal:
        edited(guest, "e1")
    assert refusal.value.code == "bad_request"
    assert not Message.objects.filter(text="better").exists()


def test_an_edit_keeps_the_name_of_who_wrote(room: Conversation) -> None:
    own = said(room, "o1", author_name="Al of the platform")
    better = edited(own, "e1")
    assert (better.author_name, better.from_guest) == ("Al of the platform", False)


def test_the_owner_has_a_name_where_others_write_whatever_the_door(
    room: Conversation, alice: User
) -> None:
    name = alice.get_full_name() or alice.username
    said(room, "g1", author_name="Greta", from_guest=True)
    own = said(room, "w1")
    assert (own.author_name, own.from_guest) == (name, False)
    assert edited(own, "e1").author_name == name
    material = load_material(room, upto=own)
    assert material.current is not None
    assert material.current.text == f"{name}: hello"
    alice.first_name = "x" * 150
    alice.last_name = "y" * 150
    alice.save()
    assert len(said(room, "w2").author_name) == 100


def test_who_writes_alone_needs_no_name(alice: User, persona: Persona) -> None:
    own = said(start_conversation(alice, persona, first_text="Mine"), "w1")
    assert (own.author_name, edited(own, "e1").author_name) == ("", "")


def test_the_page_says_that_others_hear_of_what_is_written(
    room: Conversation,
    alice: User,
    persona: Persona,
    client_for: Callable[..., Client],
) -> None:
    hers = client_for(alice)
    assert HELP in hers.get(f"/c/{room.pk}").content.decode()
    mine = start_conversation(alice, persona, first_text="Mine")
    assert HELP not in hers.get(f"/c/{mine.pk}").content.decode()
