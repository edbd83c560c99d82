"""What commands are given, and what they give: see ``channels_app.slash_commands``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

from accounts.models import User
from channels_app.models import ChannelRoom
from personas.models import Conversation, Persona


@dataclass(frozen=True, slots=True)
class Command:
    """A text that is a command."""

    name: str
    """A name of ``COMMANDS``, or ``unknown`` for a lone word that is none."""
    argument: str = ""
    """What follows the name; for ``unknown`` the word itself, without the slash."""
    tentative: bool = False
    """Said in plain words; a message like any other where it does not apply."""


@dataclass(frozen=True, slots=True)
class Place:
    """Who gives a command, and where."""

    user: User
    """The owner of the persona; a guest's words are never taken for theirs."""
    persona: Persona
    conversation: Conversation | None
    """``None`` before the first message of a new one."""
    channel: str
    """The door, as ``Message.channel`` names it."""
    alone: bool = True
    """Nobody but the owner reads the answer."""
    guest: bool = False
    """Somebody else than the owner speaks."""
    room: ChannelRoom | None = None
    """The room of a bot."""
    temporary: bool = False
    """A conversation that begins here leaves nothing behind."""


class Choice(NamedTuple):
    """One answer that a command waits for."""

    text: str
    """What the person says by it."""
    label: str
    literal: bool = False
    """It is a message, whatever it says."""


@dataclass(frozen=True, slots=True)
class Result:
    """What the door still has to do."""

    text: str
    """Markdown to show to whoever gave the command."""
    new_thread: bool = False
    """The next message begins a new conversation."""
    persona: str | None = None
    """Name of the persona who answers from now on."""
    conversation: UUID | None = None
    """The conversation that the next message belongs to, made for this command."""
    stop: tuple[UUID, ...] = ()
    """Turns to be stopped."""
    route: str | None = None
    """What the model picker shows from now on, as ``ModelChoices`` writes it."""
    shown_anew: UUID | None = None
    """A message of the conversation that the page is to show as it is now."""
    choices: tuple[Choice, ...] = ()
    """What may be answered, where the page offers it as buttons."""
