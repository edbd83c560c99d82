"""Reads the registry: what a person may see, change and call.

Hosts and models are shared (owner NULL, kept by administrators) or one's own. A host
at an address of a person's own choice counts only while that person may add such
addresses (the permission ``routing.add_free_url``, which administrators always have).
Vendors' hosts reach the vendor unless an address is typed, so with a key of one's own
they need no permission.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress

from django.conf import settings
from django.db.models import F, Q, QuerySet
from django.shortcuts import get_object_or_404

from accounts.models import User
from ledger.types import Prices
from routing.addresses import origin_of
from routing.backends import backend_types
from routing.catalogue import (
    PROGRAM_TYPES,
    VENDOR_TYPES,
    Catalogue,
    ChainEntry,
    HostInfo,
    ModelInfo,
)
from routing.catalogue_rows import (
    ModelRow,
    host_model_rows,
    model_rows,
    slot_rows,
)
from routing.errors import BadAddress
from routing.models import Host, Model

FREE_URL_TYPES = frozenset({Host.Type.LOCAL_OPENAI})
"""Types whose address is typed in, so that it could point anywhere."""
FREE_URL_PERMISSION = "routing.add_free_url"
NO_PERMISSION = (
    "Hosts at an address of your own choice need the permission of an administrator."
)


def may_add_free_url(user: User) -> bool:
    """Say whether a person may enter addresses of their own choice."""
    return user.is_admin or user.has_perm(FREE_URL_PERMISSION)


def may_call(user: User, host: HostInfo) -> bool:
    """Say whether a person may still call a host that they see."""
    if borrows_login(host.owner_id, host.type, host.credential):
        return False
    if leaves_unguarded(host.owner_id, host.type, host.base_url):
        return False
    own_choice = _is_own_choice(host.owner_id, host.type, host.base_url)
    return not own_choice or may_add_free_url(user)


def _is_own_choice(owner_id: int | None, host_type: str, base_url: str) -> bool:
    """Say whether a person, not an administrator, may have chosen a host's address."""
    return owner_id is not None and (host_type in FREE_URL_TYPES or bool(base_url))


def borrows_login(owner_id: int | None, host_type: str, credential: str) -> bool:
    """Say whether one's own host would use a login made on the machine by hand.

    Only the operator of the machine can have made it, so it is for shared hosts.
    """
    by_hand = host_type in PROGRAM_TYPES and credential == Host.Credential.LOGIN
    return owner_id is not None and by_hand


def leaves_unguarded(owner_id: int | None, host_type: str, base_url: str) -> bool:
    """Say whether one's own host would point a program at an address.

    Programs do their own networking, past the guard of ``routing.net``.
    """
    return owner_id is not None and host_type in PROGRAM_TYPES and bool(base_url)


def is_in_the_house(host_type: str, base_url: str, is_local: bool) -> bool:
    """Say whether text stays here; at a vendor's own address it never does."""
    return is_local and (host_type not in VENDOR_TYPES or bool(base_url))


def hosts_visible_to(user: User) -> QuerySet[Host]:
    """Return a person's own hosts and the shared ones, own first."""
    return Host.objects.filter(Q(owner=user) | Q(owner=None)).order_by(
        F("owner").asc(nulls_last=True), "name"
    )


def models_visible_to(user: User) -> QuerySet[Model]:
    """Return the models on the hosts that a person sees, own first."""
    return (
        Model.objects.filter(Q(host__owner=user) | Q(host__owner=None))
        .select_related("host", "host__owner")
        .order_by(F("host__owner").asc(nulls_last=True), "host__name", "tier", "label")
    )


def get_host_to_change(user: User, host_id: int) -> Host:
    """Return a host that a person may change: their own, for administrators shared."""
    return get_object_or_404(_changeable_hosts(user), id=host_id)


def get_model_to_change(user: User, model_id: int) -> Model:
    """Return a model on a host that the person may change; 404 for others."""
    changeable = models_visible_to(user).filter(host__in=_changeable_hosts(user))
    return get_object_or_404(changeable, id=model_id)


def _changeable_hosts(user: User) -> QuerySet[Host]:
    own = Q(owner=user)
    return Host.objects.filter(own | Q(owner=None) if user.is_admin else own)


def catalogue_for(user: User) -> Catalogue:
    """Return everything that may be called for a person, in two queries.

    Disabled hosts and models, types without a back end, and addresses that the person
    may no longer use are left out.
    """
    rows = model_rows(user.id, backend_types())
    listed = _origins(
        (row.base_url, row.owner_id is None or _is_admin(row)) for row in rows
    )
    hosts: dict[int, HostInfo] = {}
    models: dict[int, ModelInfo] = {}
    for row in _usable(user, rows):
        host = hosts.get(row.host_id)
        if host is None:
            host = hosts[row.host_id] = _host_of(row, listed)
        models[row.id] = _model_of(row, host)
    own: dict[str, list[ChainEntry]] = {}
    shared: dict[str, list[ChainEntry]] = {}
    for slot in slot_rows(user.id):
        entry = slot.plain_id or models.get(slot.model_id or 0)
        if entry:
            chains = shared if slot.owner_id is None else own
            chains.setdefault(slot.role, []).append(entry)
    return Catalogue(
        models=tuple(models.values()),
        own_chains={role: tuple(chain) for role, chain in own.items()},
        shared_chains={role: tuple(chain) for role, chain in shared.items()},
        role_settings=settings.CORTEX_ROLE_MODELS,
        default_tier=settings.CORTEX_DEFAULT_TIER,
        too_much_for_builtin=frozenset(
            () if settings.CORTEX_MEMORY_BUILTIN else ("distill",)
        ),
    )


def catalogue_of_host(user: User, host_id: int) -> Catalogue:
    """Return the models of one host that a person sees, also while it is not in use.

    For tests of a host, so that it can prove itself before anybody relies on it; there
    are no chains.
    """
    host = hosts_visible_to(user).filter(id=host_id, type__in=backend_types()).first()
    if host is None:
        return Catalogue()
    info = info_for(user, host)
    if not may_call(user, info):
        return Catalogue()
    return Catalogue(tuple(_model_of(row, info) for row in host_model_rows(host_id)))


def info_for(user: User, host: Host) -> HostInfo:
    """Return one host as a plain value, as it counts for this person."""
    visible = hosts_visible_to(user).select_related("owner")
    listed = _origins((row.base_url, _saved_by_admin(row)) for row in visible)
    return HostInfo(
        id=host.id,
        name=host.name,
        type=host.type,
        base_url=host.base_url,
        key_encrypted=host.key_encrypted,
        is_local=is_in_the_house(host.type, host.base_url, host.is_local),
        flagged=host.flagged,
        credential=host.credential,
        cooling_until=host.cooling_until,
        owner_id=host.owner_id,
        trusted_origin=_is_listed(host.base_url, listed),
    )


def _origins(saved: Iterable[tuple[str, bool]]) -> frozenset[str]:
    """Return the origins that an administrator saved, of pairs of URL and yes or no."""
    origins = set()
    for base_url, by_admin in saved:
        if base_url and by_admin:
            with suppress(BadAddress):
                origins.add(origin_of(base_url))
    return frozenset(origins)


def _is_listed(base_url: str, listed: frozenset[str]) -> bool:
    try:
        return bool(base_url) and origin_of(base_url) in listed
    except BadAddress:
        return False


def _saved_by_admin(host: Host) -> bool:
    return host.owner is None or host.owner.is_admin


def _is_admin(row: ModelRow) -> bool:
    """Say of a row's owner what ``User.is_admin`` says."""
    return bool(row.owner_is_active and row.owner_is_superuser)


def _usable(user: User, rows: list[ModelRow]) -> list[ModelRow]:
    """Leave out own hosts at addresses that the person may no longer choose."""
    rows = [
        row
        for row in rows
        if not borrows_login(row.owner_id, row.host_type, row.credential)
        and not leaves_unguarded(row.owner_id, row.host_type, row.base_url)
    ]
    free = [_is_own_choice(row.owner_id, row.host_type, row.base_url) for row in rows]
    if any(free) and not may_add_free_url(user):
        return [row for row, is_free in zip(rows, free, strict=True) if not is_free]
    return rows


def _host_of(row: ModelRow, listed: frozenset[str]) -> HostInfo:
    return HostInfo(
        id=row.host_id,
        name=row.host_name,
        type=row.host_type,
        base_url=row.base_url,
        key_encrypted=row.key_encrypted,
        is_local=is_in_the_house(row.host_type, row.base_url, bool(row.is_local)),
        flagged=row.flagged,
        credential=row.credential,
        cooling_until=row.cooling_until,
        owner_id=row.owner_id,
        trusted_origin=_is_listed(row.base_url, listed),
    )


def _model_of(row: ModelRow, host: HostInfo) -> ModelInfo:
    tags = json.loads(row.tags) if isinstance(row.tags, str) else row.tags
    return ModelInfo(
        id=row.id,
        label=row.label,
        name=row.name,
        host=host,
        context_tokens=row.context_tokens,
        max_output_tokens=row.max_output_tokens,
        tier=row.tier,
        prices=_prices_of(row, is_local=host.is_local),
        tags=tuple(tags),
    )


def _prices_of(row: ModelRow, *, is_local: bool) -> Prices:
    """Return what a model costs: nothing in the house, else as it was registered."""
    if is_local:
        return Prices.local()
    return Prices(
        input=row.input_price,
        output=row.output_price,
        cache_read=row.cache_read_price,
        cache_write=row.cache_write_price,
    )
