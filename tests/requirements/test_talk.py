"""Nextcloud Talk's webhook and its answers: S25, S26, S27, and where replies go."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import pytest
from django.db import OperationalError
from django.http import HttpResponse
from django.test import AsyncClient

from accounts import people
from accounts.models import User
from channels_app.bots import answering, inbox
from channels_app.bots.channels import set_secrets
from channels_app.models import Channel, InboundEvent, OutboundReply
from channels_app.nextcloud_talk import self_test
from routing.models import Model
from tests.channels_app.nextcloud_talk.test_signature import (
    IN_BODY,
    IN_RANDOM,
    IN_SIGNATURE,
)
from tests.channels_app.nextcloud_talk.test_signature import SECRET as VECTOR_SECRET
from tests.support.certificates import self_signed
from tests.support.chat_fixtures import *  # noqa: F403
from tests.support.nextcloud import ROOM, SECRET, Nextcloud, deliver, php_json, sign
from tests.support.nextcloud_events import new_random
from tests.support.processes import ServerProcess
from tests.support.seeding import seed
from tests.support.talk import *  # noqa: F403
from tests.support.talk import PREVIOUS, info_for, make_talk_channel
from tests.support.upstream import Upstream

ADDRESS = "/webhook/nextcloud/alice"
OTHER_BODY = IN_BODY.replace(b'"42"', b'"43"')


@pytest.fixture
def woken(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let nobody answer, and note for which channels somebody should have."""
    calls: list[int] = []
    monkeypatch.setattr(answering, "wake", calls.append)
    return calls


@pytest.fixture
def hers(transactional_db: None, persona: Any) -> Channel:
    """Alice's channel with the secrets of the vectors."""
    return make_talk_channel(persona, secret=VECTOR_SECRET, previous=PREVIOUS)


async def post(
    body: bytes = IN_BODY,
    random: str | None = IN_RANDOM.decode(),
    signature: str | None = IN_SIGNATURE.decode(),
    *,
    address: str = ADDRESS,
    client: AsyncClient | None = None,
    headers: dict[str, str] | None = None,
) -> HttpResponse:
    """Send an event; without changes it is the vector."""
    given = {
        "X-Nextcloud-Talk-Random": random,
        "X-Nextcloud-Talk-Signature": signature,
        **(headers or {}),
    }
    response = await (client or AsyncClient()).post(
        address,
        body,
        content_type="application/json",
        headers={name: value for name, value in given.items() if value is not None},
    )
    return cast("HttpResponse", response)


async def post_signed(
    body: bytes, random: str = "r" * 64, secret: str = VECTOR_SECRET, **options: Any
) -> HttpResponse:
    """Send an event that is signed as it must be."""
    return await post(body, random, sign(secret, random, body), **options)


def stored() -> list[InboundEvent]:
    return list(InboundEvent.objects.order_by("pk"))


# --- S25: no secret, no door -------------------------------------------------------


def take_secret(channel: Channel) -> None:
    set_secrets(channel, {"secret": "", "previous": ""})
    channel.save()


def switch_off(channel: Channel) -> None:
    channel.enabled = False
    channel.save()


def take_persona(channel: Channel) -> None:
    channel.persona = None
    channel.save()


def break_secret(channel: Channel) -> None:
    channel.secrets = {"secret": "encrypted by somebody else"}
    channel.save()


def make_it_googles(channel: Channel) -> None:
    channel.kind = Channel.Kind.GOOGLE_CHAT
    channel.save()


def deactivate_owner(channel: Channel) -> None:
    people.deactivate(channel.owner)


CLOSED: list[Callable[[Channel], None]] = [
    take_secret,
    break_secret,
    switch_off,
    take_persona,
    make_it_googles,
    deactivate_owner,
]


@pytest.mark.usefixtures("admin_user")
@pytest.mark.parametrize("close", CLOSED)
async def test_s25_without_its_secret_the_door_does_not_exist(
    hers: Channel, seen: Any, woken: list[int], close: Callable[[Channel], None]
) -> None:
    assert (await post(signature="0" * 64)).status_code == 401
    await seen(close, hers)
    nobody = await post(address="/webhook/nextcloud/nobody")
    assert nobody.status_code == 404
    for secret in (VECTOR_SECRET, PREVIOUS, "", "None"):
        response = await post_signed(IN_BODY, secret=secret)
        assert response.status_code == 404
        assert response.content == nobody.content
    assert (await post(random=None, signature=None)).status_code == 404
    assert (await seen(stored), woken) == ([], [])


@pytest.mark.usefixtures("hers", "bob")
async def test_s25_one_persons_secret_opens_nobody_elses_door(seen: Any) -> None:
    for name in ("bob", "Alice", "alice%20", "ALICE", "%61lice/", "a" * 300):
        assert (await post(address=f"/webhook/nextcloud/{name}")).status_code == 404
    assert await seen(stored) == []


# --- S26: signatures ---------------------------------------------------------------


async def test_s26_a_good_event_is_stored_before_it_is_acknowledged(
    hers: Channel, seen: Any, woken: list[int]
) -> None:
    response = await post()
    assert response.status_code == 200
    (event,) = await seen(stored)
    assert (event.channel_id, event.kind) == (hers.pk, "message")
    assert (event.room_id, event.sender_id) == ("abc123de", "users/alice")
    assert event.payload["text"] == "hi ü @Bob"
    assert event.payload["extra"] == {"signed_with": "secret"}
    assert event.nonce == IN_RANDOM.decode()
    assert woken == [hers.pk]


@pytest.mark.parametrize(
    ("secret", "name"), [(VECTOR_SECRET, "secret"), (PREVIOUS, "previous")]
)
@pytest.mark.usefixtures("hers", "woken")
async def test_s26_either_of_two_secrets_is_accepted_and_remembered(
    seen: Any, secret: str, name: str
) -> None:
    assert (await post_signed(IN_BODY, secret=secret)).status_code == 200
    (event,) = await seen(stored)
    assert event.payload["extra"]["signed_with"] == name


@pytest.mark.parametrize(
    "fields",
    [
        {"body": IN_BODY.replace(b"Alice", b"Mallo")},
        {"body": IN_BODY + b"\n"},
        {"body": b""},
        {"body": json.dumps(json.loads(IN_BODY)).encode()},
        {"body": IN_BODY.replace(rb"\/", b"/")},
        {"random": "B" + IN_RANDOM.decode()[1:]},
        {"random": "x"},
        {"signature": "0" * 64},
        {"signature": IN_SIGNATURE.decode()[:-1]},
        {"signature": "sha256=" + IN_SIGNATURE.decode()},
        {"signature": "é" * 64},
        {"signature": sign("wrong" * 10, IN_RANDOM.decode(), IN_BODY)},
        {"signature": sign("", IN_RANDOM.decode(), IN_BODY)},
    ],
)
@pytest.mark.usefixtures("hers")
async def test_s26_whatever_is_not_signed_so_is_refused(
    seen: Any, woken: list[int], fields: dict[str, Any]
) -> None:
    response = await post(**fields)
    assert response.status_code == 401
    assert json.loads(response.content)["error"]["code"] == "unauthenticated"
    assert (await seen(stored), woken) == ([], [])


@pytest.mark.parametrize(
    "fields",
    [
        {"random": None},
        {"signature": None},
        {"random": None, "signature": None},
        {"random": ""},
        {"signature": ""},
        {"random": "r" * 129},
    ],
)
@pytest.mark.usefixtures("hers", "woken")
async def test_s26_missing_headers_are_told_apart(
    seen: Any, fields: dict[str, Any]
) -> None:
    assert (await post(**fields)).status_code == 400
    assert await seen(stored) == []


@pytest.mark.usefixtures("hers")
async def test_s26_the_names_of_the_other_direction_are_no_proof(seen: Any) -> None:
    response = await post(
        random=None,
        signature=None,
        headers={
            "X-Nextcloud-Talk-Bot-Random": IN_RANDOM.decode(),
            "X-Nextcloud-Talk-Bot-Signature": IN_SIGNATURE.decode(),
        },
    )
    assert response.status_code == 400
    assert await seen(stored) == []


@pytest.mark.usefixtures("hers")
async def test_s26_a_replay_is_answered_and_has_no_effect(
    seen: Any, woken: list[int]
) -> None:
    await post()
    before = await seen(stored)
    random = IN_RANDOM.decode()
    again = [
        await post(),
        await post_signed(OTHER_BODY, random),
        await post_signed(IN_BODY, "another" * 9),
        await post_signed(IN_BODY, "previous" * 8, PREVIOUS),
    ]
    assert [response.status_code for response in again] == [200] * 4
    assert [event.pk for event in await seen(stored)] == [before[0].pk]
    assert len(woken) == 1
    assert (await post_signed(OTHER_BODY, "fresh" * 9)).status_code == 200
    assert len(await seen(stored)) == 2


@pytest.mark.usefixtures("woken")
async def test_a_bot_knows_itself_once_it_was_enabled_in_a_room(
    hers: Channel, nextcloud: Nextcloud, seen: Any
) -> None:
    events, other, own = nextcloud, "https://other.test", "https://cortex.test"

    async def send(event: dict[str, Any]) -> None:
        assert (await post_signed(php_json(event), new_random())).status_code == 200

    async def reply_names_bot(url: str) -> bool:
        await send(events.message("And then?", reply_to_bot=True, bot_url=url))
        return bool((await seen(stored))[-1].payload["names_bot"])

    assert await reply_names_bot(own) and await reply_names_bot(other)
    await send(events.join(bot_url=other))
    await send(events.join(bot_url=own))
    body, _ = self_test.signed_join(info_for(events), ROOM)
    assert (await post_signed(body, new_random())).status_code == 200
    assert await reply_names_bot(own)
    assert not await reply_names_bot(other)
    assert (await seen(lambda: Channel.objects.get(pk=hers.pk))).settings["url"]


@pytest.mark.usefixtures("hers", "woken")
async def test_s26_a_replay_is_known_after_its_event_is_done(seen: Any) -> None:
    await post()
    await seen(
        lambda: InboundEvent.objects.update(state="done", payload={}, turn_id=None)
    )
    assert (await post()).status_code == 200
    assert [event.state for event in await seen(stored)] == ["done"]


@pytest.mark.usefixtures("hers", "woken")
async def test_an_event_is_not_lost_while_the_database_is_busy(
    seen: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, tries = inbox.store, []

    def busy_once(arrivals: Any) -> Any:
        tries.append(len(arrivals))
        if len(tries) == 1:
            raise OperationalError("database is locked")
        return real(arrivals)

    monkeypatch.setattr(inbox, "store", busy_once)
    assert (await post()).status_code == 200
    assert len(await seen(stored)) == 1
    assert tries == [1, 1]


# --- S27, and everything else that proves nothing ----------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Forwarded-For": "127.0.0.1"},
        {"X-Real-IP": "127.0.0.1", "Forwarded": "for=127.0.0.1"},
        {"X-Nextcloud-Talk-Backend": "https://cloud.example.org/"},
        {"Authorization": f"Bearer {VECTOR_SECRET}"},
        {"X-Nextcloud-Talk-Secret": VECTOR_SECRET},
        {"OCS-APIRequest": "true", "User-Agent": "Nextcloud Server Crawler"},
    ],
)
@pytest.mark.usefixtures("hers")
async def test_s27_no_address_and_no_other_header_stands_for_a_signature(
    seen: Any, headers: dict[str, str]
) -> None:
    assert (await post(signature="0" * 64, headers=headers)).status_code == 401
    assert await seen(stored) == []


@pytest.mark.usefixtures("hers")
async def test_s27_being_signed_in_is_no_signature(alice: User, seen: Any) -> None:
    client = AsyncClient()
    await client.aforce_login(alice)
    assert (await post(signature="0" * 64, client=client)).status_code == 401
    assert await seen(stored) == []


@pytest.mark.usefixtures("hers", "woken")
async def test_s32_the_webhook_needs_no_form_token() -> None:
    client = AsyncClient(enforce_csrf_checks=True)
    assert (await post(client=client)).status_code == 200


@pytest.mark.parametrize("method", ["get", "put", "patch", "delete"])
@pytest.mark.usefixtures("hers")
async def test_only_post_is_taken(method: str) -> None:
    response = await getattr(AsyncClient(), method)(ADDRESS)
    assert response.status_code == 405
    assert response["Allow"] == "POST"


# --- bodies and kinds --------------------------------------------------------------


@pytest.mark.usefixtures("hers", "woken")
async def test_bytes_are_checked_as_they_came(seen: Any) -> None:
    event = {"object": {"id": "7", "content": "{}"}, "type": "Create"}
    for number, body in enumerate(
        (
            json.dumps(event, indent=4, ensure_ascii=False).encode(),
            b"\xef\xbb\xbf" + php_json(event),
            b" \r\n" + php_json(event) + b"\n\n",
            b"a=1&b=2",
            b"\xff\x00",
        )
    ):
        assert (await post_signed(body, str(number) * 64)).status_code == 200
    assert len(await seen(stored)) == 5


@pytest.mark.usefixtures("hers")
async def test_a_body_above_a_megabyte_is_refused_whoever_sends_it(seen: Any) -> None:
    assert (await post_signed(b"x" * 1024 * 1024)).status_code == 200
    for address in (ADDRESS, "/webhook/nextcloud/nobody"):
        response = await post_signed(b"x" * (1024 * 1024 + 1), address=address)
        assert response.status_code == 413
    assert len(await seen(stored)) == 1


@pytest.mark.usefixtures("hers", "woken")
async def test_the_longest_message_is_taken(seen: Any) -> None:
    event = Nextcloud().message("🙂" * 32_000)
    event["object"]["inReplyTo"] = {"object": dict(event["object"])}
    assert (await post_signed(php_json(event))).status_code == 200
    (row,) = await seen(stored)
    assert row.payload["text"] == "🙂" * 32_000


@pytest.mark.usefixtures("hers", "woken")
async def test_every_kind_of_event_is_understood(seen: Any) -> None:
    server = Nextcloud()
    events = {
        "message": server.message("hi"),
        "other": server.activity(),
        "joined": server.join(),
        "left": server.leave(),
        "reaction": server.like(),
    }
    for number, event in enumerate([*events.values(), server.undo()]):
        response = await post_signed(php_json(event), str(number) * 64)
        assert response.status_code == 200
    kinds = [event.kind for event in await seen(stored)]
    assert kinds == [*events, "reaction"]


@pytest.mark.usefixtures("hers", "woken")
async def test_a_message_with_what_no_database_takes_is_stored(seen: Any) -> None:
    event = Nextcloud().message("nul \0 half \ud83d", name="A\0\ud83d")
    assert (await post_signed(php_json(event))).status_code == 200
    (row,) = await seen(stored)
    assert row.payload["text"] == "nul \ufffd half \ufffd"


@pytest.mark.usefixtures("hers", "woken")
async def test_texts_and_secrets_stay_out_of_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    event = Nextcloud().message("canary words")
    headers = {"X-Nextcloud-Talk-Backend": "https://elsewhere.example.org/"}
    await post_signed(php_json(event), headers=headers)
    await post_signed(php_json(event), secret="canary secret" * 4)
    assert "another server" in caplog.text
    assert "canary" not in caplog.text
    assert VECTOR_SECRET not in caplog.text


# --- answers -----------------------------------------------------------------------


@pytest.fixture
def elsewhere() -> Iterator[Nextcloud]:
    """Another server that knows the same bot."""
    with Nextcloud() as server:
        yield server


async def test_an_answer_goes_to_the_server_of_the_settings_alone(
    turns_running: None,
    scripted: Model,
    nextcloud: Nextcloud,
    elsewhere: Nextcloud,
    talk_channel: Channel,
    settings: Any,
    seen: Any,
) -> None:
    """The header names a server, but it is not signed."""
    settings.CORTEX_ALLOWED_ORIGINS = [nextcloud.url, elsewhere.url]
    settings.CORTEX_ROLE_MODELS = {"chat": scripted.label}
    nextcloud.backend = f"{elsewhere.url}/"
    body, headers = nextcloud.signed(nextcloud.message("Hello there"))
    response = await AsyncClient().post(
        ADDRESS, body, content_type="application/json", headers=headers
    )
    assert response.status_code == 200
    await settled(nextcloud, seen)
    (post_,) = nextcloud.posts
    assert "Hello there" in post_.text
    assert post_.reply_to == 41
    assert elsewhere.calls == []
    assert [change[0] for change in nextcloud.reaction_log] == ["+", "-"]
    (event,) = await seen(stored)
    assert (event.state, event.payload) == ("done", {})
    (row,) = await seen(lambda: list(OutboundReply.objects.all()))
    assert (row.state, row.text) == ("sent", "")
    assert not any(call.status == 401 for call in nextcloud.calls)


async def settled(nextcloud: Nextcloud, seen: Any) -> None:
    """Wait until the answer is noted as sent and nobody shows work any more."""

    def is_sent() -> bool:
        return OutboundReply.objects.filter(state="sent").exists()

    for _ in range(500):
        if not nextcloud.reactions and await seen(is_sent):
            break
        await asyncio.sleep(0.02)
    await answering.drain()


# --- a running server --------------------------------------------------------------


@pytest.fixture
def secure_nextcloud(tmp_path: Path) -> Iterator[Nextcloud]:
    """A Nextcloud with https, whose certificate an authority of its own signed."""
    with Nextcloud(certificate=self_signed(tmp_path)) as server:
        yield server


@pytest.fixture
def cortex(
    start_server: Callable[..., ServerProcess],
    upstream: Upstream,
    secure_nextcloud: Nextcloud,
    tmp_path: Path,
) -> ServerProcess:
    """The whole of Cortex with alice's channel, set up by importing an old file."""
    server = start_server(
        CORTEX_ALLOWED_ORIGINS=secure_nextcloud.url,
        CORTEX_ROLE_CHAT="echo",
        SSL_CERT_FILE=str(tmp_path / "server.pem"),
    )
    seed(server, upstream.base_url, ["echo"], "alice")
    file = tmp_path / "channels.json"
    talk = {
        "url": secure_nextcloud.url,
        "secret": SECRET,
        "rooms": [ROOM],
        "users": ["alice"],
    }
    file.write_text(json.dumps({"alice": {"nextcloud": talk}}))
    server.manage("channels", "import", str(file))
    return server


def test_s26_twenty_copies_at_once_are_answered_once(
    cortex: ServerProcess, secure_nextcloud: Nextcloud
) -> None:
    nextcloud = secure_nextcloud
    address = cortex.url + ADDRESS
    request = nextcloud.signed(nextcloud.message("Inara, only once please"))
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: deliver(address, *request), range(20)))
    assert [answer.status for answer in answers] == [200] * 20
    assert max(answer.seconds for answer in answers) < 5
    nextcloud.wait_for_posts(1, within_s=20)
    nextcloud.say(address, "Inara, and this too")
    first, second = nextcloud.wait_for_posts(2, within_s=20)
    assert "only once please" in first.text
    assert "and this too" in second.text
    nextcloud.wait_for(lambda: not nextcloud.reactions, what="the eyes to go")
    assert len(nextcloud.posts) == 2
    assert len({call.status for call in nextcloud.calls} & {401, 400}) == 0
    listed = json.loads(cortex.manage("channels", "list", "--json"))
    assert [row["rooms_allowed"] for row in listed] == [1]


def test_a_large_body_is_refused_by_a_running_server(
    live_server_process: ServerProcess,
) -> None:
    address = f"{live_server_process.url}/webhook/nextcloud/alice"
    headers = {"Content-Type": "application/json"}
    assert deliver(address, b"x" * (2 * 1024 * 1024), headers).status == 413
    assert deliver(address, b"{}", headers).status == 404
