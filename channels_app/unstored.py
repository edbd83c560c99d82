"""The beginning of a turn that nothing is stored of: what its model call needs.

Synchronous, for the database pool. The asking program brings the messages; the persona
gives its files, its model role, its tier and its privacy.
"""

from __future__ import annotations

import functools
import uuid

from django.http import Http404

from accounts.models import User
from channels_app.errors import TurnError
from channels_app.turn_requests import Tier, UnstoredRequest
from channels_app.turn_start import Call, tier_of
from ledger.types import Caller
from personas.client_prompt import ClientMaterial, build_client_prompt
from personas.context import persona_material
from personas.models import Persona
from personas.personas import get_persona_for_user


def call_for(user_id: int, turn: uuid.UUID, request: UnstoredRequest) -> Call:
    """Return what the pipeline needs to answer a request that is not stored.

    Raises ``TurnError``: ``unauthenticated``, ``not_found`` (the persona) or
    ``bad_request`` (no message to answer).
    """
    user = User.objects.filter(pk=user_id, is_active=True).first()
    if user is None:
        raise TurnError("unauthenticated", "You are signed out.")
    if not any(message.role == "user" for message in request.messages):
        raise TurnError("bad_request", "There is no message to answer.")
    persona = _persona_of(user, request)
    model, tier = _choice(request, persona)
    private = persona is not None and persona.private
    material = ClientMaterial(
        persona=persona_material(persona) if persona else None,
        system=request.system.strip(),
        messages=request.messages,
        tools=request.tools,
    )
    return Call(
        user=user,
        caller=Caller(
            user_id=user.pk,
            user_name=user.username,
            persona_id=persona.pk if persona else None,
            persona_name=persona.name if persona else "",
            channel=request.channel,
            turn_id=turn,
        ),
        build=functools.partial(build_client_prompt, material),
        role=request.role or (persona.model_role if persona else "chat"),
        model=model,
        tier=tier,
        asked=request.model is not None or request.tier is not None,
        private=private,
        preview=not private,
        needs=frozenset({"tools"} if request.tools else ()),
        max_output_tokens=request.max_output_tokens,
        background=request.background,
        max_cost_nano_usd=request.max_cost_nano_usd,
    )


def _persona_of(user: User, request: UnstoredRequest) -> Persona | None:
    if request.persona is None:
        return None
    try:
        return get_persona_for_user(user, request.persona)
    except Http404 as error:
        raise TurnError("not_found", str(error)) from None


def _choice(
    request: UnstoredRequest, persona: Persona | None
) -> tuple[str | None, Tier | None]:
    """Return the model and the tier: as asked, else by the persona's policy."""
    if request.model is not None or request.tier is not None or persona is None:
        return request.model, request.tier
    return None, tier_of(persona.tier)
