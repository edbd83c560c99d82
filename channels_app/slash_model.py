"""What ``/model`` does: it lists who may answer, or has one of them answer.

What may be chosen, and by which names, is what the page's picker offers.
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from uuid import UUID

from accounts.models import User
from channels_app.web.model_choices import Choice, ModelChoices, model_choices
from personas.conversations import start_conversation
from personas.models import Conversation, Persona
from personas.policies import set_policy

MAX_LISTED = 40
"""Models that a list names; the page's picker has them all."""
_MAX_QUOTED_CHARS = 60
_WORDS = {
    "default": "",
    "auto": "auto",
    "automatic": "auto",
    "quick": "tier:1",
    "balanced": "tier:2",
    "deep": "tier:3",
    "1": "tier:1",
    "2": "tier:2",
    "3": "tier:3",
}
"""What people type for entries that are no models."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """What came of it."""

    text: str
    route: str | None = None
    """The entry of the picker that holds now; ``None`` = nothing was changed."""
    made: UUID | None = None
    """The conversation that was begun to keep it."""


def choose_model(
    user: User,
    persona: Persona,
    conversation: Conversation | None,
    wanted: str,
    *,
    keeps_route: bool,
) -> Chosen:
    """Let ``wanted`` answer in a conversation; an empty text lists what there is.

    Without a conversation one is begun to keep the choice, unless the door itself
    keeps it for the first message (``keeps_route``).
    """
    choices = model_choices(user, persona, conversation)
    if not wanted:
        return Chosen(_list(choices))
    chosen = _find(choices, wanted)
    policy = None if chosen is None else choices.policy_of(chosen.value)
    if chosen is None or policy is None:
        return Chosen(_not_found(choices, wanted))
    made = None
    if conversation is not None:
        set_policy(conversation, policy)
    elif not keeps_route:
        made = start_conversation(user, persona, policy=policy).pk
    text = f"From now on in this conversation: **{chosen.name}**. {chosen.help}"
    return Chosen(text, chosen.value, made)


def _find(choices: ModelChoices, wanted: str) -> Choice | None:
    """Return the entry that is meant, in any case; words go before labels."""
    wanted = wanted.casefold()
    value = _WORDS.get(wanted)
    names = {value} if value is not None else {wanted, f"model:{wanted}"}
    found = (each for each in choices if each.value.casefold() in names)
    return next(found, None)


def _typed(choice: Choice) -> str:
    """Return what is to be typed for an entry."""
    if choice.value.startswith("model:"):
        return choice.value.removeprefix("model:")
    return next(word for word, value in _WORDS.items() if value == choice.value)


def _list(choices: ModelChoices) -> str:
    lines = []
    for choice in (*choices.general, *choices.tiers, *choices.kinds):
        lines.append(_line(choice, choices.chosen))
    lines += [_line(each, choices.chosen) for each in choices.models[:MAX_LISTED]]
    if (more := len(choices.models) - MAX_LISTED) > 0:
        lines.append(f"- and {more} more; the page’s picker has them all.")
    return "\n".join(["Choose who answers with `/model name`:", "", *lines])


def _line(choice: Choice, chosen: str) -> str:
    now = " (**now**)" if choice.value == chosen else ""
    return f"- `{_typed(choice)}` – {choice.name}{now}: {choice.help}"


def _not_found(choices: ModelChoices, wanted: str) -> str:
    typed = {_typed(each).casefold(): _typed(each) for each in choices}
    key = wanted.casefold()
    near = get_close_matches(key, typed, n=3, cutoff=0.5)
    near += [name for name in typed if key in name and name not in near]
    meant = " or ".join(f"`{typed[name]}`" for name in near[:3])
    return f"There is no model “{wanted[:_MAX_QUOTED_CHARS]}” to choose. " + (
        f"Did you mean {meant}?" if meant else "`/model` lists what there is."
    )
