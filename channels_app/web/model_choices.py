"""The entries of the model picker: automatic, the three tiers, and named models."""

from __future__ import annotations

from dataclasses import dataclass

from accounts.models import User
from routing.catalogue import BUILTIN
from routing.registry import catalogue_for

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
    tiers: tuple[tuple[int, str], ...] = TIERS


def model_choices(user: User) -> ModelChoices:
    """Return the models that this person may name, each label once."""
    models = {BUILTIN.label: BUILTIN.host.is_local}
    for model in catalogue_for(user).models:
        models.setdefault(model.label, model.host.is_local)
    return ModelChoices(tuple(models.items()))
