"""The entries of the model picker: the chain, automatic, three tiers, named models."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from django.utils import timezone

from accounts.models import User
from personas.models import Conversation, Persona, TierPolicy
from personas.policies import AnswerPolicy
from routing.catalogue import BUILTIN, PLAIN_IDS, Catalogue, ModelInfo
from routing.errors import RoutingError
from routing.registry import catalogue_for
from routing.router import RouteRequest, Tier, route

_TIER_HELP = {
    TierPolicy.QUICK: "Fast and cheap: small talk, look-ups, short texts.",
    TierPolicy.BALANCED: "For everyday work: explanations, letters, shorter code.",
    TierPolicy.DEEP: "The most capable models, for hard problems; costs the most.",
}


@dataclass(frozen=True, slots=True)
class Choice:
    """One entry; ``help`` says in one line what it means."""

    value: str
    """Empty = the chain, ``auto``, ``tier:<1–3>`` or ``model:<label or plain id>``."""
    name: str
    help: str
    host: str = ""
    """Where a named model runs; entries of one host stand together."""


@dataclass(frozen=True, slots=True)
class ModelChoices:
    """What a person may pick for a message or for a whole conversation."""

    general: tuple[Choice, ...]
    tiers: tuple[Choice, ...]
    kinds: tuple[Choice, ...]
    """Plain ids with something behind them."""
    models: tuple[Choice, ...]
    """Own models before shared ones, each label once."""
    chosen: str
    """The value that the conversation's policy stands for."""
    builtin_answers: bool = False
    """Whether the built-in model answers when nothing is picked."""

    @property
    def chosen_help(self) -> str:
        """What the chosen entry means."""
        return next((c.help for c in self if c.value == self.chosen), "")

    @property
    def groups(self) -> tuple[tuple[str, tuple[Choice, ...]], ...]:
        """All entries with the headings under which they stand."""
        hosts: dict[str, list[Choice]] = {}
        for choice in self.models:
            hosts.setdefault(choice.host, []).append(choice)
        return (
            ("Cortex chooses", self.general),
            ("How much thought", self.tiers),
            ("A kind of model", self.kinds),
            *(
                (f"On {host}" if host else "Gone", tuple(choices))
                for host, choices in hosts.items()
            ),
        )

    def __iter__(self) -> Iterator[Choice]:
        """Iterate over all entries in the order of the picker."""
        return (choice for _, group in self.groups for choice in group)

    def policy_of(self, value: str) -> AnswerPolicy | None:
        """Return the policy that an entry stands for; ``None`` for no entry."""
        if value not in {choice.value for choice in self}:
            return None
        kind, _, name = value.partition(":")
        if kind == "model":
            return AnswerPolicy(model_label=name)
        if kind == "tier":
            return AnswerPolicy(int(name))
        return AnswerPolicy(TierPolicy.AUTOMATIC if kind == "auto" else None)


def model_choices(
    user: User, persona: Persona, conversation: Conversation | None = None
) -> ModelChoices:
    """Return what this person may pick for a persona or for one conversation.

    A private conversation, or one with a private persona, is offered those models
    alone that run in the house: the router refuses the others.
    """
    private = conversation.is_private if conversation else persona.private
    policy = (
        AnswerPolicy.of(conversation) if conversation else AnswerPolicy(persona.tier)
    )
    catalogue = catalogue_for(user)
    chosen = value_of(policy)
    models = _models(catalogue, private=private)
    kinds = () if private else _kinds(catalogue)
    if policy.model_label and chosen not in {c.value for c in (*models, *kinds)}:
        gone = "It cannot be had at present: messages will not be answered."
        models = (*models, Choice(chosen, policy.model_label, gone))
    return ModelChoices(
        general=_general(persona.model_role, catalogue),
        tiers=tuple(
            Choice(f"tier:{tier.value}", tier.label, text)
            for tier, text in _TIER_HELP.items()
        ),
        kinds=kinds,
        models=models,
        chosen=chosen,
        builtin_answers=_builtin_answers(
            persona.model_role, policy, private, catalogue
        ),
    )


def value_of(policy: AnswerPolicy) -> str:
    """Return the picker's value for a policy."""
    if policy.model_label:
        return f"model:{policy.model_label}"
    if policy.tier == TierPolicy.AUTOMATIC:
        return "auto"
    return f"tier:{policy.tier}" if policy.tier else ""


def tier_asked(policy: int | None) -> Tier:
    """Return a stored tier as the router takes it."""
    return "auto" if policy == TierPolicy.AUTOMATIC else policy


def _general(role: str, catalogue: Catalogue) -> tuple[Choice, ...]:
    return (
        Choice("", f"As set up for “{role}”", _chain_help(role, catalogue)),
        Choice(
            "auto",
            "Automatic",
            "Each message is judged and goes to the cheapest model that can do it.",
        ),
    )


def _chain_help(role: str, catalogue: Catalogue) -> str:
    chain = catalogue.own_chains.get(role) or catalogue.shared_chains.get(role) or ()
    names = [each if isinstance(each, str) else each.label for each in chain]
    if not names and (setting := catalogue.role_settings.get(role)):
        names = [setting]
    if names:
        first, *others = names
        return f"{first} answers{', else ' if others else ''}{', '.join(others)}."
    if role == "chat":
        return "Nobody is chosen for “chat” yet, so Cortex chooses."
    return f"Nobody is chosen for “{role}” yet, so nobody answers."


def _kinds(catalogue: Catalogue) -> tuple[Choice, ...]:
    """Return the plain ids behind which there is a model; the built-in is one."""
    return tuple(
        Choice(
            f"model:{plain_id}",
            name,
            f"The model of {name} whose tier suits the message.",
        )
        for plain_id, name in PLAIN_IDS.items()
        if plain_id != BUILTIN.label
        and catalogue.plain(plain_id, catalogue.default_tier) is not None
    )


def _models(catalogue: Catalogue, *, private: bool) -> tuple[Choice, ...]:
    found = {BUILTIN.label: BUILTIN}
    for model in catalogue.models:
        # The first of a label is the one that the router finds under it.
        found.setdefault(model.label, model)
    return tuple(
        Choice(
            f"model:{label}",
            f"{label}{_mark(model)}",
            f"{TierPolicy(model.tier).label}, on {model.host.name}. "
            "No other model stands in for it.",
            model.host.name,
        )
        for label, model in found.items()
        if model.host.is_local or not private
    )


def _mark(model: ModelInfo) -> str:
    """Return what stands behind a model's name: where it runs and what is amiss."""
    host, marks = model.host, []
    if host.is_local:
        marks.append("local")
    if host.flagged:
        marks.append("host has a problem")
    elif host.cooling_until is not None and host.cooling_until > timezone.now():
        marks.append("host is resting")
    return f" ({', '.join(marks)})" if marks else ""


def _builtin_answers(
    role: str, policy: AnswerPolicy, private: bool, catalogue: Catalogue
) -> bool:
    request = RouteRequest(
        role,
        model=policy.model_label or None,
        tier=tier_asked(policy.tier),
        private=private,
    )
    try:
        plan = route(request, catalogue)
    except RoutingError:
        return False
    return plan.candidates[0].model == BUILTIN
