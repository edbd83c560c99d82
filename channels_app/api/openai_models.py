"""``GET /v1/models``: a person's personas, as clients of OpenAI's API list models.

Source: OpenAI API reference, "Models".
"""

from __future__ import annotations

from typing import Any, Literal

from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from ninja import Router, Schema
from pydantic import Field

from accounts.models import User
from channels_app.api.auth import Auth, caller_of
from channels_app.api.openai_errors import (
    UnknownModel,
    checked_name,
    failing,
    refusal,
)
from personas.models import Persona
from personas.personas import get_persona_for_user, personas_visible_to
from routing.db_pool import run_in_db_pool

router = Router(tags=["OpenAI clients"], auth=Auth("chat"))


class ModelOut(Schema):
    """A persona as a model."""

    id: str = Field(description="What `model` takes.")
    object: Literal["model"]
    created: int = Field(description="When, in seconds since 1970.")
    owned_by: str
    name: str = Field(description="What the persona is called on the pages.")


class ModelsOut(Schema):
    """One's personas as models."""

    object: Literal["list"]
    data: list[ModelOut]


@router.get(
    "/v1/models",
    response=failing(ok=ModelsOut),
    summary="List your personas as models",
)
async def list_models(request: HttpRequest) -> HttpResponse:
    """List the caller's personas; their names are what `model` takes."""
    found = await run_in_db_pool(_models, caller_of(request).user)
    return JsonResponse({"object": "list", "data": found})


@router.get(
    "/v1/models/{model}",
    response=failing(404, ok=ModelOut),
    summary="Show a persona as a model",
)
async def show_model(request: HttpRequest, model: str) -> HttpResponse:
    """Show one of the caller's personas."""
    try:
        name = checked_name(model)
        found = await run_in_db_pool(_model, caller_of(request).user, name)
    except (UnknownModel, Http404):
        return refusal(request, UnknownModel())
    return JsonResponse(found)


def _models(user: User) -> list[dict[str, Any]]:
    return [_as_model(persona, user) for persona in personas_visible_to(user)]


def _model(user: User, name: str) -> dict[str, Any]:
    return _as_model(get_persona_for_user(user, name), user)


def _as_model(persona: Persona, user: User) -> dict[str, Any]:
    return {
        "id": persona.name,
        "object": "model",
        "created": int(persona.created_at.timestamp()),
        "owned_by": user.username,
        "name": persona.display_name,
    }
