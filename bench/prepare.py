"""Fill an installation for a measurement: ``python -m bench.prepare UPSTREAM_URL``.

Makes people with a persona, a conversation with history for each stream, a shared host
with the models that a measurement asks for, and a session for each person. Prints one
JSON object ``{"cookie_name", "people": [{"name", "session", "conversations": [{"id",
"parent"}]}]}``.
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


def main(upstream_url: str) -> None:
    """Fill the installation that the environment names."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "cortex_site.settings")
    django.setup()
    from django.conf import settings
    from django.db import transaction

    with transaction.atomic():
        make_models(upstream_url)
        if "CORTEX_CLAUDE_CLI" in os.environ:
            make_claude()
        people = [make_person(number) for number in range(PEOPLE)]
    json.dump(
        {"cookie_name": settings.SESSION_COOKIE_NAME, "people": people}, sys.stdout
    )


if __name__ == "__main__":
    main(sys.argv[1])
