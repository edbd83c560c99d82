"""Shapes of what the API takes and gives, as the OpenAPI document shows them.

What comes in is taken literally: a number in quotes is no number. Unknown fields are
ignored, so that later versions may add some; only those of queued tasks are refused.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from ninja import Schema
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
)
from pydantic_core import PydanticCustomError

from accounts.names import NAME_PATTERN
from channels_app.api.complaints import OWN
from channels_app.errors import CODES, TurnError
from channels_app.turn_requests import (
    MAX_CLIENT_ID_CHARS,
    MAX_TEXT_CHARS,
    checked_text,
)

MAX_MODEL_CHARS = 200
_HEX4 = "[0-9a-fA-F]{4}"
UUID = f"[0-9a-fA-F]{{8}}-{_HEX4}-{_HEX4}-{_HEX4}-[0-9a-fA-F]{{12}}"
"""Pattern of an id, without its borders."""


def _message_text(text: str) -> str:
    """Return a message's text as it is stored; refusals name their code."""
    try:
        return checked_text(text)
    except TurnError as error:
        said = {"said": str(error)}
        raise PydanticCustomError(f"{OWN}{error.code}", "{said}", said) from None


Text = Annotated[
    str,
    Field(
        json_schema_extra={
            "minLength": 1,
            "maxLength": MAX_TEXT_CHARS,
            "pattern": r"\S",
        }
    ),
    AfterValidator(_message_text),
]
PersonaName = Annotated[
    str,
    StringConstraints(
        pattern=NAME_PATTERN.replace(r"\A", "^").replace(r"\Z", "$"),
    ),
]
Id = Annotated[str, StringConstraints(pattern=f"^{UUID}$")]
"""An id as text; ``as_uuid`` reads it."""
ClientId = Annotated[
    str, StringConstraints(pattern=rf"^[!-~]{{1,{MAX_CLIENT_ID_CHARS}}}$")
]
ModelLabel = Annotated[
    str,
    StringConstraints(
        min_length=1, max_length=MAX_MODEL_CHARS, pattern=r"^[^\u0000-\u001f]*$"
    ),
]


class _Asked(BaseModel):
    """What a caller sends, taken literally."""

    model_config = ConfigDict(strict=True)


def _no_truth_value(value: object) -> object:
    """Keep true from being taken for 1, as Python does."""
    return str(value) if isinstance(value, bool) else value


Tier = Annotated[Literal["auto", 1, 2, 3], BeforeValidator(_no_truth_value)]
ForcedTier = Annotated[
    Literal["haiku", "sonnet", "opus", 1, 2, 3], BeforeValidator(_no_truth_value)
]


class ChatIn(_Asked):
    """A message to a persona."""

    persona: PersonaName = Field(
        description="Name of the persona for a new conversation; an existing one "
        "keeps its own."
    )
    text: Text = Field(description="The message; a command such as /cost works too.")
    conversation: Id | None = Field(
        None, description="The conversation to go on with; without it a new one begins."
    )
    client_id: ClientId | None = Field(
        None,
        description="Chosen by you; the same again returns the same turn and stores "
        "nothing.",
    )
    model: ModelLabel | None = Field(
        None, description="Label of the model that must answer."
    )
    tier: Tier | None = Field(
        None, description="Least capable tier; null = the conversation's own choice."
    )


class TaskIn(_Asked):
    """A task that is done at once and kept nowhere."""

    task: Text = Field(description="What is to be done.")
    force_tier: ForcedTier | None = Field(
        None, description="The tier that does it; haiku is 1, sonnet 2, opus 3."
    )
    persona: PersonaName | None = Field(
        None, description="Name of the persona that does it; null = nobody's."
    )


class TaskOut(Schema):
    """A task that is done."""

    id: str = Field(description="“task-” and an id.")
    task: str
    model: str | None = Field(description="Label of the model that did it.")
    result: str
    elapsed_seconds: float
    input_tokens: int | None = Field(description="null = unknown")
    output_tokens: int | None = Field(description="null = unknown")
    estimated_cost_usd: float | None = Field(description="null = unknown")
    timestamp: str = Field(description="When it was done, RFC 3339 in UTC.")
    incomplete: bool = Field(
        False,
        description="true = the result ends at the model's length limit; only there "
        "where it does.",
    )


class LedgerRow(Schema):
    """One closed call of a model. Unknown tokens and costs are null, never 0."""

    timestamp: str = Field(description="When it was closed, RFC 3339 in UTC.")
    model: str
    success: bool
    elapsed_seconds: float | None
    input_tokens: int | None = Field(description="With what was read from caches.")
    output_tokens: int | None
    estimated_cost_usd: float | None
    prompt_preview: str = Field(
        description="The start of the prompt, in rows of your own alone."
    )
    id: int
    kind: str
    attempt_id: str
    user_id: int | None
    user: str
    persona_id: int | None
    persona: str
    channel: str
    turn_id: str | None
    role: str
    host_type: str
    model_name: str
    tier: int | None
    attempt_number: int | None
    outcome: str
    error_code: str
    elapsed_ms: int | None
    first_token_ms: int | None
    cache_read_tokens: int | None
    cache_write_tokens: int | None
    estimated: bool
    billing: str
    input_price_nano_usd_per_mtok: int | None
    output_price_nano_usd_per_mtok: int | None
    cache_read_price_nano_usd_per_mtok: int | None
    cache_write_price_nano_usd_per_mtok: int | None
    reserved_nano_usd: int | None
    cost_nano_usd: int | None = Field(description="The exact cost in 10⁻⁹ dollars.")
    note: str
    previous_hash: str
    hash: str
    background: bool = Field(description="Nobody waited for the answer.")


class LedgerOut(Schema):
    """The newest closed calls, newest first."""

    entries: list[LedgerRow]


class Sums(Schema):
    """Calls and what they cost."""

    calls: int
    cost: float | None = Field(description="Known costs in dollars; null = none known.")
    unknown_cost_calls: int = Field(description="Calls that are missing from the cost.")


class StatsOut(Schema):
    """Sums over the ledger."""

    total_calls: int
    total_cost_estimated_usd: float | None
    unknown_cost_calls: int
    input_tokens: int | None
    output_tokens: int | None
    by_model: dict[str, Sums]
    by_date: dict[str, Sums] = Field(description="By the day in UTC.")


class ModelSums(Schema):
    """Calls of one model and what they cost."""

    calls: int
    cost: float | None


class StatusOut(Schema):
    """How Cortex is, and what was used."""

    status: Literal["healthy", "degraded"] = Field(
        description="degraded: no worker shows a sign of life, or no heartbeat came "
        "for three intervals."
    )
    runtime: str
    queue_size: int = Field(
        description="Tasks, events and deliveries that wait or are under way."
    )
    last_heartbeat: str | None = Field(
        description="When the last heartbeat ended; null before the first one."
    )
    total_calls: int
    total_cost_estimated_usd: float | None
    by_model: dict[str, ModelSums]


class Fault(Schema):
    """What went wrong."""

    code: str = Field(json_schema_extra={"enum": [*CODES, "method_not_allowed"]})
    message: str = Field(description="One sentence for people.")


class ErrorOut(Schema):
    """The body of every error."""

    error: Fault


def failing(*statuses: int, ok: Any) -> dict[int, Any]:
    """Return the responses of a route: its success, and errors with these statuses.

    Besides those that every route can give.
    """
    errors: Iterable[int] = sorted({*statuses, 401, 403, 429, 500})
    return {200: ok} | dict.fromkeys(errors, ErrorOut)


def as_uuid(text: str | None) -> uuid.UUID | None:
    """Return an ``Id`` as a UUID."""
    return None if text is None else uuid.UUID(text)
