"""The entries of the model picker: automatic, the three tiers, and named models."""

from __future__ import annotations

from dataclasses import dataclass

from accounts.models import User
from personas.models import Persona
from routing.catalogue import BUILTIN, Catalogue
from routing.errors import RoutingError
from routing.registry import catalogue_for
from routing.router import RouteRequest, route

TIERS = (
    (1, "Quick"),
    (2, "Balanced"),
    (3, "Deep"),
)
"""Number and name of each tier, cheapest first."""


@dataclass(frozen=True, slots=True)
class ModelChoices:
    """What a person may pick for a message."""

    models: tuple[tuple[str, bool], ...]
    """Label and whether its text stays in the house; own models before shared ones."""
    builtin_answers: bool = False
    """Whether the built-in model answers when nothing is picked."""
    tiers: tuple[tuple[int, str], ...] = TIERS


def model_choices(
    user: User, persona: Persona, *, private: bool = False
) -> ModelChoices:
    """Return the models that this person may name to a persona, each label once.

    A private conversation, or one with a private persona, is offered those alone that
    run in the house: the router refuses the others.
    """
    private = private or persona.private
    catalogue = catalogue_for(user)
    models = {BUILTIN.label: BUILTIN.host.is_local}
    for model in catalogue.models:
        # The first of a label is the one that the router finds under it.
        models.setdefault(model.label, model.host.is_local)
    return ModelChoices(
        tuple(item for item in models.items() if item[1] or not private),
        builtin_answers=_builtin_answers(
            RouteRequest(
                role=persona.model_role,
                tier=persona.tier,
                private=private,
            ),
            catalogue,
        ),
    )


def _builtin_answers(request: RouteRequest, catalogue: Catalogue) -> bool:
    try:
        plan = route(request, catalogue)
    except RoutingError:
        return False
    return plan.candidates[0].model == BUILTIN
