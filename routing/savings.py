"""What routing saved: the same tokens at the dearest model's price, minus the bill.

The yardstick is "always the top tier": every token that a person's calls used, priced
as the dearest tier-3 model that this person may call. A comparison is made only where
every price in it is known; otherwise the answer is ``None``, which pages show as "–".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from accounts.models import User
from ledger.money import cost_of
from ledger.statistics import Totals, breakdown, totals
from ledger.types import Settlement
from routing.catalogue import ModelInfo
from routing.models import Host
from routing.registry import catalogue_for

TOP_TIER = 3
NO_YARDSTICK = "no model of tier 3 has a known price"


@dataclass(frozen=True, slots=True)
class Used:
    """Tokens and money of some calls, as they were booked."""

    input_tokens: int = 0
    """Cache reads and writes included."""
    output_tokens: int = 0
    cost_nano_usd: int = 0
    unknown_cost_calls: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Saving:
    """What was saved against always using the top tier; negative = it cost more."""

    nano_usd: int | None
    """``None`` where a price is unknown."""
    against: str = ""
    """The label of the model that served as the yardstick."""
    why_unknown: str = field(default="", compare=False)
    """The end of a sentence: "no figure, because …"."""


def saved_nano_usd(user: User, since: datetime | None = None) -> int | None:
    """Return what a person saved in nano-dollars; ``None`` where a price is unknown."""
    return saving_of(user, since).nano_usd


def saving_of(
    user: User, since: datetime | None = None, *, sums: Totals | None = None
) -> Saving:
    """Compare a person's calls with the dearest tier-3 model that they may call.

    ``sums`` are those of the calls, where they are known already.
    """
    if sums is None:
        sums = totals(user, since=since)
    return compare(catalogue_for(user).models, used_in(sums))


def saving_of_everybody(
    since: datetime | None = None, *, by_id: Mapping[int | None, Totals] | None = None
) -> Saving:
    """Add up what people saved, each compared with the models that they may call.

    Calls of nobody, such as tests of hosts, and of people who are gone are left out,
    because they have no registry. One unknown saving makes the sum unknown. ``by_id``
    are the sums by the ids of people, where they are known already.
    """
    if by_id is None:
        by_id = breakdown(None, "user_id", since=since).by("user_id")
    people = User.objects.filter(pk__in=[each for each in by_id if each is not None])
    total, against = 0, set()
    for person, models in _models_of(list(people.order_by("username"))):
        saving = compare(models, used_in(by_id[person.pk]))
        if saving.nano_usd is None:
            why = f"of {person.username} {saving.why_unknown}"
            return Saving(None, why_unknown=why)
        total += saving.nano_usd
        against.add(saving.against)
    return Saving(total, " or ".join(sorted(against)))


def _models_of(people: list[User]) -> Iterator[tuple[User, tuple[ModelInfo, ...]]]:
    """Yield each person with what they may call.

    Those who have no hosts of their own all have the same models, looked up once.
    """
    ids = [each.pk for each in people]
    owners = set(
        Host.objects.filter(owner_id__in=ids).values_list("owner_id", flat=True)
    )
    shared: tuple[ModelInfo, ...] | None = None
    for person in people:
        if person.pk in owners:
            yield person, catalogue_for(person).models
            continue
        if shared is None:
            shared = catalogue_for(person).models
        yield person, shared


def used_in(sums: Totals) -> Used:
    """Return what calls used and cost, corrections included."""
    return Used(
        input_tokens=sums.input_tokens or 0,
        output_tokens=sums.output_tokens or 0,
        cost_nano_usd=sums.cost_nano_usd,
        unknown_cost_calls=sums.unknown_cost_calls,
        cache_read_tokens=sums.cache_read_tokens,
        cache_write_tokens=sums.cache_write_tokens,
    )


def compare(models: Iterable[ModelInfo], used: Used) -> Saving:
    """Compare what was used with the model of tier 3 that would have cost most."""
    if used.unknown_cost_calls:
        count = used.unknown_cost_calls
        calls = "1 call is" if count == 1 else f"{count} calls are"
        return Saving(None, why_unknown=f"{calls} of unknown cost")
    priced = [
        (cost, model.label)
        for model in models
        if model.tier == TOP_TIER and (cost := _cost_with(model, used)) is not None
    ]
    if not priced:
        return Saving(None, why_unknown=NO_YARDSTICK)
    cost, label = max(priced)
    return Saving(cost - used.cost_nano_usd, label)


def _cost_with(model: ModelInfo, used: Used) -> int | None:
    """Return what the same tokens cost with a model; ``None`` = price unknown."""
    if model.prices.input is None or model.prices.output is None:
        return None
    spent = Settlement(
        outcome="complete",
        elapsed_ms=0,
        input_tokens=used.input_tokens,
        output_tokens=used.output_tokens,
        cache_read_tokens=used.cache_read_tokens,
        cache_write_tokens=used.cache_write_tokens,
    )
    return cost_of(model.prices, spent).cost_nano_usd
