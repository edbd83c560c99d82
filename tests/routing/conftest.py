"""Hosts, models and prompts for the tests of routing."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest

from accounts.models import User
from accounts.secrets import encrypt
from ledger.types import Caller
from routing.backends.base import Prompt, PromptMessage
from routing.catalogue import VENDOR_TYPES, ChainEntry
from routing.models import Host, Model, RoleSlot

PROMPT = Prompt("Be kind.", (PromptMessage("user", "Hello, who are you?"),))


def caller_of(user: User) -> Caller:
    """Return the caller for a person on the web."""
    return Caller(user.id, user.username, channel="web")


def labels_of(chain: Iterable[ChainEntry]) -> list[str]:
    """Return the models and plain ids of a chain in words."""
    return [entry if isinstance(entry, str) else entry.label for entry in chain]


@pytest.fixture(autouse=True)
def _scripted_back_end(settings: Any) -> None:
    """Make the scripted back end callable beside the real ones."""
    settings.MODEL_BACKENDS = {
        **settings.MODEL_BACKENDS,
        "scripted": "routing.backends.scripted.Scripted",
    }


@pytest.fixture
def vendor_types(settings: Any) -> None:
    """Let the scripted back end answer for every type of host, whoever calls it."""
    scripted = settings.MODEL_BACKENDS["scripted"]
    settings.MODEL_BACKENDS = {
        **settings.MODEL_BACKENDS,
        **dict.fromkeys(sorted(VENDOR_TYPES), scripted),
    }


@pytest.fixture
def add_model(db: None) -> Callable[..., Model]:
    """Return a function that makes a model and, where needed, its host."""

    def add(
        name: str = "m1",
        *,
        owner: User | None = None,
        type: str = "scripted",
        host: str = "",
        base_url: str = "",
        key: str = "",
        is_local: bool = False,
        **fields: Any,
    ) -> Model:
        host_row, _ = Host.objects.get_or_create(
            owner=owner,
            name=host or f"host of {name}",
            defaults={
                "type": type,
                "base_url": base_url,
                "is_local": is_local,
                "key_encrypted": encrypt("host_key", key) if key else "",
            },
        )
        return Model.objects.create(
            host=host_row, name=name, **{"label": name, **fields}
        )

    return add


@pytest.fixture
def set_chain(db: None) -> Callable[..., None]:
    """Return a function that fills a chain with models, in order."""

    def fill(role: str, *models: Model, owner: User | None = None) -> None:
        for position, model in enumerate(models):
            RoleSlot.objects.create(
                owner=owner, role=role, position=position, model=model
            )

    return fill
