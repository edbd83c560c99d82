from __future__ import annotations

from collections.abc import Callable

import pytest
from django.test import Client

from accounts.models import User
from channels_app.web.identity import identify

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    "cookies",
    [
        "sessionid={key}",
        'foo={{"a":1}}; sessionid={key}',
        "a b=c; sessionid={key}; [x]=y",
        "lone; theme=dark; sessionid={key}",
    ],
)
def test_cookies_of_other_programs_do_not_hide_the_session(
    alice: User, client_for: Callable[[User], Client], cookies: str
) -> None:
    key = client_for(alice).session.session_key
    assert key is not None
    value = cookies.format(key=key).encode()

    identity = identify({"headers": [(b"cookie", value)]})

    assert identity is not None
    assert (identity.user_id, identity.session_key) == (alice.pk, key)


@pytest.mark.parametrize("cookies", [b"", b"sessionid=", b"sessionid=nobodys", b"\xff"])
def test_without_a_session_it_is_nobody(cookies: bytes) -> None:
    assert identify({"headers": [(b"cookie", cookies)]}) is None
    assert identify({"headers": []}) is None
