"""Fill an installation for a measurement: ``python -m bench.prepare UPSTREAM_URL``.

With the address of a Nextcloud behind it, an installation that was filled before gets
a bot in many rooms, and the object is ``{"webhook": path of its address}``. Otherwise
makes people with a persona, a conversation with history for each stream, a shared host
with the models that a measurement asks for, and a session for each person. Prints one
JSON object ``{"cookie_name", "people": [{"name", "session", "conversations": [{"id",
"parent"}]}], "api_token"}``; the token is that of the last person, whose chat goes to
the first model.
"""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING

import django

if TYPE_CHECKING:
    from accounts.models import User
    from personas.models import Persona

PEOPLE = 50
CONVERSATIONS_EACH = 2
HISTORY_MESSAGES = 20
MODELS = (
    "tokens-5-10ms",
    "tokens-800-10ms",
    "tokens-20000",
    "tokens-1000-1ms",
    "tokens-10000-1ms",
)
TALK_SECRET = "bench-secret-of-a-talk-bot-0123456789abcdef"  # noqa: S105 - loopback
TALK_ROOMS = tuple(f"room{number:02}" for number in range(50))
CLAUDE_LABEL = "claude by its program"
QUESTION = "How was the sea today, and what did the boats bring home? " * 3
ANSWER = "It was calm in the morning; the boats brought mackerel and news. " * 6


def make_models(upstream_url: str) -> None:
    """Register the upstream as a shared host with a priced model for each cadence."""
    from routing.models import Host, Model

    host = Host.objects.create(
        name="bench", type=Host.Type.LOCAL_OPENAI, base_url=f"{upstream_url}/v1"
    )
    for name in MODELS:
        Model.objects.create(
            host=host,
            label=name,
            name=name,
            context_tokens=32_768,
            max_output_tokens=30_000,
            input_price_nano_usd_per_mtok=250_000_000,
            output_price_nano_usd_per_mtok=1_250_000_000,
        )


def make_claude() -> None:
    """Register Claude by its program; the upstream stands in its vendor's place."""
    from accounts.secrets import encrypt
    from routing.models import Host, Model

    host = Host.objects.create(
        name="Claude by its program",
        type=Host.Type.CLAUDE_CLI,
        key_encrypted=encrypt("host_key", "sk-bench"),
    )
    Model.objects.create(
        host=host,
        label=CLAUDE_LABEL,
        name=MODELS[0],
        context_tokens=200_000,
        max_output_tokens=1000,
        input_price_nano_usd_per_mtok=1_000_000_000,
        output_price_nano_usd_per_mtok=5_000_000_000,
    )


def make_conversation(user: User, persona: Persona) -> dict[str, str]:
    """Write a conversation with history and return its id and last answer."""
    from personas.models import Conversation, Message

    conversation = Conversation.objects.create(owner=user, persona=persona, title="Sea")
    parent = None
    for number in range(HISTORY_MESSAGES):
        asked = number % 2 == 0
        parent = Message.objects.create(
            conversation=conversation,
            owner=user,
            parent=parent,
            role=Message.Role.USER if asked else Message.Role.ASSISTANT,
            text=QUESTION if asked else ANSWER,
        )
    conversation.current_message = parent
    conversation.save(update_fields=["current_message"])
    return {"id": str(conversation.id), "parent": str(parent and parent.id)}


def make_person(number: int) -> dict[str, object]:
    """Create a person with persona, conversations and a session."""
    from django.conf import settings
    from django.test import Client

    from accounts.models import User
    from accounts.roles import set_role
    from personas.personas import create_persona

    name = f"person{number}"
    user = User.objects.create_user(name, f"{name}@example.org")
    set_role(user, is_admin=False)
    persona = create_persona(
        user, template="companion", name="inara", display_name="Inara"
    )
    client = Client(HTTP_HOST=settings.ALLOWED_HOSTS[0])
    client.force_login(user)
    return {
        "name": name,
        "session": client.cookies[settings.SESSION_COOKIE_NAME].value,
        "conversations": [
            make_conversation(user, persona) for _ in range(CONVERSATIONS_EACH)
        ],
    }


def make_program(username: str) -> str:
    """Let one model answer a person's chats and return a token for their programs."""
    from accounts.models import User
    from accounts.tokens import create_token
    from routing.models import Model, RoleSlot

    owner = User.objects.get(username=username)
    RoleSlot.objects.create(
        owner=owner, role="chat", position=0, model=Model.objects.get(label=MODELS[0])
    )
    return create_token(owner, scopes=["chat"])


def make_talk_bot(nextcloud_url: str) -> str:
    """Give the first person a bot that answers in many rooms, one person each round."""
    from accounts.models import User
    from accounts.roles import set_role
    from channels_app.bots.channels import PATHS, set_secrets
    from channels_app.models import Channel, ChannelRoom, LinkedIdentity
    from routing.models import Model, RoleSlot

    owner = User.objects.get(username="person0")
    set_role(owner, is_admin=True)  # whose Nextcloud may be on loopback
    RoleSlot.objects.create(
        owner=owner, role="chat", position=0, model=Model.objects.get(label=MODELS[0])
    )
    kind = Channel.Kind.NEXTCLOUD_TALK
    channel = Channel(
        owner=owner,
        kind=kind,
        persona=owner.personas.get(),
        settings={"url": nextcloud_url},
    )
    set_secrets(channel, {"secret": TALK_SECRET})
    channel.save()
    for round in (1, 2):
        LinkedIdentity.objects.create(
            channel=channel, external_id=f"users/person{round}"
        )
    for room in TALK_ROOMS:
        ChannelRoom.objects.create(
            channel=channel,
            external_id=room,
            state=ChannelRoom.State.ALLOWED,
            alone=True,
        )
    return PATHS[kind] + owner.username


def main(upstream_url: str, nextcloud_url: str = "") -> None:
    """Fill the installation that the environment names."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "cortex_site.settings")
    django.setup()
    from django.conf import settings
    from django.db import transaction

    if nextcloud_url:
        with transaction.atomic():
            json.dump({"webhook": make_talk_bot(nextcloud_url)}, sys.stdout)
        return
    with transaction.atomic():
        make_models(upstream_url)
        if "CORTEX_CLAUDE_CLI" in os.environ:
            make_claude()
        people = [make_person(number) for number in range(PEOPLE)]
        token = make_program(f"person{PEOPLE - 1}")
    json.dump(
        {
            "cookie_name": settings.SESSION_COOKIE_NAME,
            "people": people,
            "api_token": token,
        },
        sys.stdout,
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
