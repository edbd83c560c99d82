"""The self-test of a Talk channel names the step that fails."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from aiohttp.test_utils import TestServer
from django.conf import settings as django_settings

from channels_app.bots.adapters import ChannelInfo, TestStep
from channels_app.nextcloud_talk import self_test
from channels_app.nextcloud_talk.adapter import TalkAdapter
from channels_app.nextcloud_talk.client import REFUSED
from tests.support.certificates import self_signed
from tests.support.nextcloud import RESPONSE, ROOM, SECRET, WEBHOOK, Nextcloud, sign
from tests.support.processes import free_port
from tests.support.talk import PREVIOUS, info_for


@pytest_asyncio.fixture
async def ourselves(settings: Any) -> Any:
    """Answer at this installation's own address, with a status that a test sets."""
    answers = {"status": 200}
    got: list[tuple[str, dict[str, str], bytes]] = []

    async def answer(request: web.Request) -> web.Response:
        got.append((request.path, dict(request.headers), await request.read()))
        headers = {"Location": "/login"} if answers["status"] == 302 else {}
        return web.Response(status=answers["status"], headers=headers)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    server = TestServer(app)
    await server.start_server()
    settings.CORTEX_PUBLIC_URL = str(server.make_url("")).rstrip("/")
    yield answers, got
    await server.close()


async def run(info: ChannelInfo, room: str = ROOM) -> list[TestStep]:
    address = f"{django_settings.CORTEX_PUBLIC_URL}/webhook/nextcloud/alice"
    return await TalkAdapter().self_test(replace(info, address=address), room)


def said(steps: list[TestStep]) -> str:
    """Return what the last step says, which must be the only one that failed."""
    assert [step.ok for step in steps] == [True] * (len(steps) - 1) + [False]
    return steps[-1].detail


async def test_all_steps_pass_and_the_message_is_silent(
    nextcloud: Nextcloud, talk_info: ChannelInfo, ourselves: Any
) -> None:
    steps = await run(talk_info)
    assert [(step.name, step.ok) for step in steps] == [
        (self_test.SETTINGS, True),
        (self_test.OWN_ADDRESS, True),
        (self_test.SERVER, True),
        (self_test.MESSAGE, True),
    ]
    assert steps[2].detail == "Nextcloud 32.0.1"
    (post,) = nextcloud.posts
    assert (post.room, post.silent) == (ROOM, True)
    ((path, headers, body),) = ourselves[1]
    assert path == "/webhook/nextcloud/alice"
    random = headers["X-Nextcloud-Talk-Random"]
    assert headers["X-Nextcloud-Talk-Signature"] == sign(SECRET, random, body)
    assert json.loads(body)["type"] == "Join"
    assert json.loads(body)["object"]["id"] == ROOM


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"settings": {}}, "Enter the address"),
        ({"secrets": {}}, "Set the secret"),
    ],
)
async def test_what_is_missing_is_named_first(
    talk_info: ChannelInfo, change: dict[str, Any], words: str
) -> None:
    assert words in said(await run(replace(talk_info, **change)))


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (404, "switched off"),
        (401, "proxy"),
        (400, "proxy"),
        (500, "500"),
        (302, "CORTEX_PUBLIC_URL"),
    ],
)
async def test_its_own_address_has_to_answer_200(
    nextcloud: Nextcloud,
    talk_info: ChannelInfo,
    ourselves: Any,
    status: int,
    words: str,
) -> None:
    ourselves[0]["status"] = status
    assert words in said(await run(talk_info))
    assert nextcloud.calls == []


async def test_its_own_address_may_be_unreachable(
    talk_info: ChannelInfo, settings: Any
) -> None:
    settings.CORTEX_PUBLIC_URL = f"http://127.0.0.1:{free_port()}"
    text = said(await run(talk_info))
    assert settings.CORTEX_PUBLIC_URL in text
    assert "proxy" in text


@pytest.mark.usefixtures("ourselves")
@pytest.mark.parametrize(
    ("word", "words"),
    [
        ("status-404", "no Nextcloud"),
        ("status-500", "an error of its own (500)"),
        ("status-502", "an error of its own (502)"),
        ("status-503", "maintenance"),
        ("redirect", "redirects"),
        ("cut", "cut"),
    ],
)
async def test_the_server_has_to_be_a_nextcloud(
    nextcloud: Nextcloud, talk_info: ChannelInfo, word: str, words: str
) -> None:
    nextcloud.behave(word, word)
    steps = await run(talk_info)
    assert steps[-1].name == self_test.SERVER
    assert words in said(steps)


@pytest.mark.usefixtures("ourselves")
async def test_a_certificate_of_an_own_authority_is_explained(
    tmp_path: Path, talk_info: ChannelInfo
) -> None:
    with Nextcloud(certificate=self_signed(tmp_path)) as server:
        steps = await run(info_for(server))
    assert steps[-1].name == self_test.SERVER
    assert "SSL_CERT_FILE" in said(steps)


def lose_response(server: Nextcloud) -> None:
    server.bot.features = WEBHOOK


def lose_room(server: Nextcloud) -> None:
    server.bot.rooms.clear()


def change_secret(server: Nextcloud) -> None:
    server.bot.secret = PREVIOUS


def be_old(server: Nextcloud) -> None:
    server.features_api = False
    server.bot.features = WEBHOOK


def forget_room(server: Nextcloud) -> None:
    server.gone_rooms.add(ROOM)


@pytest.mark.usefixtures("ourselves")
@pytest.mark.parametrize(
    ("trouble", "words"),
    [
        (lose_response, "occ talk:bot:state"),
        (lose_room, "does not know this secret in this room"),
        (change_secret, "does not know this secret in this room"),
        (be_old, REFUSED),
        (forget_room, "no such room"),
    ],
)
async def test_a_refused_message_is_explained(
    nextcloud: Nextcloud,
    talk_info: ChannelInfo,
    trouble: Callable[[Nextcloud], None],
    words: str,
) -> None:
    trouble(nextcloud)
    assert nextcloud.bot.features & RESPONSE or trouble in {lose_response, be_old}
    steps = await run(talk_info)
    assert steps[-1].name == self_test.MESSAGE
    assert words in said(steps)


@pytest.mark.usefixtures("ourselves")
async def test_without_a_room_it_says_how_to_get_one(
    nextcloud: Nextcloud, talk_info: ChannelInfo
) -> None:
    assert "allow" in said(await run(talk_info, ""))
    assert nextcloud.posts == []


async def test_no_step_shows_a_secret(
    nextcloud: Nextcloud, talk_info: ChannelInfo, ourselves: Any
) -> None:
    change_secret(nextcloud)
    assert SECRET not in repr(await run(talk_info))
