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
from functools import partial

from django.contrib.auth.models import Permission
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from accounts import audit
from accounts.models import User
from accounts.secrets import encrypt
from ledger.prices import price_for
from ledger.types import PRICE_NAMES
from routing.backends import programs
from routing.catalogue import PLAIN_IDS, PROGRAM_TYPES
from routing.host_rules import (
    addable_types,
    check_host,
    check_key,
    check_model,
    clean_credential,
    gives_up_login,
    keeps_key,
    signs_in_by_hand,
)
from routing.models import Host, Model, RoleSlot
from routing.registry import FREE_URL_PERMISSION, models_visible_to

__all__ = [
    "CHAIN_LENGTH",
    "ChainRow",
    "add_to_chain",
    "addable_types",
    "allow_free_urls",
    "chain_of",
    "check_host",
    "check_key",
    "check_model",
    "clean_credential",
    "delete_host",
    "delete_model",
    "enable_host",
    "fill_price",
    "fill_prices",
    "save_host",
    "save_model",
    "set_chain",
]

ChainRow = Model | str
"""One place of a chain: a model, or the plain id of a type of host."""
CHAIN_LENGTH = 5
"""Primary and four backups."""
MEANWHILE = "Somebody else changed this at the same moment; please try again."


def save_host(host: Host, *, key: str | None, actor: User | None) -> Host:
    """Check and save a host.

    Args:
        key: A new key; ``""`` removes it; ``None`` keeps the stored one, unless the
            host moved to another origin, type, owner or kind of key.
        actor: Who does it; ``None`` = the command line.

    A login made by hand goes with the choice of it, and a host that signs in by one
    waits until somebody has logged in.

    Raises:
        ValidationError: See ``check_host``; a key with characters no key can have; a
            change by somebody else at the same moment.
    """
    host.base_url = host.base_url.strip().rstrip("/")
    if host.type not in PROGRAM_TYPES:
        host.credential = Host.Credential.KEY
    check_host(host, actor=actor)
    before = Host.objects.filter(id=host.id).first() if host.id else None
    if key is None and before is not None and not keeps_key(before, host):
        key = ""
    if before is not None and before.enabled != host.enabled:
        host.auto_enable = False  # somebody has decided
    if key is not None:
        check_key(key)
        host.key_encrypted = encrypt("host_key", key) if key else ""
        host.flagged = ""
    _wait_for_login(host)
    with _saving():
        host.save()
        if before is not None and gives_up_login(before, host):
            transaction.on_commit(partial(programs.remove_config_folder, host.id))
        audit.record(
            "host.changed" if before else "host.added",
            actor=actor,
            subject=host.name,
            shared=host.owner_id is None,
            key_changed=key is not None,
        )
    return host


def _wait_for_login(host: Host) -> None:
    """Keep a host out of use that nobody has logged in; it goes in use by itself."""
    if not host.enabled or not signs_in_by_hand(host):
        return
    if host.id is None or not programs.is_logged_in(host.type, host.id):
        host.enabled, host.auto_enable = False, True
        host.flagged = programs.NO_LOGIN


def enable_host(host: Host) -> bool:
    """Put a host in use that has proved itself; False if somebody decided otherwise.

    For hosts that wait for it (``auto_enable``); the audit log names no actor.
    """
    waiting = Host.objects.filter(id=host.id, auto_enable=True, enabled=False)
    with transaction.atomic():
        if not waiting.update(enabled=True, auto_enable=False, flagged=""):
            return False
        shared = host.owner_id is None
        audit.record("host.enabled", subject=host.name, shared=shared)
    host.enabled, host.auto_enable, host.flagged = True, False, ""
    return True


def delete_host(host: Host, *, actor: User | None) -> None:
    """Delete a host with its key, its login, its models and their places in chains."""
    with transaction.atomic():
        shared = host.owner_id is None
        audit.record("host.deleted", actor=actor, subject=host.name, shared=shared)
        transaction.on_commit(partial(programs.remove_config_folder, host.id))
        host.delete()


def delete_model(model: Model, *, actor: User | None) -> None:
    """Delete a model and its places in chains."""
    with transaction.atomic():
        shared = model.host.owner_id is None
        audit.record("model.deleted", actor=actor, subject=model.label, shared=shared)
        model.delete()


def save_model(model: Model, *, actor: User | None) -> Model:
    """Check and save a model; prices that are left open are filled where known.

    Raises:
        ValidationError: See ``check_model``.
    """
    check_model(model)
    fill_price(model)
    with _saving():
        is_new = model.id is None
        model.save()
        audit.record(
            "model.added" if is_new else "model.changed",
            actor=actor,
            subject=model.label,
            shared=model.host.owner_id is None,
        )
    return model


def fill_price(model: Model) -> bool:
    """Set the list prices of a model without prices, unsaved; say whether it did."""
    if model.input_price_nano_usd_per_mtok is not None or model.host.is_local:
        return False
    known = price_for(model.host.type, model.name)
    if known is None:
        return False
    for price in PRICE_NAMES:
        setattr(model, f"{price}_price_nano_usd_per_mtok", getattr(known, price))
    return True


def fill_prices(host_id: int) -> int:
    """Give a host's models their list prices where they have none; return how many.

    Each look-up takes up to half a second, so not in a turn.
    """
    filled = 0
    rows = Model.objects.filter(host=host_id, input_price_nano_usd_per_mtok=None)
    for model in rows.select_related("host"):
        if fill_price(model):
            model.save(
                update_fields=[
                    f"{name}_price_nano_usd_per_mtok" for name in PRICE_NAMES
                ]
            )
            filled += 1
    return filled


def chain_of(owner: User | None, role: str) -> list[ChainRow]:
    """Return a person's chain for a role, or the shared one, in order."""
    slots = RoleSlot.objects.filter(owner=owner, role=role)
    rows = slots.select_related("model__host").order_by("position")
    return [slot.model or slot.plain_id for slot in rows]


def set_chain(
    owner: User | None,
    role: str,
    chain: Sequence[ChainRow],
    *,
    actor: User | None = None,
) -> None:
    """Replace a person's chain for a role, or the shared one; empty removes it.

    Raises:
        ValidationError: Too long, a place twice, an unknown plain id, or a model the
            owner cannot see.
    """
    if len(chain) > CHAIN_LENGTH:
        raise ValidationError(f"A chain has at most {CHAIN_LENGTH} models.")
    models = [row for row in chain if isinstance(row, Model)]
    plain_ids = [row for row in chain if isinstance(row, str)]
    ids = [model.id for model in models]
    if len({*ids, *plain_ids}) != len(chain):
        raise ValidationError("Each model can stand in a chain only once.")
    if not set(plain_ids) <= PLAIN_IDS.keys():
        raise ValidationError("There is no such kind of host.")
    if owner is None:
        if any(model.host.owner_id is not None for model in models):
            raise ValidationError("A shared chain takes shared models only.")
    elif models_visible_to(owner).filter(id__in=ids).count() != len(ids):
        raise ValidationError("You have no such model.")
    with _saving():
        RoleSlot.objects.filter(owner=owner, role=role).delete()
        RoleSlot.objects.bulk_create(
            _slot(owner, role, position, row) for position, row in enumerate(chain)
        )
        audit.record(
            "chain.changed",
            actor=actor,
            subject=role,
            shared=owner is None,
            models=len(chain),
        )


def _slot(owner: User | None, role: str, position: int, row: ChainRow) -> RoleSlot:
    slot = RoleSlot(owner=owner, role=role, position=position)
    if isinstance(row, Model):
        slot.model = row
    else:
        slot.plain_id = row
    return slot


def add_to_chain(
    owner: User | None, role: str, row: ChainRow, *, actor: User | None
) -> None:
    """Put a model, or the plain id of a type, behind the others of a chain.

    Raises:
        ValidationError: The chain is full.
    """
    chain = chain_of(owner, role)
    if row not in chain:
        set_chain(owner, role, [*chain, row], actor=actor)


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
