"""The entries of the model picker: automatic, the three tiers, and named models."""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import Q

from accounts.models import User
from routing.models import Model

TIERS = (
    (1, "Quick", "everyday talk, cheapest"),
    (2, "Balanced", "for most work"),
    (3, "Deep", "for hard questions"),
)


@dataclass(frozen=True, slots=True)
class ModelChoices:
    """What a person may pick for a message."""

    labels: tuple[str, ...]
    """Labels of models, in alphabetical order, each once."""
    tiers: tuple[tuple[int, str, str], ...] = TIERS
    """Number, name and what it is good for."""


def model_choices(user: User) -> ModelChoices:
    """Return the models that this person may name."""
    usable = Model.objects.filter(
        Q(host__owner=None) | Q(host__owner=user), enabled=True, host__enabled=True
    )
    labels = {"builtin", *usable.values_list("label", flat=True)}
    return ModelChoices(tuple(sorted(labels)))
