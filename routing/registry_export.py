"""Writes a registry in the form that ``routing.registry_file`` reads.

Keys are left empty unless they are asked for. Fields beyond those of earlier versions
(tiers, prices, limits) stand beside them, so that nothing is lost on the way back.
"""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from accounts.models import User
from ledger.money import format_usd
from ledger.types import PRICE_NAMES
from routing.hosts import ChainRow, chain_of
from routing.keys import key_of
from routing.models import Host, Model, RoleSlot
from routing.registry_file import EXPORT_MARK, PLACES, WRITER
from routing.registry_values import TOKENS_PER_K

VERSION = 1


def registry_json(owner: User | None, *, with_secrets: bool = False) -> str:
    """Return a person's own registry, or the shared one, as JSON text.

    Raises:
        AuthenticationFailed: A key is asked for and cannot be read.
    """
    host_rows = Host.objects.filter(owner=owner).order_by("name")
    model_rows = Model.objects.filter(host__owner=owner).order_by("label")
    slots = RoleSlot.objects.filter(owner=owner)
    roles = slots.order_by("role").values_list("role", flat=True).distinct()
    value = {
        "version": VERSION,
        EXPORT_MARK: WRITER,
        "hosts": {host.name: _host(host, with_secrets) for host in host_rows},
        "models": {row.label: _model(row) for row in model_rows.select_related("host")},
        "roles": {role: _chain(chain_of(owner, role)) for role in roles},
    }
    return json.dumps(value, ensure_ascii=False, indent=2) + "\n"


def _host(host: Host, with_secrets: bool) -> dict[str, Any]:
    return {
        "type": host.type,
        "label": host.name,
        "base_url": host.base_url,
        "api_key": key_of(host) if with_secrets else "",
        "credential": host.credential,
        "local": host.is_local,
        "enabled": host.enabled,
    }


def _model(model: Model) -> dict[str, Any]:
    thousands = Decimal(model.context_tokens) / TOKENS_PER_K
    whole = thousands == thousands.to_integral_value()
    prices = {
        price: format_usd(getattr(model, f"{price}_price_nano_usd_per_mtok"))
        for price in PRICE_NAMES
    }
    return {
        "type": model.host.type,
        "label": model.label,
        "model_name": model.name,
        "host_id": model.host.name,
        "context_k": int(thousands) if whole else float(thousands),
        "tags": model.tags,
        "tier": model.tier,
        "max_output_tokens": model.max_output_tokens,
        "enabled": model.enabled,
        "prices": prices,
    }


def _chain(rows: list[ChainRow]) -> dict[str, str]:
    ids = [row.label if isinstance(row, Model) else row for row in rows]
    return dict(zip(PLACES, ids, strict=False))
