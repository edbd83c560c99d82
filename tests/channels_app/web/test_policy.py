"""Who answers in a conversation: the page, the picker, and what a message carries."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from accounts.models import User
from channels_app.turn_requests import EditRequest, RetryRequest, TurnRequest
from channels_app.turn_start import Call, begin
from channels_app.web.model_choices import model_choices, value_of
from personas.conversations import start_conversation
from personas.models import Conversation, Message, Persona
from personas.policies import AnswerPolicy
from routing.models import Host, Model, RoleSlot

SignIn = Callable[..., Client]
pytestmark = pytest.mark.django_db


@pytest.fixture
def chat(alice: User, persona: Persona) -> Conversation:
    """A conversation of alice in which whoever is set up answers."""
    return start_conversation(alice, persona)


def make_model(label: str = "far", type: str = "local_openai") -> Model:
    host = Host.objects.create(name=label, type=type, base_url="http://box/v1")
    return Model.objects.create(host=host, label=label, name=label, tier=2)


def policy_of(chat: Conversation) -> AnswerPolicy:
    chat.refresh_from_db()
    return AnswerPolicy.of(chat)


def selected(html: str) -> list[str]:
    return re.findall(r'<option value="([^"]*)"[^>]* selected', html)


@pytest.mark.parametrize(
    ("value", "policy"),
    [
        ("", AnswerPolicy()),
        ("auto", AnswerPolicy(0)),
        ("tier:3", AnswerPolicy(3)),
        ("model:far", AnswerPolicy(None, "far")),
    ],
)
def test_a_choice_is_kept_and_shown(
    chat: Conversation, client_for: SignIn, value: str, policy: AnswerPolicy
) -> None:
    make_model()
    client = client_for(chat.owner)

    saved = client.post(f"/c/{chat.pk}/policy", {"route": value})

    assert saved.status_code == 302
    assert saved["Location"] == f"/c/{chat.pk}"
    assert policy_of(chat) == policy
    assert value_of(policy) == value
    assert selected(client.get(f"/c/{chat.pk}").content.decode()) == [value]
    page = client.get(f"/c/{chat.pk}/policy").content.decode()
    assert re.findall(r'value="([^"]*)" checked', page) == [value]


def test_a_script_gets_no_page(chat: Conversation, client_for: SignIn) -> None:
    client = client_for(chat.owner)
    headers = {"X-Requested-With": "fetch"}
    path = f"/c/{chat.pk}/policy"
    assert client.post(path, {"route": "tier:1"}, headers=headers).status_code == 204
    assert policy_of(chat) == AnswerPolicy(1)


@pytest.mark.parametrize("value", ["model:nobody", "tier:4", "tier:", "anything", None])
def test_what_is_not_offered_is_refused(
    chat: Conversation, client_for: SignIn, value: str | None
) -> None:
    form = {} if value is None else {"route": value}
    response = client_for(chat.owner).post(f"/c/{chat.pk}/policy", form)
    assert response.status_code == 400
    assert "cannot be had any more" in response.content.decode()
    assert policy_of(chat) == AnswerPolicy()


def test_nobody_else_sees_or_changes_it(
    chat: Conversation, charlie: User, client_for: SignIn
) -> None:
    client = client_for(charlie)
    assert client.get(f"/c/{chat.pk}/policy").status_code == 404
    path = f"/c/{chat.pk}/policy"
    assert client.post(path, {"route": "auto"}).status_code == 404
    assert policy_of(chat) == AnswerPolicy()


def test_every_choice_says_in_a_line_what_it_means(
    alice: User, persona: Persona
) -> None:
    make_model("Vendor", "gemini_api")
    choices = model_choices(alice, persona)
    values = [choice.value for choice in choices]
    assert values[:5] == ["", "auto", "tier:1", "tier:2", "tier:3"]
    assert "model:gemini_api" in values
    assert "model:gemini_cli" not in values
    assert len(values) == len(set(values))
    assert all(choice.help.endswith(".") for choice in choices)


def test_the_first_choice_names_who_is_set_up(alice: User, persona: Persona) -> None:
    def help_of(role: str) -> str:
        persona.model_role = role
        return model_choices(alice, persona).chosen_help

    assert help_of("chat") == "Nobody is chosen for “chat” yet, so Cortex chooses."
    assert help_of("coder") == "Nobody is chosen for “coder” yet, so nobody answers."
    for position, label in enumerate(("one", "two", "three")):
        model = make_model(label)
        RoleSlot.objects.create(role="chat", position=position, model=model)
    RoleSlot.objects.create(owner=alice, role="coder", position=0, plain_id="builtin")
    assert help_of("chat") == "one answers, else two, three."
    assert help_of("coder") == "builtin answers."


def test_a_model_that_is_gone_stays_chosen_and_says_so(chat: Conversation) -> None:
    chat.model_label = "gone"
    choices = model_choices(chat.owner, chat.persona, chat)
    assert choices.chosen == "model:gone"
    assert "cannot be had" in choices.chosen_help


# --- what a message carries ---------------------------------------------------------


def call_of(user: User, **fields: Any) -> Call:
    request = TurnRequest(str(uuid.uuid4()), "Hi", **fields)
    call = begin(user.pk, request).call
    assert call is not None
    return call


def asked(call: Call) -> tuple[Any, Any, bool]:
    return call.model, call.tier, call.asked


def test_a_message_says_more_than_the_policy(chat: Conversation) -> None:
    def ask(**fields: Any) -> tuple[Any, Any, bool]:
        found = asked(call_of(chat.owner, conversation=chat.pk, **fields))
        Message.objects.update(state="complete")
        return found

    assert ask() == (None, None, False)
    chat.tier = 0
    chat.save()
    assert ask() == (None, "auto", False)
    assert ask(tier=3) == (None, 3, True)
    assert ask(model="far") == ("far", None, True)
    chat.tier, chat.model_label = None, "near"
    chat.save()
    assert ask() == ("near", None, False)
    assert ask(tier="auto") == (None, "auto", True)


def test_a_new_conversation_takes_its_policy_along(
    alice: User, persona: Persona
) -> None:
    persona.tier = 2
    persona.save()
    assert asked(call_of(alice, persona="inara")) == (None, 2, False)
    chain = call_of(alice, persona="inara", policy=AnswerPolicy())
    assert asked(chain) == (None, None, False)
    named = call_of(alice, persona="inara", policy=AnswerPolicy(None, "far"))
    assert asked(named) == ("far", None, False)
    kept = Conversation.objects.order_by("created_at").values_list(
        "tier", "model_label"
    )
    assert list(kept) == [(2, ""), (None, ""), (None, "far")]


def test_another_try_names_the_answer_that_it_is_to_better(chat: Conversation) -> None:
    begun = begin(chat.owner_id, TurnRequest("c1", "Hi", conversation=chat.pk))
    assert begun.turn is not None
    assert begun.call is not None
    assert begun.call.redo_of is None
    Message.objects.update(state="complete")

    again = begin(chat.owner_id, RetryRequest("c2", begun.turn, tier=3)).call

    assert again is not None
    assert again.redo_of == begun.turn
    assert asked(again) == (None, 3, True)
    Message.objects.update(state="complete")
    edit = begin(chat.owner_id, EditRequest("c3", begun.user_message, "Ho")).call
    assert edit is not None
    assert edit.redo_of is None
