"""Changes to the registry: hosts with their keys, models, chains, permissions.

The page, the admin and the command line all change the registry through these
functions, so the same rules and the same audit events hold everywhere. A key is
write-only: it is stored encrypted, never shown, and given up when its host moves to
another origin or owner, so that it cannot be sent elsewhere or used by somebody else
without being typed again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from django.contrib.auth.models import Permission
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from accounts import audit
from accounts.models import User
from accounts.secrets import encrypt
from ledger.prices import price_for
from routing.addresses import origin_of, parse_url, refuse_private_literal
from routing.backends import backend_types
from routing.catalogue import BUILTIN_LABEL
from routing.errors import BadAddress, BlockedAddress
from routing.models import Host, Model, RoleSlot
from routing.registry import (
    FREE_URL_PERMISSION,
    FREE_URL_TYPES,
    NO_PERMISSION,
    may_add_free_url,
    models_visible_to,
)

CHAIN_LENGTH = 5
"""Primary and four backups."""
MEANWHILE = "Somebody else changed this at the same moment; please try again."


def addable_types() -> list[str]:
    """Return the host types that can be added: all but the built-in one."""
    return [name for name in backend_types() if name != Host.Type.BUILTIN]


def check_host(host: Host, *, actor: User | None) -> None:
    """Refuse a host that ``actor`` may not save; ``None`` = the command line.

    Raises:
        ValidationError: One sentence for each field.
    """
    if host.type not in addable_types():
        raise ValidationError({"type": "Hosts of this type cannot be added."})
    is_admin = actor is None or actor.is_admin
    same_name = Host.objects.filter(owner=host.owner, name=host.name)
    if same_name.exclude(id=host.id).exists():
        raise ValidationError({"name": "There is already a host with this name."})
    if host.type not in FREE_URL_TYPES:
        return
    if actor is not None and not may_add_free_url(actor):
        raise ValidationError(NO_PERMISSION)
    try:
        url = parse_url(host.base_url)
        if not is_admin and not _is_listed(url_origin=origin_of(host.base_url)):
            refuse_private_literal(url)
    except (BadAddress, BlockedAddress) as error:
        raise ValidationError({"base_url": str(error)}) from None
    if url.query_string or url.fragment:
        raise ValidationError({"base_url": "Leave out everything after ? or #."})


def save_host(host: Host, *, key: str | None, actor: User | None) -> Host:
    """Check and save a host.

    Args:
        key: A new key; ``""`` removes it; ``None`` keeps the stored one, unless the
            host moved to another origin or owner.
        actor: Who does it; ``None`` = the command line.

    Raises:
        ValidationError: See ``check_host``; a key with characters no key can have; a
            change by somebody else at the same moment.
    """
    host.base_url = host.base_url.strip().rstrip("/")
    check_host(host, actor=actor)
    before = Host.objects.filter(id=host.id).first() if host.id else None
    if key is None and before is not None and _moved(before, host):
        key = ""
    if key is not None:
        if not key.isascii() or not key.isprintable() or " " in key:
            raise ValidationError({"key": "A key has no spaces or special characters."})
        host.key_encrypted = encrypt("host_key", key) if key else ""
        host.flagged = ""
    with _saving():
        host.save()
        audit.record(
            "host.changed" if before else "host.added",
            actor=actor,
            subject=host.name,
            shared=host.owner_id is None,
            key_changed=key is not None,
        )
    return host


def delete_host(host: Host, *, actor: User | None) -> None:
    """Delete a host with its key, its models and their places in chains."""
    with transaction.atomic():
        shared = host.owner_id is None
        audit.record("host.deleted", actor=actor, subject=host.name, shared=shared)
        host.delete()


def check_model(model: Model) -> None:
    """Refuse a label or name that is taken.

    Raises:
        ValidationError: One sentence for the field.
    """
    label = model.label
    if label == BUILTIN_LABEL or label != label.strip() or not label.isprintable():
        raise ValidationError({"label": "This label cannot be used."})
    others = Model.objects.exclude(id=model.id)
    if others.filter(host__owner=model.host.owner, label=label).exists():
        raise ValidationError({"label": "There is already a model with this label."})
    if others.filter(host=model.host, name=model.name).exists():
        raise ValidationError({"name": "This host already has this model."})


def save_model(model: Model) -> Model:
    """Check and save a model; prices that are left open are filled where known.

    Raises:
        ValidationError: See ``check_model``.
    """
    check_model(model)
    if model.input_price_nano_usd_per_mtok is None and not model.host.is_local:
        known = price_for(model.host.type, model.name)
        if known is not None:
            model.input_price_nano_usd_per_mtok = known.input
            model.output_price_nano_usd_per_mtok = known.output
            model.cache_read_price_nano_usd_per_mtok = known.cache_read
            model.cache_write_price_nano_usd_per_mtok = known.cache_write
    with _saving():
        model.save()
    return model


def set_chain(owner: User | None, role: str, models: Sequence[Model]) -> None:
    """Replace a person's chain for a role, or the shared one; empty removes it.

    Raises:
        ValidationError: Too long, a model twice, or a model the owner cannot see.
    """
    ids = [model.id for model in models]
    if len(ids) > CHAIN_LENGTH:
        raise ValidationError(f"A chain has at most {CHAIN_LENGTH} models.")
    if len(set(ids)) != len(ids):
        raise ValidationError("Each model can stand in a chain only once.")
    if owner is None:
        if any(model.host.owner_id is not None for model in models):
            raise ValidationError("A shared chain takes shared models only.")
    elif models_visible_to(owner).filter(id__in=ids).count() != len(ids):
        raise ValidationError("You have no such model.")
    with _saving():
        RoleSlot.objects.filter(owner=owner, role=role).delete()
        RoleSlot.objects.bulk_create(
            RoleSlot(owner=owner, role=role, position=position, model=model)
            for position, model in enumerate(models)
        )


def add_to_chain(owner: User | None, role: str, model: Model) -> None:
    """Put a model behind the others of a chain.

    Raises:
        ValidationError: The chain is full.
    """
    slots = RoleSlot.objects.filter(owner=owner, role=role).select_related(
        "model__host"
    )
    chain = [slot.model for slot in slots]
    if model not in chain:
        set_chain(owner, role, [*chain, model])


def allow_free_urls(user: User, allowed: bool, *, actor: User | None) -> None:
    """Let a person add hosts at addresses of their own choice, or no longer."""
    app, _, codename = FREE_URL_PERMISSION.partition(".")
    permission = Permission.objects.get(content_type__app_label=app, codename=codename)
    if user.user_permissions.filter(id=permission.id).exists() == allowed:
        return
    with transaction.atomic():
        if allowed:
            user.user_permissions.add(permission)
        else:
            user.user_permissions.remove(permission)
        audit.record(
            "host.addresses_allowed" if allowed else "host.addresses_refused",
            actor=actor,
            subject=user.username,
        )


@contextmanager
def _saving() -> Iterator[None]:
    """Save in one transaction; what the checks could not foresee is a refusal too."""
    try:
        with transaction.atomic():
            yield
    except IntegrityError:
        raise ValidationError(MEANWHILE) from None


def _is_listed(*, url_origin: str) -> bool:
    """Say whether a shared host has this origin, so that anybody may use it."""
    for base_url in Host.objects.filter(owner=None).values_list("base_url", flat=True):
        try:
            if base_url and origin_of(base_url) == url_origin:
                return True
        except BadAddress:
            continue
    return False


def _moved(before: Host, after: Host) -> bool:
    if (before.type, before.owner_id) != (after.type, after.owner_id):
        return True
    try:
        return origin_of(before.base_url) != origin_of(after.base_url)
    except BadAddress:
        return before.base_url != after.base_url
