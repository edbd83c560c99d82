"""What stands in the entries of a leaving bundle about personas and conversations.

The same shapes are written and read, so what goes out comes in again. Values are taken
literally: a number in quotes is no number, and a field that is not known is refused.
Money is nano-dollars, moments are RFC 3339, unknown is null.
"""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import Annotated, Final, Literal
from uuid import UUID

from django.utils import timezone
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
)

from accounts.names import NAME_PATTERN

_YEARS: Final = range(1970, 2200)
_FUTURE: Final = timedelta(days=1)
"""How far another machine's clock may be ahead."""
_LARGEST: Final = 2**63 - 1


def _without_zeros(value: object) -> object:
    """Take out what no database keeps in a text."""
    return value.replace("\0", "") if isinstance(value, str) else value


def _past(value: datetime) -> datetime:
    if value > timezone.now() + _FUTURE:
        raise ValueError("it has not come yet")
    return _moment(value)


def _moment(value: datetime) -> datetime:
    value = value.astimezone(UTC)
    if value.year not in _YEARS:
        raise ValueError("the year cannot be true")
    return value


Text = Annotated[str, BeforeValidator(_without_zeros)]
Text16 = Annotated[Text, Field(max_length=16)]
Text32 = Annotated[Text, Field(max_length=32)]
Text64 = Annotated[Text, Field(max_length=64)]
Text100 = Annotated[Text, Field(max_length=100)]
Text120 = Annotated[Text, Field(max_length=120)]
Text200 = Annotated[Text, Field(max_length=200)]
Text300 = Annotated[Text, Field(max_length=300)]
Name = Annotated[Text, Field(pattern=NAME_PATTERN.replace(r"\A", "^")[:-2] + "$")]
Moment = Annotated[AwareDatetime, AfterValidator(_past)]
Later = Annotated[AwareDatetime, AfterValidator(_moment)]
"""A moment that may be still to come."""
Count = Annotated[int, Field(ge=0, le=_LARGEST)]
Money = Annotated[int, Field(ge=-_LARGEST, le=_LARGEST)]
Small = Annotated[int, Field(ge=0, le=32767)]
Revision = Annotated[int, Field(ge=0, le=2**31 - 1)]
Tier = Annotated[int, Field(ge=0, le=3)]


class Shape(BaseModel):
    """One JSON object of a bundle."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class MemorySettingsShape(Shape):
    """When a persona distils; see ``personas.models.MemorySettings``."""

    enabled: bool
    idle_minutes: Small | None
    after_messages: Small | None
    daily_at: time | None
    review_days: Small | None


class FileShape(Shape):
    """One file of a persona, without its text."""

    name: Text64
    private: bool
    revision: Count
    updated_at: Moment


class PersonaShape(Shape):
    """``persona.json``."""

    name: Name
    display_name: Annotated[Text64, Field(min_length=1)]
    color: Annotated[Text, Field(max_length=8)]
    avatar: Annotated[Text, Field(max_length=8)]
    private: bool
    model_role: Text32
    tier: Tier | None
    context_tier: Annotated[int, Field(ge=1, le=3)]
    created_at: Moment
    memory: MemorySettingsShape | None
    """``None`` = nobody changed them."""
    files: list[FileShape]


class HistoryHead(Shape):
    """What stands before the versions in ``history.json``."""

    persona: Text32


class RevisionShape(Shape):
    """One version of a file."""

    file: Text64
    number: Annotated[int, Field(ge=1, le=2**31 - 1)]
    who: Text32 | None
    """``None`` = Cortex itself, or somebody who is gone."""
    when: Moment
    why: Text200
    text: Text


class ChangeShape(Shape):
    """Whole lines that a run takes out of a file and adds to it.

    The same fields as ``personas.memory.changes.Change``, which is what a run stores.
    """

    file: Literal["MEMORY_SHORT.md", "MEMORY_MID.md", "MEMORY_LONG.md"]
    remove: list[Text]
    add: list[Text]
    revision: Revision = 0
    """Which version of the file it made; 0 = none."""


class RunsHead(Shape):
    """What stands before the runs in ``memory_runs.json``."""

    persona: Text32


class RunShape(Shape):
    """One change of a memory, made, proposed or left."""

    id: UUID
    step: Literal["short", "mid", "long", "remember", "forget"]
    state: Literal[
        "waiting", "applied", "rejected", "undone", "empty", "left", "failed"
    ]
    changes: list[ChangeShape]
    appended: bool
    explanation: Text300
    messages: Annotated[int, Field(ge=0, le=2**31 - 1)]
    model: Text200
    input_tokens: Count | None
    output_tokens: Count | None
    cost_nano_usd: Money | None
    created_at: Moment
    passes_at: Later | None
    decided_at: Moment | None


class NoteShape(Shape):
    """A memory's line that a message led to."""

    run: UUID
    line: Text
    undone_at: Moment | None


class ConversationHead(Shape):
    """What stands before the messages in the file of a conversation."""

    id: UUID
    persona: Text32
    title: Text120
    private: bool
    shared: bool
    memory_paused: bool
    model_label: Text200
    tier: Tier | None
    shown: UUID | None
    """The last message of the branch that is shown."""
    created_at: Moment
    last_active_at: Moment


class SeamShape(Shape):
    """Where another model went on inside an answer."""

    at: Annotated[int, Field(ge=0, le=2**31 - 1)]
    """Characters that stand before it."""
    model: Text200


class MessageShape(Shape):
    """One message; ``parent`` is the one above it in the tree."""

    id: UUID
    parent: UUID | None
    role: Literal["user", "assistant"]
    author_name: Text100
    from_guest: bool
    text: Text
    state: Literal["complete", "incomplete", "interrupted", "failed"]
    channel: Text32
    created_at: Moment
    finished_at: Moment | None
    distilled_at: Moment | None
    forgotten_at: Moment | None = None
    model: Text200
    tier: Small | None
    reason: Text200
    attempts: Small
    seams: list[SeamShape]
    input_tokens: Count | None
    output_tokens: Count | None
    cost_nano_usd: Money | None
    estimated: bool
    error_code: Text32
    error_message: Text300
    notes: list[NoteShape]
