"""What a platform sent, in words that all platforms share.

The adapter of a platform checks the signature and fills these; everything behind it
knows no platform. Who speaks stands in ``sender_id`` alone, which comes from the
verified event: a text can never say who wrote it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

EventKind = Literal["message", "joined", "left", "reaction", "other"]
"""``joined``, ``left``: the bot was; ``other`` is understood and has no effect."""


@dataclass(frozen=True, slots=True)
class Incoming:
    """One verified event of a platform."""

    external_id: str
    """The same for every copy of the event, unique in its channel; ≤ 255 characters."""
    kind: EventKind
    room_id: str = ""
    room_name: str = ""
    sender_id: str = ""
    sender_name: str = ""
    text: str = ""
    """As plain words: mentions as ``@name``, files by name; the bot's own mention is
    gone."""
    names_bot: bool = False
    """The bot is mentioned by the platform's own means, or its message replied to."""
    is_direct: bool = False
    """The platform vouches that only the sender and the bot read here."""
    reply_to: str = ""
    """What the answer replies to, as the platform wants it."""
    thread: str = ""
    nonce: str = ""
    """A value that the other side never uses twice; empty where there is none."""
    extra: dict[str, Any] = field(default_factory=dict)
    """What only the adapter needs to answer; plain JSON."""

    def payload(self) -> dict[str, Any]:
        """Return the event as JSON for its row."""
        return asdict(self)

    @classmethod
    def from_payload(cls, payload: dict[str, Any]) -> Incoming:
        """Return the event that a row holds."""
        return cls(**payload)
