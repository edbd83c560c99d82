"""What goes out arrives once, or is marked where it may come twice: R16; S12, S30."""

from __future__ import annotations

import re
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio
from django.apps import apps
from django.test import Client
from django.utils import timezone

from accounts.models import User
from channels_app import couriers, webhooks
from channels_app.bots import outbox
from channels_app.bots.incoming import Incoming
from channels_app.models import (
    Channel,
    InboundEvent,
    OutboundReply,
    WebhookDelivery,
    WebhookEndpoint,
)
from channels_app.nextcloud_talk.adapter import REPEATED
from channels_app.webhooks import endpoints
from routing import net
from routing.db_pool import run_in_db_pool as now
from tests.requirements.test_runtime import child_of
from tests.routing.test_net import Resolver
from tests.support.nextcloud import ROOM, SECRET, Nextcloud
from tests.support.processes import ROOT, ServerProcess, wait_until
from tests.support.talk import *  # noqa: F403
from tests.support.webhook_receiver import HANG, Receiver

StartServer = Callable[..., ServerProcess]


# --- a real process dies --------------------------------------------------------

SEED = """
import json, sys
from accounts.models import User
from channels_app.bots import outbox
from channels_app.bots.channels import set_secrets
from channels_app.bots.incoming import Incoming
from channels_app.models import Channel, ChannelRoom, InboundEvent
from channels_app.webhooks import announcing, endpoints
from personas.personas import create_persona

owner = User.objects.create_user("alice", "alice@example.org", "a horse of course")
persona = create_persona(
    owner, template="assistant", name="inara", display_name="Inara"
)
channel = Channel(
    owner=owner, kind="nextcloud_talk", persona=persona, settings={"url": TALK}
)
set_secrets(channel, {"secret": SECRET})
channel.save()
ChannelRoom.objects.create(
    channel=channel, external_id=ROOM, state=ChannelRoom.State.ALLOWED
)
came = Incoming(external_id="m1", kind="message", room_id=ROOM, text="Hello?")
event = InboundEvent.objects.create(
    channel=channel, external_id="m1", kind="message", room_id=ROOM, state="done",
    payload=came.payload(),
)
hook, secret = endpoints.add(owner, HOOK, ["task.done"])
if TALK:
    outbox.add(event, ["The answer"])
if HOOK_WAITS:
    announcing.store(owner.pk, "task.done", "task-1", {"task": "task-1"})
print("secret", secret)
"""


def seed(server: ServerProcess, *, talk: str = "", hook: str = "") -> str:
    """Store what is to be sent, in the server's database; return the hook's secret."""
    given = {
        "TALK": talk,
        "SECRET": SECRET,
        "ROOM": ROOM,
        "HOOK": hook or "https://example.org/",
        "HOOK_WAITS": bool(hook),
    }
    values = "\n".join(f"{name} = {value!r}" for name, value in given.items())
    done = subprocess.run(
        [sys.executable, "manage.py", "shell", "--command", f"{values}\n{SEED}"],
        cwd=ROOT,
        env=server.environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.partition("secret ")[2].strip()


def query(server: ServerProcess, sql: str) -> list[Any]:
    base = sqlite3.connect(server.data_dir / "cortex.sqlite3", timeout=5)
    try:
        with base:
            return base.execute(sql).fetchall()
    finally:
        base.close()


def kill_worker(server: ServerProcess) -> None:
    """End the worker as a power cut would; the supervisor starts another one."""
    victim = child_of(server, "worker")
    assert victim is not None
    victim.kill()
    victim.wait(10)


def end_lease(server: ServerProcess, table: str) -> None:
    """Turn the clock of the lease, so that the test need not wait for it."""
    query(
        server,
        f"UPDATE {table} SET next_at = datetime('now', '-1 seconds')"
        " WHERE state = 'sending'",
    )


@pytest.mark.timeout(120)
def test_r16_sigkill_between_sending_and_its_answer_leads_to_one_marked_copy(
    start_server: StartServer,
) -> None:
    with Nextcloud() as talk:
        server = start_server(CORTEX_ALLOWED_ORIGINS=talk.url)
        # What was taken is posted, but the answer comes when nobody is there any more.
        talk.behave("slow-2", "ok", "ok")
        seed(server, talk=talk.url)
        talk.wait_for(lambda: talk.calls, within_s=20, what="the first attempt")
        kill_worker(server)
        talk.wait_for_posts(1)
        row = "SELECT state, attempts, repeated, text FROM channels_app_outboundreply"
        assert query(server, row) == [("sending", 1, 0, "The answer")]
        end_lease(server, "channels_app_outboundreply")
        first, second = talk.wait_for_posts(2, within_s=30)
        assert first.text == "The answer"
        assert second.text == f"{REPEATED}\n\nThe answer"
        assert first.reference_id == second.reference_id
        wait_until(
            lambda: query(server, row) == [("sent", 2, 1, "")], what="the last word"
        )
        assert len(talk.posts) == 2


@pytest.mark.timeout(120)
def test_r16_sigkill_while_a_webhook_is_sent_leads_to_the_same_id_again(
    start_server: StartServer,
) -> None:
    with Receiver() as receiver:
        server = start_server(CORTEX_ALLOWED_ORIGINS=receiver.origin)
        receiver.answer(HANG)
        secret = seed(server, hook=receiver.url)
        receiver.wait_for(1, within_s=20)
        kill_worker(server)
        end_lease(server, "channels_app_webhookdelivery")
        first, second = receiver.wait_for(2, within_s=30)
        assert first.id == second.id and first.body == second.body
        assert second.verified(secret)["type"] == "task.done"
        row = "SELECT state, attempts FROM channels_app_webhookdelivery"
        wait_until(lambda: query(server, row) == [("sent", 2)], what="the last word")


# --- trouble on the other side ----------------------------------------------------


@pytest_asyncio.fixture
async def _ends() -> AsyncIterator[None]:
    yield
    await couriers.drain(0)
    await net.close()


@pytest.fixture
def answered(transactional_db: None, talk_channel: Channel) -> InboundEvent:
    """A message to alice's Talk channel whose answer is about to go out."""
    came = Incoming(external_id="m1", kind="message", room_id=ROOM, text="Hello?")
    return InboundEvent.objects.create(
        channel=talk_channel,
        external_id="m1",
        kind="message",
        room_id=ROOM,
        payload=came.payload(),
    )


async def try_again(event: InboundEvent) -> OutboundReply:
    """Deliver as if the pause were over; return the first part."""
    waiting = OutboundReply.objects.filter(state="pending")
    await now(waiting.update, next_at=timezone.now())
    await outbox.deliver_due(event.channel_id)
    return await now(event.replies.get, part=0)


@pytest.mark.usefixtures("_ends")
@pytest.mark.parametrize("status", [429, 500, 502, 503])
async def test_r16_trouble_of_the_other_side_passes_without_a_second_copy(
    answered: InboundEvent, nextcloud: Nextcloud, status: int
) -> None:
    nextcloud.behave(f"status-{status}-90", f"status-{status}")
    await now(outbox.add, answered, ["one"])
    began = timezone.now()
    row = await try_again(answered)
    assert (row.state, row.status, row.attempts) == ("pending", status, 1)
    if status == 429:
        assert row.next_at >= began + timedelta(seconds=90)
    assert (await try_again(answered)).state == "pending"
    assert (await try_again(answered)).state == "sent"
    assert [post.text for post in nextcloud.posts] == ["one"]
    references = {call.json["referenceId"] for call in nextcloud.calls}
    assert references == {row.pk.hex}


@pytest.mark.usefixtures("_ends")
async def test_r16_wrong_secret_is_told_and_not_tried_until_everybody_is_locked_out(
    answered: InboundEvent, nextcloud: Nextcloud
) -> None:
    nextcloud.bot.secret = "x" * 50
    await now(outbox.add, answered, ["one"])
    for _ in range(4):
        row = await try_again(answered)
    assert (row.state, row.status) == ("failed", 401)
    assert len(nextcloud.calls) <= 2
    channel = await now(Channel.objects.get, pk=answered.channel_id)
    assert channel.fault == row.error != ""


@pytest.mark.usefixtures("_ends")
async def test_r16_answer_that_is_lost_on_its_way_leads_to_at_most_one_marked_copy(
    answered: InboundEvent, nextcloud: Nextcloud
) -> None:
    nextcloud.behave("cut-after", "cut-after", "ok", "ok")
    await now(outbox.add, answered, ["one"])
    for _ in range(4):
        row = await try_again(answered)
    assert row.state == "unknown"
    assert [post.text for post in nextcloud.posts] == ["one", f"{REPEATED}\n\none"]


# --- S12: where webhooks may go -----------------------------------------------------


@pytest.fixture
def inside() -> Iterator[Receiver]:
    """A program in the house that nobody has allowed to be called."""
    with Receiver() as server:
        yield server


def hook_to(owner: User, url: str) -> WebhookEndpoint:
    """Store an address past the checks of the page, as an old row would be."""
    endpoint, _ = endpoints.add(owner, "https://example.org/", ["task.done"])
    endpoint.url = url
    endpoint.save()
    return endpoint


async def announced(hook: WebhookEndpoint) -> WebhookDelivery:
    await webhooks.announce(hook.owner_id, "task.done", "task-1", {})
    await webhooks.deliver_due(hook.pk)
    row: WebhookDelivery = await now(hook.deliveries.get)
    return row


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("_ends")
@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433", "0x7f.1"]
)
async def test_s12_webhook_never_reaches_into_the_house(
    alice: User, inside: Receiver, host: str
) -> None:
    port = inside.origin.rpartition(":")[2]
    hook = await now(hook_to, alice, f"http://{host}:{port}/")
    row = await announced(hook)
    assert (row.state, row.attempts) == ("failed", 1)
    assert inside.received == []


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("_ends")
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_s12_webhook_follows_no_redirect(
    alice: User, inside: Receiver, settings: Any, status: int
) -> None:
    with Receiver() as outside:
        settings.CORTEX_ALLOWED_ORIGINS = [outside.origin]
        outside.answer(status, Location=inside.url)
        row = await announced(await now(hook_to, alice, outside.url))
        assert (row.state, row.status) == ("pending", status)
        assert "redirects" in row.error
        assert len(outside.received) == 1
    assert inside.received == []


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("_ends")
@pytest.mark.parametrize(
    "answers", [["127.0.0.1"], ["93.184.216.34", "127.0.0.1"], ["10.0.0.1"]]
)
async def test_s12_webhook_to_a_name_that_leads_into_the_house_is_refused(
    alice: User,
    inside: Receiver,
    monkeypatch: pytest.MonkeyPatch,
    answers: list[str],
) -> None:
    resolver = Resolver(answers)
    monkeypatch.setattr(net, "make_resolver", lambda: resolver)
    port = inside.origin.rpartition(":")[2]
    row = await announced(await now(hook_to, alice, f"http://rebind.example:{port}/"))
    assert (row.state, resolver.questions) == ("failed", 1)
    assert "private network" in row.error
    assert inside.received == []


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("_ends")
async def test_s12_webhook_goes_where_its_name_led_when_it_was_checked(
    alice: User, inside: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that is public when asked first and private afterwards."""
    resolver = Resolver(["93.184.216.34"], ["127.0.0.1"])
    tried: list[str] = []

    def note(address: tuple[Any, ...]) -> Any:
        tried.append(str(address[4][0]))
        raise OSError("not in a test")

    monkeypatch.setattr(net, "make_resolver", lambda: resolver)
    monkeypatch.setattr(net, "_guarded_socket", note)
    port = inside.origin.rpartition(":")[2]
    hook = await now(hook_to, alice, f"http://rebind.example:{port}/")
    assert (await announced(hook)).state == "pending"
    assert tried == ["93.184.216.34"]
    waiting = WebhookDelivery.objects.filter(state="pending")
    await now(waiting.update, next_at=timezone.now())
    await webhooks.deliver_due(hook.pk)
    assert (await now(hook.deliveries.get)).state == "failed"
    assert tried == ["93.184.216.34"]
    assert inside.received == []


# --- S30: the secrets that sign -----------------------------------------------------


def dump() -> str:
    """Return everything that stands in the database."""
    rows = [str(list(model._default_manager.values())) for model in apps.get_models()]
    return "\n".join(rows)


@pytest.mark.django_db(transaction=True)
def test_s30_secrets_of_webhooks_are_in_no_table_no_log_and_on_no_later_page(
    alice: User,
    client_for: Callable[[User], Client],
    settings: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("DEBUG")
    client, pages = client_for(alice), "/settings/webhooks/"
    with Receiver() as receiver:
        settings.CORTEX_ALLOWED_ORIGINS = [receiver.origin]
        added = client.post(pages, {"url": receiver.url, "events": ["task.done"]})
        hook = WebhookEndpoint.objects.get()
        rotated = client.post(f"{pages}{hook.pk}/secret/")
        secrets = [
            re.findall(r"whsec_([\w+/=]+)", answer.content.decode())[0]
            for answer in (added, rotated)
        ]
        receiver.answer(204, 500)
        for _ in range(2):
            client.post(f"{pages}{hook.pk}/test/")
        signed = [came.headers["webhook-signature"] for came in receiver.received]
        assert [each.count("v1,") for each in signed] == [2, 2]
    later = [
        client.get(f"{pages}{rest}").content.decode()
        for rest in ("", f"{hook.pk}/", f"{hook.pk}/delete/")
    ]
    written = "\n".join([dump(), caplog.text, *later])
    assert "webhook.secret_rotated" in written
    assert len(set(secrets)) == 2
    for secret in secrets:
        assert secret not in written
    assert "whsec_" not in written
