"""The stand-in for Nextcloud Talk can be tried out by hand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.nextcloud import Nextcloud, deliver, sign


@pytest.fixture
def server() -> Iterator[Nextcloud]:
    """The stand-in, as it runs by hand."""
    with Nextcloud() as server:
        yield server


def send(server: Nextcloud, wish: Any) -> tuple[int, Any]:
    body = json.dumps(wish).encode()
    answer = deliver(f"{server.url}/send", body, {"Content-Type": "application/json"})
    return answer.status, json.loads(answer.body)


def test_a_message_is_sent_signed_from_whom_and_where_is_said(
    server: Nextcloud,
) -> None:
    with Nextcloud() as bot:  # keeps what it gets, and refuses it as it is no bot
        address = f"{bot.url}/webhook/nextcloud/alice"
        wish = {"address": address, "text": "Hi", "room": "r00m", "sender": "users/bob"}
        status, got = send(server, wish)
        (call,) = bot.calls
    assert (status, got["status"]) == (200, 404)
    assert call.path == "/webhook/nextcloud/alice"
    random = call.headers["X-Nextcloud-Talk-Random"]
    expected = sign(server.bot.secret, random, call.body)
    assert call.headers["X-Nextcloud-Talk-Signature"] == expected
    event = call.json
    assert event["actor"]["id"] == "users/bob"
    assert event["target"]["id"] == "r00m"
    assert event["object"]["id"] == str(got["id"])
    assert json.loads(event["object"]["content"])["message"] == "Hi"
    assert "r00m" in server.bot.rooms


def test_where_nobody_listens_is_told(server: Nextcloud) -> None:
    status, got = send(server, {"address": "http://127.0.0.1:9/", "text": "Hi"})
    assert (status, got["status"]) == (200, None)
    assert "refused" in got["answer"]


@pytest.mark.parametrize(
    "wish",
    [
        [],
        {"text": "Hi"},
        {"address": "http://127.0.0.1:9/", "text": 7},
        {"address": "http://127.0.0.1:9/", "text": "Hi", "to": "bob"},
    ],
)
def test_a_wish_that_cannot_be_understood_is_refused(
    server: Nextcloud, wish: Any
) -> None:
    status, got = send(server, wish)
    assert status == 400 and "address" in got["error"]
    assert server.calls == []
