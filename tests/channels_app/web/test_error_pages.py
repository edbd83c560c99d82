from __future__ import annotations

from collections.abc import Callable

import pytest
from django.test import Client

from accounts.models import User
from tests.conftest import PASSWORD

pytestmark = pytest.mark.django_db
NOTHING_HERE = "There is nothing at this address, or it is not yours to see."


@pytest.mark.parametrize(
    ("method", "path", "sentence"),
    [
        ("post", "/account/sessions/999/end/", NOTHING_HERE),
        ("post", "/people/nobody/demote/", NOTHING_HERE),
        ("post", "/people/invites/999/renew/", NOTHING_HERE),
        ("get", "/settings/models/hosts/999/", NOTHING_HERE),
        ("get", "/account/2fa/totp/deactivate/", NOTHING_HERE),
        ("get", "/no/such/page/", NOTHING_HERE),
        ("get", "/personas/nobody/", "There is no such persona."),
    ],
)
def test_a_page_that_is_not_there_says_so_in_our_words(
    admin_user: User,
    client_for: Callable[[User], Client],
    method: str,
    path: str,
    sentence: str,
) -> None:
    client = client_for(admin_user)
    client.post("/account/reauthenticate/", {"password": PASSWORD})

    page = getattr(client, method)(path)

    assert page.status_code == 404
    assert sentence in page.content.decode()
    assert "query" not in page.content.decode()
