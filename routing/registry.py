"""Reads the registry: what a person may see, change and call.

Hosts and models are shared (owner NULL, kept by administrators) or one's own. A host
at an address of a person's own choice counts only while that person may add such
addresses (the permission ``routing.add_free_url``, which administrators always have).
"""

from __future__ import annotations

from collections.abc import Iterable

from django.conf import settings
from django.db.models import F, Q, QuerySet
from django.shortcuts import get_object_or_404

from accounts.models import User
from ledger.types import Prices
from routing.addresses import origin_of
from routing.backends import backend_types
from routing.catalogue import Catalogue, HostInfo, ModelInfo
from routing.errors import BadAddress
from routing.models import Host, Model, RoleSlot

FREE_URL_TYPES = frozenset({Host.Type.LOCAL_OPENAI})
"""Types whose address is typed in, so that it could point anywhere."""
FREE_URL_PERMISSION = "routing.add_free_url"


def may_add_free_url(user: User) -> bool:
    """Say whether a person may enter addresses of their own choice."""
    return user.is_admin or user.has_perm(FREE_URL_PERMISSION)


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


def slots_visible_to(user: User) -> QuerySet[RoleSlot]:
    """Return the places of a person's own chains and the shared ones, in order."""
    return RoleSlot.objects.filter(Q(owner=user) | Q(owner=None)).order_by(
        "role", "position"
    )


def get_host_for_user(user: User, host_id: int) -> Host:
    """Return a host that a person sees; 404 for others."""
    return get_object_or_404(hosts_visible_to(user), id=host_id)


def get_model_for_user(user: User, model_id: int) -> Model:
    """Return a model that a person sees; 404 for others."""
    return get_object_or_404(models_visible_to(user), id=model_id)


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
    callable_rows = models_visible_to(user).filter(
        enabled=True, host__enabled=True, host__type__in=backend_types()
    )
    rows = list(callable_rows)
    usable = _usable(user, rows)
    listed = listed_origins(row.host for row in rows)
    hosts = {row.host_id: host_info(row.host, listed) for row in usable}
    models = {row.id: _model_info(row, hosts[row.host_id]) for row in usable}
    own: dict[str, list[ModelInfo]] = {}
    shared: dict[str, list[ModelInfo]] = {}
    for slot in slots_visible_to(user):
        if slot.model_id in models:
            chains = shared if slot.owner_id is None else own
            chains.setdefault(slot.role, []).append(models[slot.model_id])
    return Catalogue(
        models=tuple(models.values()),
        own_chains={role: tuple(chain) for role, chain in own.items()},
        shared_chains={role: tuple(chain) for role, chain in shared.items()},
        role_settings=settings.CORTEX_ROLE_MODELS,
        default_tier=settings.CORTEX_DEFAULT_TIER,
    )


def listed_origins(hosts: Iterable[Host]) -> frozenset[str]:
    """Return the origins among ``hosts`` that an administrator saved."""
    origins = set()
    for host in hosts:
        if host.base_url and _saved_by_admin(host):
            try:
                origins.add(origin_of(host.base_url))
            except BadAddress:
                continue
    return frozenset(origins)


def info_for(user: User, host: Host) -> HostInfo:
    """Return one host as a plain value, as it counts for this person."""
    listed = listed_origins(hosts_visible_to(user).select_related("owner"))
    return host_info(host, listed)


def host_info(host: Host, listed: frozenset[str]) -> HostInfo:
    """Return a host as a plain value; ``listed`` from ``listed_origins``."""
    try:
        trusted = bool(host.base_url) and origin_of(host.base_url) in listed
    except BadAddress:
        trusted = False
    return HostInfo(
        id=host.id,
        name=host.name,
        type=host.type,
        base_url=host.base_url,
        key_encrypted=host.key_encrypted,
        is_local=host.is_local,
        flagged=host.flagged,
        owner_id=host.owner_id,
        trusted_origin=trusted,
    )


def prices_of(model: Model) -> Prices:
    """Return what a model costs: nothing in the house, else as it was registered."""
    if model.host.is_local:
        return Prices.local()
    return Prices(
        input=model.input_price_nano_usd_per_mtok,
        output=model.output_price_nano_usd_per_mtok,
        cache_read=model.cache_read_price_nano_usd_per_mtok,
        cache_write=model.cache_write_price_nano_usd_per_mtok,
    )


def _saved_by_admin(host: Host) -> bool:
    return host.owner is None or host.owner.is_admin


def _usable(user: User, rows: list[Model]) -> list[Model]:
    """Leave out own hosts at addresses that the person may no longer choose."""
    free = [
        row.host.owner_id is not None and row.host.type in FREE_URL_TYPES
        for row in rows
    ]
    if any(free) and not may_add_free_url(user):
        return [row for row, is_free in zip(rows, free, strict=True) if not is_free]
    return rows


def _model_info(row: Model, host: HostInfo) -> ModelInfo:
    return ModelInfo(
        id=row.id,
        label=row.label,
        name=row.name,
        host=host,
        context_tokens=row.context_tokens,
        max_output_tokens=row.max_output_tokens,
        tier=row.tier,
        prices=prices_of(row),
        tags=tuple(row.tags),
    )
