"""What stands in the entries of a leaving bundle about the person and their briefs."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from pydantic import Field

from personas.home.bundle_shapes import (
    Count,
    Moment,
    Name,
    Shape,
    Text,
    Text16,
    Text32,
    Text64,
    Text100,
    Text200,
)


class RoutingShape(Shape):
    """What the person lets the router do; see ``routing.models.RoutingPreferences``."""

    use_rules: bool
    use_classifier: bool
    fallback_after_refusal: bool
    finish_with_another_model: bool


class PersonShape(Shape):
    """``person.json``: no password, no second factor, no token, no role."""

    user_name: Name
    first_name: Annotated[Text, Field(max_length=150)]
    last_name: Annotated[Text, Field(max_length=150)]
    email: Annotated[Text, Field(max_length=254)]
    time_zone: Text64
    language: Annotated[Text, Field(max_length=8)]
    daily_digest: bool
    routing: RoutingShape | None
    """``None`` = nobody changed it."""


class BriefsHead(Shape):
    """What stands before the briefs in ``schedules.json``."""

    user_name: Text32


class BriefShape(Shape):
    """One brief; of a webhook neither the address nor its secret."""

    id: UUID
    persona: Text32
    name: Annotated[Text, Field(max_length=80)]
    prompt: Annotated[Text, Field(max_length=100_000)]
    cron: Text100
    time_zone: Text64
    tier: Annotated[int, Field(ge=1, le=3)] | None
    cap_nano_usd: Count | None
    delivery: Text16
    room: Text200 | None
    """The platform's own id of the room, where the answers go into one."""
    conversation: UUID | None
    enabled: bool
    created_at: Moment
