"""The chains of a role as candidates: its own, the shared one, the setting. Pure."""

from __future__ import annotations

from routing.candidates import Candidate, LeftOut, Sieve
from routing.catalogue import (
    BUILTIN,
    BUILTIN_LABEL,
    PLAIN_IDS,
    TOO_SMALL,
    Catalogue,
    ChainEntry,
    ModelInfo,
    not_set_up,
)
from routing.errors import RoutingError


def first_chain(role: str, catalogue: Catalogue) -> tuple[ChainEntry, ...]:
    """Return what a role's chain names; empty = it has none."""
    own, shared = catalogue.own_chains.get(role), catalogue.shared_chains.get(role)
    setting = catalogue.role_settings.get(role)
    return own or shared or ((setting,) if setting else ())


def chain(role: str, tier: int, catalogue: Catalogue, sieve: Sieve) -> list[Candidate]:
    """Return the first chain of the role of which something is set up.

    Raises:
        RoutingError: ``no_model`` – what the setting names is not there.
    """
    for entries, whose in (
        (catalogue.own_chains.get(role), "your chain"),
        (catalogue.shared_chains.get(role), "the shared chain"),
    ):
        able = _without_too_small(role, entries or (), catalogue, sieve)
        found = _resolved(able, tier, catalogue, sieve)
        if found:
            return [
                Candidate(model, f"{whose} for {role}, place {place}")
                for place, model in found
            ]
    return _setting(role, tier, catalogue)


def _without_too_small(
    role: str, entries: tuple[ChainEntry, ...], catalogue: Catalogue, sieve: Sieve
) -> tuple[ChainEntry, ...]:
    """Leave the built-in model out of the chains of roles that are too much for it."""
    if role not in catalogue.too_much_for_builtin or BUILTIN_LABEL not in entries:
        return entries
    sieve.left_out.append(LeftOut(BUILTIN_LABEL, TOO_SMALL))
    return tuple(entry for entry in entries if entry != BUILTIN_LABEL)


def _resolved(
    entries: tuple[ChainEntry, ...], tier: int, catalogue: Catalogue, sieve: Sieve
) -> list[tuple[int, ModelInfo]]:
    """Return the models of a chain with their places, each once."""
    found: dict[ModelInfo, int] = {}
    for place, entry in enumerate(entries, start=1):
        model = catalogue.plain(entry, tier) if isinstance(entry, str) else entry
        if model is None:
            sieve.left_out.append(LeftOut(str(entry), not_set_up(str(entry))))
        else:
            found.setdefault(model, place)
    return [(place, model) for model, place in found.items()]


def _setting(role: str, tier: int, catalogue: Catalogue) -> list[Candidate]:
    label = catalogue.role_settings.get(role)
    if not label:
        return []
    if label == BUILTIN_LABEL and role in catalogue.too_much_for_builtin:
        raise RoutingError("no_model", TOO_SMALL)
    model = catalogue.find(label, tier)
    if model is not None:
        return [Candidate(model, f"the setting for the role {role}")]
    if label in PLAIN_IDS:
        raise RoutingError("no_model", not_set_up(label))
    raise RoutingError(
        "no_model",
        f"The model “{label}” of the setting for the role “{role}” does not exist.",
    )


def hard_coded(role: str, sieve: Sieve) -> list[Candidate]:
    """Return what answers where a role has no chain: the built-in model, for ``chat``.

    Raises:
        RoutingError: ``no_model`` – nothing answers for the role.
    """
    if role == "chat":
        return [Candidate(BUILTIN, "nothing else is set up")]
    if sieve.left_out:
        raise RoutingError("no_model", sieve.left_out[0].why)
    raise RoutingError("no_model", f"No model is set up for the role “{role}”.")
