from __future__ import annotations

from collections.abc import Callable

import pytest
from django.test import Client

from accounts.models import User

ADDRESSES = [
    "/personas/ina%00ra/",
    "/personas/inara/files/SOUL.md%00/",
    "/c/of/ina%00ra/",
    "/setup/%00",
    "/people/bob%00/delete/",
    "/settings/models/chains/own/chat%00/",
    "/nothing/%00",
    "/?persona=%00",
    "/personas/?x=1&y=a%00b",
]


@pytest.mark.parametrize("address", ADDRESSES)
def test_an_address_with_a_null_character_is_not_found(
    client_for: Callable[[User], Client], admin_user: User, address: str
) -> None:
    assert client_for(admin_user).get(address).status_code == 404
