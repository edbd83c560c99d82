"""What a person may ask of a turn, whichever door the wish comes through.

Every door turns its wire format into one of these values; ``turns.start_turn`` takes
them all. Ids are checked for their owner later, in the database.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal
from uuid import UUID

from channels_app.errors import TurnError
from personas.policies import AnswerPolicy
from routing.backends.base import PromptMessage, ToolSpec

MAX_TEXT_CHARS = 32_000
MAX_CLIENT_ID_CHARS = 64
OWN_ID = "\x1f"
"""Begins the client ids that Cortex gives itself; no door takes it from a caller."""
Tier = Literal["auto", 1, 2, 3]


@dataclass(frozen=True, slots=True)
class TurnRequest:
    """A new message that wants an answer."""

    client_id: str
    """Chosen by the sender; a repeat by the same person returns the same turn."""
    text: str
    persona: str = ""
    """Name of the persona for a new conversation; an existing one keeps its own."""
    conversation: UUID | None = None
    parent: UUID | None = None
    """The message that this one follows; ``None`` = the end of the shown branch."""
    model: str | None = None
    """Label of a model; an explicit choice is strict."""
    tier: Tier | None = None
    """``None`` = the conversation's policy."""
    policy: AnswerPolicy | None = None
    """Policy of a conversation that this begins; ``None`` = the persona's tier."""
    temporary: bool = False
    channel: str = "web"
    alone: bool = True
    """Nobody but the owner reads along, so private files may enter the prompt; a
    conversation that begins otherwise stays shared, whichever door asks later."""
    author_name: str = ""
    """Who wrote it, where others write too."""
    from_guest: bool = False
    """Somebody else than the owner wrote it."""
    max_output_tokens: int | None = None
    """Below the model's own limit."""
    background: bool = False
    """Nobody waits for it; it counts against the budget of background work."""
    max_cost_nano_usd: int | None = None
    """What the answer may cost, all attempts together."""
    literal: bool = False
    """It is a message, whatever it says: no command."""


@dataclass(frozen=True, slots=True)
class RetryRequest:
    """Another answer to the message that ``message`` (an answer) answers."""

    client_id: str
    message: UUID
    model: str | None = None
    tier: Tier | None = None
    channel: str = "web"
    alone: bool = True
    background: bool = False
    max_cost_nano_usd: int | None = None


@dataclass(frozen=True, slots=True)
class EditRequest:
    """A new version beside one's own ``message``, with an answer or without."""

    client_id: str
    message: UUID
    text: str
    answer: bool = True
    channel: str = "web"
    alone: bool = True


StartRequest = TurnRequest | RetryRequest | EditRequest


@dataclass(frozen=True, slots=True)
class UnstoredRequest:
    """An answer that nothing is kept of but its rows in the ledger.

    The asking program brings the whole conversation with it.
    """

    messages: tuple[PromptMessage, ...]
    """Oldest first; the last ones, from the person's newest on, are to be answered."""
    persona: str | None = None
    """Name of the persona whose files stand before ``system``; ``None`` = nobody's."""
    system: str = ""
    """Instructions of the asking program."""
    tools: tuple[ToolSpec, ...] = ()
    """What the model may call; its calls come as ``turn.tool_call``."""
    model: str | None = None
    """Label of a model; an explicit choice is strict."""
    tier: Tier | None = None
    """``None`` without a model = the persona's tier, else the chain of the role."""
    role: str | None = None
    """Model role; ``None`` = the persona's, else ``chat``."""
    channel: str = "api"
    max_output_tokens: int | None = None
    """Below the model's own limit."""
    background: bool = False
    """Nobody waits for it; it counts against the budget of background work."""
    max_cost_nano_usd: int | None = None
    """What the answer may cost, all attempts together."""
    turn: UUID | None = None
    """Id of the turn, where the asker wants to find its rows in the ledger."""


def checked_text(text: str) -> str:
    """Return a message's text; raises ``TurnError`` (bad_request, too_long).

    Line ends become ``\\n``. Characters that no database stores are refused, because
    leaving them out could change what the person meant.
    """
    if len(text) > MAX_TEXT_CHARS:
        raise TurnError(
            "too_long",
            f"The message has {len(text):,} characters; {MAX_TEXT_CHARS:,} fit.",
        )
    if not text.strip():
        raise TurnError("bad_request", "The message is empty.")
    check_characters(text)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def check_characters(text: str) -> None:
    """Refuse characters that no database stores; raises ``TurnError``."""
    if "\0" in text or not _storable(text):
        raise TurnError(
            "bad_request", "The message contains characters that cannot be stored."
        )


def _storable(text: str) -> bool:
    """Say whether the text is valid Unicode (JSON can smuggle in half characters)."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
