"""Fills the database of a browser test's server; runs in a process of its own.

``python manage.py shell -c "from tests.support.browser_seed import seed; seed(…)"``
"""

from __future__ import annotations

from datetime import date
from typing import Final

from allauth.account.models import EmailAddress
from django.utils import timezone

from accounts.models import User
from accounts.roles import set_role
from channels_app.models import QueuedTask, Schedule
from personas.conversations import start_conversation
from personas.files import save_file
from personas.memory.lines import entry_line
from personas.models import MemoryRun, Message, Persona, PersonaFile
from personas.personas import create_persona
from routing.models import Host, Model, RoleSlot
from tests.support.browser import PASSWORD

TASK: Final = "00000000-0000-4000-8000-00000000000a"
BRIEF: Final = "00000000-0000-4000-8000-00000000000b"
RUN: Final = "00000000-0000-4000-8000-00000000000c"
"""Ids of what a site with names of its own begins with."""


def seed(upstream_url: str, models: list[str], **texts: str) -> None:
    """Create alice (who administers) and bob, personas, and models of the mock server.

    ``texts`` replaces the names that people may choose freely: ``persona_name``,
    ``title``, ``file_name``, ``host_name``, ``model_label``.
    """
    alice = _person("alice", is_admin=True)
    _person("bob", is_admin=False)
    inara = create_persona(
        alice, template="companion", name="inara", display_name="Inara"
    )
    create_persona(alice, template="developer", name="tina", display_name="Tina")
    if name := texts.get("persona_name"):
        Persona.objects.filter(pk=inara.pk).update(display_name=name[:64])
    if name := texts.get("file_name"):
        PersonaFile.objects.create(persona=inara, name=name[:64], text="x")
    host = Host.objects.create(
        name=texts.get("host_name", "Mock")[:64],
        type=Host.Type.LOCAL_OPENAI,
        base_url=f"{upstream_url}/v1",
        flagged=texts.get("host_name", "")[:200],
    )
    for position, name in enumerate(models):
        label = texts.get("model_label", "")[:90] if position == 0 else ""
        model = Model.objects.create(host=host, label=label or name, name=name)
        if position == 0:
            RoleSlot.objects.create(role="chat", position=0, model=model)
    long_chat(alice, inara, texts.get("title", "A long talk"))
    if title := texts.get("title"):
        past_job(alice, inara, title)
        memories(inara, title)


def memories(persona: Persona, text: str) -> None:
    """Write a memory with a line, and a run that waits for review."""
    line, proposed = (
        entry_line(f"{text} {word}", said_on=date(2026, 11, 20))
        for word in ("known", "proposed")
    )
    save_file(persona, "MEMORY_SHORT.md", f"{line}\n", author=persona.owner)
    MemoryRun.objects.create(
        id=RUN,
        persona=persona,
        step=MemoryRun.Step.SHORT,
        state=MemoryRun.State.WAITING,
        changes=[{"file": "MEMORY_SHORT.md", "remove": [line], "add": [proposed]}],
        explanation=text[:300],
        messages=3,
        model=text[:200],
    )


def past_job(owner: User, persona: Persona, text: str) -> None:
    """Write a brief that is switched off, with a run that is done."""
    brief = Schedule.objects.create(
        id=BRIEF,
        owner=owner,
        persona=persona,
        name=text[:80],
        prompt=text,
        cron="0 7 * * *",
        time_zone="Europe/Berlin",
        enabled=False,
    )
    now = timezone.now()
    QueuedTask.objects.create(
        id=TASK,
        owner=owner,
        persona=persona,
        kind="brief",
        schedule=brief,
        text=text,
        result=text,
        error=text[:300],
        state=QueuedTask.State.DONE,
        attempts=1,
        started_at=now,
        finished_at=now,
    )


def _person(username: str, *, is_admin: bool) -> User:
    email = f"{username}@example.org"
    user = User.objects.create_user(username, email, PASSWORD)
    EmailAddress.objects.create(user=user, email=email, verified=True, primary=True)
    set_role(user, is_admin=is_admin)
    return user


def long_chat(owner: User, persona: Persona, title: str, pairs: int = 40) -> None:
    """Write a conversation of ``pairs`` questions with their answers."""
    chat = start_conversation(owner, persona)
    parent = None
    for number in range(pairs):
        parent = Message.objects.create(
            conversation=chat,
            owner=owner,
            role="user",
            text=f"Question {number}",
            parent=parent,
        )
        parent = Message.objects.create(
            conversation=chat,
            owner=owner,
            role="assistant",
            text=f"Answer {number}. " + "Some words follow. " * 20,
            parent=parent,
            model="mock",
        )
    chat.title = title[:120]
    chat.current_message = parent
    chat.save()
