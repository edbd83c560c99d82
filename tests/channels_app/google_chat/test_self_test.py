"""The self-test names the step that fails, and what to do."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
import pytest_asyncio

from channels_app.bots.adapters import ChannelInfo, TestStep
from channels_app.google_chat import self_test
from channels_app.google_chat.adapter import GoogleChatAdapter
from routing import net
from tests.support.google import ADDON_ACCOUNT, GoogleStandIn
from tests.support.google_chat import google_info

ROOM = "spaces/AAA"


@pytest_asyncio.fixture(autouse=True)
async def closed_sessions() -> AsyncIterator[None]:
    """Close what the test's event loop opened."""
    yield
    await net.close()


@pytest.fixture
def own(settings: Any) -> Iterator[Callable[[int], None]]:
    """Answer at Cortex's own address, with the status that the function is given."""
    statuses = [401]

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            assert "Authorization" not in self.headers
            self.send_response(statuses[-1])
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, args=[0.02], daemon=True).start()
    settings.CORTEX_PUBLIC_URL = f"http://127.0.0.1:{server.server_port}"
    yield statuses.append
    server.shutdown()
    server.server_close()


async def run(channel: ChannelInfo, room: str = ROOM) -> list[TestStep]:
    return await GoogleChatAdapter().self_test(channel, room)


def names(steps: list[TestStep]) -> list[str]:
    assert all(step.ok for step in steps[:-1])
    return [step.name for step in steps]


async def test_all_steps_pass_and_leave_nothing_behind(
    google: GoogleStandIn, own: Any, quick: None
) -> None:
    steps = await run(google_info(google))
    assert names(steps) == [
        self_test.SETTINGS,
        self_test.OWN_ADDRESS,
        self_test.KEYS,
        self_test.ACCOUNT,
        self_test.MESSAGE,
    ]
    assert steps[-1].ok
    assert [each.kind for each in google.of("create", "delete")] == ["create", "delete"]
    assert not google.messages


async def test_without_a_service_account_it_ends_well_before_posting(
    google: GoogleStandIn, own: Any
) -> None:
    steps = await run(google_info(google, other="x"))
    assert names(steps)[-1] == self_test.ACCOUNT
    assert steps[-1].ok and "25 seconds" in steps[-1].detail


async def test_incomplete_settings_are_the_first_step(google: GoogleStandIn) -> None:
    steps = await run(replace(google_info(google), settings={"audience": "url"}))
    assert names(steps) == [self_test.SETTINGS] and not steps[-1].ok
    assert not google.requests


@pytest.mark.parametrize("slash", ["", "/"])
async def test_an_address_that_differs_by_a_letter_is_named(
    google: GoogleStandIn, own: Any, settings: Any, slash: str
) -> None:
    endpoint = f"{settings.CORTEX_PUBLIC_URL}/channels/google-chat/alice{slash}"
    wanted = {"audience": "addon", "endpoint": endpoint, "addon_account": ADDON_ACCOUNT}
    steps = await run(replace(google_info(google), settings=wanted), "")
    assert steps[0].ok is not bool(slash)
    if slash:
        assert endpoint in steps[0].detail


@pytest.mark.parametrize(
    ("status", "word"), [(404, "switched off"), (200, "proxy"), (502, "502"), (302, "")]
)
async def test_an_own_address_that_answers_otherwise_is_named(
    google: GoogleStandIn, own: Callable[[int], None], status: int, word: str
) -> None:
    own(status)
    steps = await run(google_info(google))
    assert names(steps)[-1] == self_test.OWN_ADDRESS and not steps[-1].ok
    assert (
        word in steps[-1].detail and "/channels/google-chat/alice" in steps[-1].detail
    )


async def test_an_own_address_where_nobody_answers_is_named(
    google: GoogleStandIn, settings: Any
) -> None:
    settings.CORTEX_PUBLIC_URL = "http://127.0.0.1:9"
    steps = await run(google_info(google))
    assert names(steps)[-1] == self_test.OWN_ADDRESS and not steps[-1].ok
    assert "CORTEX_PUBLIC_URL" in steps[-1].detail


@pytest.mark.parametrize(
    ("kind", "status", "step"),
    [
        ("keys", 500, self_test.KEYS),
        ("token", 400, self_test.ACCOUNT),
        ("create", 403, self_test.MESSAGE),
    ],
)
async def test_googles_refusals_are_named(
    google: GoogleStandIn, own: Any, quick: None, kind: str, status: int, step: str
) -> None:
    google.fail(kind, status)
    steps = await run(google_info(google))
    assert names(steps)[-1] == step and not steps[-1].ok
    assert str(status) in steps[-1].detail


async def test_a_key_that_was_deleted_is_noticed_although_its_token_is_kept(
    google: GoogleStandIn, own: Any, quick: None
) -> None:
    assert (await run(google_info(google)))[-1].ok
    google.fail("token", 400)
    steps = await run(google_info(google))
    assert names(steps)[-1] == self_test.ACCOUNT and not steps[-1].ok
    assert "not deleted" in steps[-1].detail


async def test_without_a_space_it_says_how_to_get_one(
    google: GoogleStandIn, own: Any
) -> None:
    steps = await run(google_info(google), "")
    assert names(steps)[-1] == self_test.MESSAGE and not steps[-1].ok
    assert "allow the space" in steps[-1].detail


async def test_a_message_that_cannot_be_taken_back_is_told(
    google: GoogleStandIn, own: Any, quick: None
) -> None:
    google.fail("delete", 403)
    steps = await run(google_info(google))
    assert steps[-1].ok and "stays" in steps[-1].detail
    assert google.texts == [self_test.GREETING]
