"""What a host and a model may be: checks before they are saved, no changes.

A vendor's host reaches the vendor where no address is typed, so anybody may add one
with a key of their own. Addresses that are typed in lead anywhere, so they need a
permission; those of programs are for administrators alone, because a program does its
own networking outside ``routing.net``. Nothing that is typed is ever a path or a
command.
"""

from __future__ import annotations

import re

from django.core.exceptions import ValidationError

from accounts.models import User
from routing.addresses import origin_of, parse_url, refuse_private_literal
from routing.backends import backend_types
from routing.catalogue import PLAIN_IDS, PROGRAM_TYPES, VENDOR_TYPES
from routing.errors import BadAddress, BlockedAddress
from routing.models import Host, Model
from routing.registry import (
    FREE_URL_TYPES,
    NO_PERMISSION,
    borrows_login,
    is_in_the_house,
    leaves_unguarded,
    may_add_free_url,
)

LOGIN_IS_SHARED = (
    "A login made by hand belongs to whoever runs this machine; use a key or a token."
)
NO_TOKEN = "The Gemini CLI takes an API key or a login made by hand."  # noqa: S105
VENDOR_IS_OUTSIDE = "Texts go to the vendor, so this host is not in the house."
_PROGRAM_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@/\[\]-]*")
"""Names that a program cannot take for one of its options."""


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
    same_name = Host.objects.filter(owner=host.owner, name=host.name)
    if same_name.exclude(id=host.id).exists():
        raise ValidationError({"name": "There is already a host with this name."})
    _check_credential(host)
    if host.type in FREE_URL_TYPES or host.base_url:
        _check_address(host, actor)
    if host.is_local and not is_in_the_house(host.type, host.base_url, True):
        raise ValidationError({"is_local": VENDOR_IS_OUTSIDE})


def check_key(key: str) -> None:
    """Refuse a key with characters that no key can have.

    Raises:
        ValidationError: One sentence for the field ``key``.
    """
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ValidationError({"key": "A key has no spaces or special characters."})


def clean_credential(chosen: str) -> str:
    """Return how a host signs in; a key where nothing was said."""
    return chosen or Host.Credential.KEY


def _check_credential(host: Host) -> None:
    if borrows_login(host.owner_id, host.type, host.credential):
        raise ValidationError({"credential": LOGIN_IS_SHARED})
    is_token = host.credential == Host.Credential.TOKEN
    if host.type == Host.Type.GEMINI_CLI and is_token:
        raise ValidationError({"credential": NO_TOKEN})


def _check_address(host: Host, actor: User | None) -> None:
    is_admin = actor is None or actor.is_admin
    if leaves_unguarded(host.owner_id, host.type, host.base_url):
        text = "Only administrators point a program elsewhere, for shared hosts."
        raise ValidationError({"base_url": text})
    if actor is not None and not may_add_free_url(actor):
        if host.type in VENDOR_TYPES:
            raise ValidationError({"base_url": NO_PERMISSION})
        raise ValidationError(NO_PERMISSION)
    try:
        url = parse_url(host.base_url)
        if not is_admin and not _is_listed(url_origin=origin_of(host.base_url)):
            refuse_private_literal(url)
    except (BadAddress, BlockedAddress) as error:
        raise ValidationError({"base_url": str(error)}) from None
    if url.query_string or url.fragment:
        raise ValidationError({"base_url": "Leave out everything after ? or #."})


def check_model(model: Model) -> None:
    """Refuse a label or name that is taken or cannot be used.

    Raises:
        ValidationError: One sentence for the field.
    """
    label = model.label
    if label in PLAIN_IDS or label != label.strip() or not label.isprintable():
        raise ValidationError({"label": "This label cannot be used."})
    for_program = model.host.type in PROGRAM_TYPES
    if for_program and not _PROGRAM_MODEL.fullmatch(model.name):
        raise ValidationError({"name": "The program has no model of such a name."})
    others = Model.objects.exclude(id=model.id)
    if others.filter(host__owner=model.host.owner, label=label).exists():
        raise ValidationError({"label": "There is already a model with this label."})
    if others.filter(host=model.host, name=model.name).exists():
        raise ValidationError({"name": "This host already has this model."})


def keeps_key(before: Host, after: Host) -> bool:
    """Say whether a stored key is still for the same account at the same place."""

    def account(host: Host) -> tuple[str, int | None, str]:
        return host.type, host.owner_id, host.credential

    if account(before) != account(after):
        return False
    try:
        return origin_of(before.base_url) == origin_of(after.base_url)
    except BadAddress:
        return before.base_url == after.base_url


def signs_in_by_hand(host: Host) -> bool:
    """Say whether somebody logs this host's program in, on this machine."""
    by_hand = host.credential == Host.Credential.LOGIN
    return by_hand and host.type in PROGRAM_TYPES


def gives_up_login(before: Host, after: Host) -> bool:
    """Say whether a login made for a host is of no use after a change."""
    still = signs_in_by_hand(after) and before.type == after.type
    return signs_in_by_hand(before) and not still


def _is_listed(*, url_origin: str) -> bool:
    """Say whether a shared host has this origin, so that anybody may use it."""
    for base_url in Host.objects.filter(owner=None).values_list("base_url", flat=True):
        try:
            if base_url and origin_of(base_url) == url_origin:
                return True
        except BadAddress:
            continue
    return False
