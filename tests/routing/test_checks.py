from __future__ import annotations

from typing import Any

import pytest

from routing.backends import UnknownBackend, get_backend
from routing.checks import check_routing_settings

SCRIPTED = "routing.backends.scripted.Scripted"


def test_settings_as_they_are_pass() -> None:
    assert check_routing_settings(None) == []


@pytest.mark.parametrize(
    ("backends", "code"),
    [
        ({"telepathy": SCRIPTED}, "routing.E001"),
        ({"scripted": "routing.backends.nowhere.Nothing"}, "routing.E002"),
        ({"scripted": "routing.backends.scripted.Nothing"}, "routing.E002"),
        ({"builtin": SCRIPTED}, "routing.E003"),
    ],
)
def test_unusable_back_ends_are_named(
    settings: Any, backends: dict[str, str], code: str
) -> None:
    settings.MODEL_BACKENDS = backends
    (message,) = check_routing_settings(None)
    assert message.id == code
    assert next(iter(backends)) in message.msg


@pytest.mark.parametrize("role", ["Chat", "a b", "", "x" * 33])
def test_unusable_roles_are_named(settings: Any, role: str) -> None:
    settings.MODEL_ROLES = ["chat", role]
    assert [message.id for message in check_routing_settings(None)] == ["routing.E004"]


def test_unknown_back_end_is_an_error() -> None:
    with pytest.raises(UnknownBackend):
        get_backend("telepathy")
