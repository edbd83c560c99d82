"""Secrets at rest: encryption with keys that live outside the database.

Each purpose has a key of its own, derived by HKDF from the secret key, so that text
encrypted for one purpose is never accepted for another. The first secret key
encrypts; all of them decrypt. The owning apps register their encrypted columns, so
that ``manage.py secrets rotate`` finds every one.

Source: RFC 5869 (HKDF); cryptography documentation, MultiFernet.
"""

from __future__ import annotations

import base64
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.apps import apps
from django.conf import settings
from django.db import transaction


class Undecryptable(Exception):
    """A stored secret cannot be read: wrong key, other purpose or damaged text."""


@dataclass(frozen=True, slots=True)
class EncryptedField:
    """A column whose text (or each text inside its JSON value) is encrypted."""

    model_label: str
    field: str
    purpose: str


_REGISTRY: set[EncryptedField] = set()


def register_encrypted_field(model_label: str, field: str, purpose: str) -> None:
    """Name a column that ``rotate`` must re-encrypt, such as ``routing.Host``.

    Called once by the owning app's ``ready``. A text column holds one encrypted text
    or nothing; in a JSON column every text is encrypted.
    """
    _REGISTRY.add(EncryptedField(model_label, field, purpose))


def encrypt(purpose: str, text: str) -> str:
    """Return ``text`` encrypted for ``purpose`` with the first secret key."""
    return _ring(purpose, current_keys()).encrypt(text.encode()).decode("ascii")


def decrypt(purpose: str, token: str) -> str:
    """Return the text behind ``token``.

    Raises:
        Undecryptable: No key of this installation opens it for this purpose.
    """
    try:
        return _ring(purpose, current_keys()).decrypt(token.encode()).decode()
    except InvalidToken:
        raise Undecryptable(
            f"A stored secret ({purpose}) cannot be read with the present secret key."
        ) from None


def current_keys() -> tuple[str, ...]:
    """Return the secret keys, newest first."""
    return (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)


def reencrypt_all(keys: Sequence[str]) -> int:
    """Encrypt every registered column anew with ``keys[0]``; return how many values.

    All or nothing: one unreadable value leaves everything as it was.

    Raises:
        Undecryptable: A value opens with none of ``keys``; the text names its row.
    """
    changed = 0
    with transaction.atomic():
        for entry in sorted(_REGISTRY, key=lambda e: (e.model_label, e.field)):
            changed += _reencrypt_column(entry, tuple(keys))
    return changed


def first_unreadable(
    keys: Sequence[str] | None = None, *, per_column: int = 200
) -> str | None:
    """Name a stored secret that none of the keys opens; ``None`` = none was found.

    Looks at the newest values of every registered column, at most ``per_column`` of
    each, with the present keys where none are given.
    """
    ring_of = functools.partial(_ring, keys=tuple(keys or current_keys()))
    for entry in sorted(_REGISTRY, key=lambda e: (e.model_label, e.field)):
        manager = apps.get_model(entry.model_label)._default_manager
        rows = manager.order_by("-pk").values_list("pk", entry.field)
        for pk, value in rows[:per_column]:
            try:
                _renew(ring_of(entry.purpose), value or [])
            except InvalidToken:
                return f"{entry.model_label} {pk}: {entry.field}"
    return None


def _reencrypt_column(entry: EncryptedField, keys: tuple[str, ...]) -> int:
    manager = apps.get_model(entry.model_label)._default_manager
    ring = _ring(entry.purpose, keys)
    changed = 0
    rows = manager.select_for_update().values_list("pk", entry.field)
    for pk, value in list(rows):
        if not value:
            continue
        try:
            renewed = _renew(ring, value)
        except InvalidToken:
            raise Undecryptable(
                f"{entry.model_label} {pk}: {entry.field} cannot be read with the "
                "present secret key."
            ) from None
        manager.filter(pk=pk).update(**{entry.field: renewed})
        changed += 1
    return changed


def _renew(ring: MultiFernet, value: Any) -> Any:
    """Re-encrypt a text, or every text inside a JSON value."""
    if isinstance(value, str):
        return ring.rotate(value.encode()).decode("ascii")
    if isinstance(value, list):
        return [_renew(ring, item) for item in value]
    if isinstance(value, dict):
        return {key: _renew(ring, item) for key, item in value.items()}
    return value


@functools.lru_cache(maxsize=32)
def _ring(purpose: str, keys: tuple[str, ...]) -> MultiFernet:
    return MultiFernet([Fernet(_derive(purpose, key)) for key in keys])


def _derive(purpose: str, key: str) -> bytes:
    hkdf = HKDF(
        algorithm=SHA256(), length=32, salt=None, info=f"cortex/{purpose}".encode()
    )
    return base64.urlsafe_b64encode(hkdf.derive(key.encode()))
