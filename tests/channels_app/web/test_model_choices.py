"""Which models the picker of a chat offers."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from accounts.models import User
from channels_app.web.model_choices import model_choices
from personas.conversations import start_conversation
from personas.models import Persona
from routing.models import Host, Model, RoleSlot

pytestmark = pytest.mark.django_db


@pytest.fixture
def models(db: None) -> dict[str, Model]:
    """Make one model in the house and one outside of it."""
    made = {}
    for label, is_local in (("near", True), ("far", False)):
        host = Host.objects.create(
            name=label,
            type=Host.Type.LOCAL_OPENAI,
            base_url="http://127.0.0.1:9/v1",
            is_local=is_local,
        )
        made[label] = Model.objects.create(host=host, label=label, name=label)
    return made


def offered(html: str) -> set[str]:
    """Return the models that a page offers."""
    return {name for name in ("builtin", "near", "far") if f'"model:{name}"' in html}


@pytest.mark.parametrize("which", ["persona", "conversation", "neither"])
def test_private_chats_offer_only_models_of_the_house(
    alice: User, persona: Persona, models: dict[str, Model], client: Client, which: str
) -> None:
    persona.private = which == "persona"
    persona.save()
    chat = start_conversation(alice, persona)
    chat.private = which == "conversation"
    chat.save()
    client.force_login(alice)

    found = offered(client.get(f"/c/{chat.pk}").content.decode())

    assert found == {"builtin", "near"} | ({"far"} if which == "neither" else set())


def test_a_new_chat_says_when_the_built_in_model_will_answer(
    alice: User, persona: Persona, models: dict[str, Model], client: Client
) -> None:
    Host.objects.update(enabled=False)
    client.force_login(alice)
    note = "This is the small built-in model."
    assert model_choices(alice, persona).builtin_answers
    assert note in client.get("/?persona=inara").content.decode()

    Host.objects.update(enabled=True)
    RoleSlot.objects.create(role="chat", position=0, model=models["far"])

    assert not model_choices(alice, persona).builtin_answers
    assert note not in client.get("/?persona=inara").content.decode()


def test_named_models_stand_under_their_host_with_what_is_amiss(
    alice: User, persona: Persona, models: dict[str, Model]
) -> None:
    near, far = models["near"].host, models["far"].host
    Model.objects.create(host=far, label="far two", name="two")
    Host.objects.filter(pk=near.pk).update(flagged="The program was not found.")
    soon = timezone.now() + timedelta(minutes=1)
    Host.objects.filter(pk=far.pk).update(cooling_until=soon)

    groups = {
        label: [choice.name for choice in choices]
        for label, choices in model_choices(alice, persona).groups
    }

    assert groups["On near"] == ["near (local, host has a problem)"]
    assert groups["On far"] == [
        "far (host is resting)",
        "far two (host is resting)",
    ]
