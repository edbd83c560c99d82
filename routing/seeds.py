"""The shared hosts that every installation begins with.

They stand there not in use until their program is found, or their key is entered, and
they have answered a test (``routing.discovery``). What an administrator has set up or
deleted is never touched: a type that has a shared host already gets none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from routing.catalogue import PLAIN_IDS
from routing.models import Host, Model

CLAUDE_CONTEXT_TOKENS = 200_000
"""Source: the vendor's overview of models."""
GEMINI_CONTEXT_TOKENS = 1_048_576
"""Source: the vendor's overview of models."""
MAX_OUTPUT_TOKENS = 8_192
"""Also what a budget reserves for one answer, so far below what the models allow."""


@dataclass(frozen=True, slots=True)
class SeedModel:
    """One model of a seeded host; ``label`` is its id behind ``<type>:``."""

    label: str
    name: str
    tier: int


_CLAUDE = (
    SeedModel("haiku", "haiku", 1),
    SeedModel("sonnet", "sonnet", 2),
    SeedModel("opus", "opus", 3),
)
_GEMINI = (
    SeedModel("flash-lite", "gemini-2.5-flash-lite", 1),
    SeedModel("flash", "gemini-2.5-flash", 2),
    SeedModel("pro", "gemini-2.5-pro", 3),
)
SEEDS = {
    "claude_cli": (_CLAUDE, CLAUDE_CONTEXT_TOKENS, ()),
    "gemini_cli": (_GEMINI, GEMINI_CONTEXT_TOKENS, ()),
    "gemini_api": (_GEMINI, GEMINI_CONTEXT_TOKENS, ("tools", "images")),
}
"""Type of host → its models from tier 1 to 3, their context, what they can do."""


def seed_registry(host_table: Any = Host, model_table: Any = Model) -> list[str]:
    """Add the seeded hosts that are missing; return the names of those added.

    Args:
        host_table: The table of hosts; a migration passes the one of its time.
        model_table: The table of models, likewise.
    """
    added = []
    for host_type in SEEDS:
        shared = host_table.objects.filter(owner=None)
        name = PLAIN_IDS[host_type]
        if shared.filter(type=host_type).exists() or shared.filter(name=name).exists():
            continue
        host = host_table.objects.create(
            name=name, type=host_type, enabled=False, auto_enable=True
        )
        add_usual_models(host, model_table)
        added.append(name)
    return added


def add_usual_models(host: Any, model_table: Any = Model) -> int:
    """Add the usual models of a new host's type; return how many.

    They are called ``<type>:<model>``, or ``<host>:<model>`` where that is taken. Their
    prices stay open here, because looking one up takes half a second.
    """
    if host.type not in SEEDS:
        return 0
    models, context_tokens, tags = SEEDS[host.type]
    same_owner = model_table.objects.filter(host__owner=host.owner_id)
    taken = set(same_owner.values_list("label", flat=True))
    labels = {
        label: model
        for model in models
        if (label := _free_label(host, model, taken)) is not None
    }
    rows = [
        model_table(
            host=host,
            label=label,
            name=model.name,
            tier=model.tier,
            context_tokens=context_tokens,
            max_output_tokens=MAX_OUTPUT_TOKENS,
            tags=list(tags),
        )
        for label, model in labels.items()
    ]
    model_table.objects.bulk_create(rows)
    return len(rows)


def _free_label(host: Any, model: SeedModel, taken: set[str]) -> str | None:
    choices = (f"{host.type}:{model.label}", f"{host.name}:{model.label}")
    return next((label for label in choices if label not in taken), None)
