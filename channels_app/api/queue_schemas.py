"""Shapes of what the queue takes and gives."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from ninja import Path, Schema
from pydantic import (
    ConfigDict,
    Field,
    StringConstraints,
    WithJsonSchema,
)

from channels_app.api.moments import Moment
from channels_app.api.schemas import ForcedTier, Id, PersonaName, Text
from channels_app.jobs.task_ids import PATTERN

KEY_PATTERN: Final = r"^[!-~]([ -~]{0,198}[!-~])?$"
"""A key of at most 200 printable characters, as a header can carry it."""
Key = Annotated[str, StringConstraints(pattern=KEY_PATTERN)]
State = Literal["pending", "processing", "done", "failed", "dead", "cancelled"]
TaskId = Annotated[
    str,
    WithJsonSchema({"type": "string", "pattern": PATTERN}),
    Path(description="With “queued-” or without."),
]


class QueueIn(Schema):
    """A task for later."""

    # A misspelt `not_before` must not let a task begin at once.
    model_config = ConfigDict(strict=True, extra="forbid")

    task: Text = Field(description="What is to be done.")
    persona: PersonaName | None = Field(
        None, description="Name of the persona that does it; null = nobody's."
    )
    force_tier: ForcedTier | None = Field(
        None, description="The tier that does it; haiku is 1, sonnet 2, opus 3."
    )
    not_before: Moment | None = Field(
        None,
        description="When it may begin, RFC 3339 with a time zone, at most ten years "
        "ahead; a time that has passed means now.",
    )
    idempotency_key: Key | None = Field(
        None,
        description="Chosen by you; the same again returns the same task. The header "
        "`Idempotency-Key` does the same.",
    )


class QueuedOut(Schema):
    """A task that is queued."""

    id: str = Field(description="“queued-” and an id.")
    status: Literal["queued", "processing", "done", "failed", "dead", "cancelled"] = (
        Field(description="queued; another one only for a task of before.")
    )
    position: int | None = Field(description="1 = next; null = it waits no more.")


class TaskFault(Schema):
    """Why a task, or its last attempt, failed."""

    code: str
    message: str = Field(description="One sentence for people.")


class QueuedTaskLine(Schema):
    """A task in the list."""

    id: str = Field(description="“queued-” and an id.")
    kind: str = Field(description="task, brief (a run of one) or trial (of one).")
    state: State
    task: str
    persona: str | None
    tier: int | None = Field(description="null = the task itself decides.")
    source: str = Field(description="api, page, schedule or import.")
    brief: str | None = Field(description="Name of the brief that it is a run of.")
    attempts: int
    cancel_asked: bool = Field(description="It runs, and will end soon.")
    not_before: str = Field(description="When the next attempt may begin.")
    created_at: str
    started_at: str | None = Field(description="When the last attempt began.")
    finished_at: str | None
    error: TaskFault | None = Field(
        description="Of a task that waits: the last one; of one that is done: why its "
        "result is not whole."
    )
    incomplete: bool = Field(
        description="It is done, but its result ends at the model's length limit."
    )
    model: str | None = Field(description="Label of the model that did it.")
    input_tokens: int | None = Field(description="null = unknown")
    output_tokens: int | None = Field(description="null = unknown")
    estimated_cost_usd: float | None = Field(
        description="Of all attempts, those that crashed included; null = unknown."
    )
    conversation: Id | None = Field(description="Where the answer stands, if in one.")


class QueuedTaskOut(QueuedTaskLine):
    """A task with what came of it."""

    position: int | None = Field(description="1 = next; null = it waits no more.")
    result: str | None = Field(description="null = not done.")


class QueueOut(Schema):
    """A page of tasks, newest first."""

    tasks: list[QueuedTaskLine]
    next: str | None = Field(description="For `before`: what follows; null = nothing.")
