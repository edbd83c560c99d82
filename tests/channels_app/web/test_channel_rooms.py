"""Who speaks to a channel and where; what came and went; the test; health."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from accounts.models import AuditEvent, User
from channels_app.bots import adapters, outbox, pairing
from channels_app.bots.adapters import ChannelInfo, TestStep
from channels_app.bots.channels import set_secrets
from channels_app.bots.incoming import Incoming
from channels_app.models import (
    Channel,
    ChannelRoom,
    InboundEvent,
    LinkedIdentity,
    OutboundReply,
    WebhookDelivery,
    WebhookEndpoint,
)
from personas.models import Persona

BASE = "/settings/channels/"
TALK = f"{BASE}nextcloud-talk/"
GOOGLE = f"{BASE}google-chat/"
SAID = "a very private sentence"


def channel_of(
    persona: Persona, kind: str = "nextcloud_talk", **fields: Any
) -> Channel:
    """Return a channel that is set up."""
    channel = Channel(owner=persona.owner, persona=persona, kind=kind, **fields)
    channel.settings = {"url": "https://cloud.example.org", "audience": "project"}
    set_secrets(channel, {"secret": "s" * 64})
    channel.save()
    return channel


@pytest.fixture
def channel(persona: Persona) -> Channel:
    """Alice's channel to Talk."""
    return channel_of(persona)


@pytest.fixture
def room(channel: Channel) -> ChannelRoom:
    """A room that waits for alice's decision."""
    return ChannelRoom.objects.create(
        channel=channel, external_id="abc123de", name="Kitchen"
    )


@pytest.fixture
def hers(alice: User, client_for: Callable[..., Client]) -> Client:
    """Alice, signed in."""
    return client_for(alice)


def text_of(answer: Any) -> str:
    return str(answer.content.decode())


# --- rooms and people --------------------------------------------------------------


def test_a_room_is_allowed_marked_and_refused(hers: Client, room: ChannelRoom) -> None:
    address = f"{BASE}rooms/{room.pk}/"
    for sent, state, alone in (
        ({"state": "allowed"}, "allowed", False),
        ({"state": "allowed", "alone": "on"}, "allowed", True),
        ({"state": "refused"}, "refused", False),
        ({"state": "waiting"}, "refused", False),
        ({}, "refused", False),
    ):
        assert hers.post(address, sent).status_code == 302
        room.refresh_from_db()
        assert (room.state, room.alone) == (state, alone)


def test_in_google_spaces_nobody_ticks_who_reads(
    hers: Client, persona: Persona
) -> None:
    channel = channel_of(persona, "google_chat")
    space = ChannelRoom.objects.create(channel=channel, external_id="spaces/AAAA")
    hers.post(f"{BASE}rooms/{space.pk}/", {"state": "allowed", "alone": "on"})
    space.refresh_from_db()
    assert (space.state, space.alone) == ("allowed", False)
    page = text_of(hers.get(GOOGLE))
    assert "Only me" not in page
    assert "Nobody else reads there" not in page


@pytest.mark.parametrize(
    ("kind", "typed", "kept"),
    [
        ("nextcloud_talk", "abc123de", "abc123de"),
        ("nextcloud_talk", "https://cloud.example.org/call/abc123de", "abc123de"),
        ("nextcloud_talk", "https://c.example.org/call/abc123de#m_5", "abc123de"),
        ("nextcloud_talk", "abc/../de", None),
        ("google_chat", "spaces/AAA-1_b", "spaces/AAA-1_b"),
        (
            "google_chat",
            "https://mail.google.com/chat/u/0/#chat/space/AAAA",
            "spaces/AAAA",
        ),
        ("google_chat", "Kitchen", None),
    ],
)
def test_a_room_is_allowed_by_its_id_or_link(
    hers: Client, persona: Persona, kind: str, typed: str, kept: str | None
) -> None:
    channel = channel_of(persona, kind)
    address = BASE + kind.replace("_", "-") + "/rooms/add/"
    answer = hers.post(address, {"external_id": typed})
    rooms = list(channel.rooms.values_list("external_id", "state", "alone"))
    assert rooms == ([(kept, "allowed", False)] if kept else [])
    assert answer.status_code == (302 if kept else 400)


@pytest.mark.parametrize(
    ("kind", "typed", "kept"),
    [
        ("nextcloud_talk", "alice", "users/alice"),
        ("nextcloud_talk", "users/alice", "users/alice"),
        ("nextcloud_talk", "guests/4f2a", None),
        ("nextcloud_talk", "bots/bot-1", None),
        ("google_chat", "1234567890", "users/1234567890"),
        ("google_chat", "users/1234567890", "users/1234567890"),
        ("google_chat", "alice@example.org", None),
    ],
)
def test_only_ids_that_stay_with_one_person_are_linked(
    hers: Client, persona: Persona, kind: str, typed: str, kept: str | None
) -> None:
    channel = channel_of(persona, kind)
    address = BASE + kind.replace("_", "-") + "/identities/add/"
    for _ in range(2):
        answer = hers.post(address, {"external_id": typed})
        assert answer.status_code == (302 if kept else 400)
    linked = list(channel.identities.values_list("external_id", flat=True))
    assert linked == ([kept] if kept else [])
    assert AuditEvent.objects.filter(event="channel.linked").count() == len(linked)


def code_for(channel: Channel) -> str:
    incoming = Incoming(
        external_id="1",
        kind="message",
        room_id="abc123de",
        sender_id="users/alice.at.home",
        sender_name="Alice at home",
    )
    code = pairing.make_code(channel, incoming)
    assert code
    return code


def test_a_code_links_its_sender_and_allows_the_room(
    hers: Client, room: ChannelRoom
) -> None:
    code = code_for(room.channel)
    sent = {"code": code.lower(), "allow_room": "on", "alone": "on"}
    answer = hers.post(f"{TALK}pair/", sent, follow=True)
    assert "Alice at home is you from now on." in text_of(answer)
    identity = LinkedIdentity.objects.get()
    room.refresh_from_db()
    assert identity.external_id == "users/alice.at.home"
    assert (room.state, room.alone) == ("allowed", True)


def test_a_code_by_itself_leaves_the_room_waiting(
    hers: Client, room: ChannelRoom
) -> None:
    hers.post(f"{TALK}pair/", {"code": code_for(room.channel)})
    room.refresh_from_db()
    assert room.state == "waiting"
    assert LinkedIdentity.objects.count() == 1


@pytest.mark.parametrize(
    ("changed", "status", "sentence"),
    [
        ({"code": "WRONG-ONE"}, 409, pairing.UNKNOWN),
        ({"code": ""}, 400, "This field is required."),
        ({"alone": "on"}, 400, "Tick as well that the room is to be answered."),
    ],
)
def test_a_code_that_is_refused_is_not_lost(
    hers: Client, room: ChannelRoom, changed: dict[str, str], status: int, sentence: str
) -> None:
    code = code_for(room.channel)
    answer = hers.post(f"{TALK}pair/", {"code": code, **changed})
    assert answer.status_code == status
    assert sentence in text_of(answer)
    assert f'value="{changed.get("code", code)}"' in text_of(answer) or status == 400
    assert not LinkedIdentity.objects.exists()


# --- deliveries --------------------------------------------------------------------


def event_of(channel: Channel, number: int, **fields: Any) -> InboundEvent:
    values = {"kind": "message", "room_id": "abc123de", "sender_id": "users/alice"}
    return InboundEvent.objects.create(
        channel=channel,
        external_id=f"event-{number}",
        payload={"text": SAID},
        **{**values, **fields},
    )


def reply_of(event: InboundEvent, part: int = 0, **fields: Any) -> OutboundReply:
    values = {"text": SAID, "state": "failed", "attempts": 8, "error": "No answer."}
    return OutboundReply.objects.create(
        channel=event.channel,
        event=event,
        part=part,
        room_id=event.room_id,
        **{**values, **fields},
    )


def test_the_last_ten_are_shown_without_what_was_said(
    hers: Client, room: ChannelRoom
) -> None:
    for number in range(8):
        event = event_of(room.channel, number, state="done")
        reply_of(event, state="sent", error="", attempts=1)
    last = event_of(room.channel, 9, state="failed", reason="The model was away.")
    reply_of(last)
    with CaptureQueriesContext(
        connection,
    ) as queries:
        page = text_of(hers.get(TALK))
    table = page.split("<tbody>")[1].split("</tbody>")[0]
    assert table.count("<tr>") == 10
    assert table.count("Kitchen") == 10
    assert "The model was away." in table
    assert "No answer." in table
    assert table.count("Send again") == 1
    assert SAID not in page
    asked = [each["sql"] for each in queries if "FROM" in each["sql"]]
    for column in ('inboundevent"."payload"', 'outboundreply"."text"'):
        assert not any(column in sql.split("FROM")[0] for sql in asked)


@pytest.fixture
def allowed(room: ChannelRoom) -> ChannelRoom:
    """The room, which alice allowed: nothing is sent again anywhere else."""
    room.state = ChannelRoom.State.ALLOWED
    room.save()
    return room


def again(hers: Client, reply: OutboundReply) -> str:
    answer = hers.post(f"{BASE}replies/{reply.pk}/retry/", follow=True)
    reply.refresh_from_db()
    return text_of(answer)


def test_a_failed_reply_is_sent_again_with_what_waited_for_it(
    hers: Client, channel: Channel, allowed: ChannelRoom
) -> None:
    event = event_of(channel, 1)
    before = reply_of(event, 0, state="sent", text="")
    failed = reply_of(event, 1)
    waited = reply_of(event, 2, error=outbox.EARLIER_FAILED, attempts=0)
    assert text_of(hers.get(TALK)).count("Send again") == 1

    assert "sent again within seconds" in again(hers, failed)
    for reply, state in ((before, "sent"), (failed, "pending"), (waited, "pending")):
        reply.refresh_from_db()
        assert reply.state == state
    assert (failed.attempts, failed.error, failed.repeated) == (0, "", False)
    assert "nothing to send again" in again(hers, failed)


def test_what_may_have_arrived_is_marked_as_a_repetition(
    hers: Client, channel: Channel, allowed: ChannelRoom
) -> None:
    unsure = reply_of(event_of(channel, 1), state="unknown")
    again(hers, unsure)
    assert (unsure.state, unsure.repeated) == ("pending", True)


@pytest.mark.parametrize("fields", [{"state": "sent"}, {"text": ""}])
def test_what_arrived_or_has_no_text_is_not_sent_again(
    hers: Client, channel: Channel, allowed: ChannelRoom, fields: dict[str, Any]
) -> None:
    reply = reply_of(event_of(channel, 1), **fields)
    assert "nothing to send again" in again(hers, reply)
    assert reply.state == fields.get("state", "failed")


@pytest.mark.parametrize("state", ["waiting", "refused"])
def test_nothing_is_sent_again_to_a_room_that_is_not_allowed(
    hers: Client, room: ChannelRoom, state: str
) -> None:
    room.state = ChannelRoom.State(state)
    room.save()
    reply = reply_of(event_of(room.channel, 1))
    assert "The room is not allowed any more." in again(hers, reply)
    assert (reply.state, reply.text) == ("failed", SAID)


# --- the test ----------------------------------------------------------------------


class Trying:
    """Answers for an adapter, and keeps what it was asked."""

    rooms: list[str] = []
    ok = True

    async def self_test(self, channel: ChannelInfo, room_id: str) -> list[TestStep]:
        assert channel.secrets["secret"] == "s" * 64
        self.rooms.append(room_id)
        return [
            TestStep("Our own address", True, "http://…"),
            TestStep("a message arrives", self.ok, "Nextcloud answers 401."),
        ]


@pytest.mark.parametrize("ok", [True, False])
def test_the_test_shows_each_step(
    hers: Client, room: ChannelRoom, monkeypatch: pytest.MonkeyPatch, ok: bool
) -> None:
    monkeypatch.setattr(Trying, "ok", ok)
    monkeypatch.setattr(Trying, "rooms", [])
    for kind in Channel.Kind:
        monkeypatch.setitem(adapters.ADAPTERS, kind, f"{__name__}.Trying")
    ChannelRoom.objects.update(state="allowed")
    page = text_of(hers.post(f"{TALK}test/", {"room": room.pk}))
    assert Trying.rooms == ["abc123de"]
    assert ("It works both ways." in page) is ok
    assert ("the step “a message arrives” failed" in page) is not ok
    assert "A message arrives" in page


class Deaf:
    async def self_test(self, channel: ChannelInfo, room_id: str) -> list[TestStep]:
        return [TestStep("Our own address", True, room_id)]


@pytest.mark.parametrize("posts", [True, False])
def test_without_a_service_account_nothing_is_said_of_both_ways(
    hers: Client, channel: Channel, monkeypatch: pytest.MonkeyPatch, posts: bool
) -> None:
    monkeypatch.setitem(adapters.ADAPTERS, "google_chat", f"{__name__}.Deaf")
    google = Channel(
        owner=channel.owner,
        kind="google_chat",
        persona=channel.persona,
        settings={"audience": "project", "project_number": "123"},
    )
    set_secrets(google, {"service_account": "{}" if posts else ""})
    google.save()
    space = google.rooms.create(external_id="spaces/A", name="A", state="allowed")
    page = text_of(
        hers.post("/settings/channels/google-chat/test/", {"room": space.pk})
    )
    assert "spaces/A" in page
    assert ("It works both ways." in page) is posts
    assert ("What could be tested works." in page) is not posts


def test_a_room_that_is_not_allowed_gets_no_test_message(
    hers: Client, room: ChannelRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Trying, "rooms", [])
    monkeypatch.setitem(
        adapters.ADAPTERS, Channel.Kind.NEXTCLOUD_TALK, f"{__name__}.Trying"
    )
    hers.post(f"{TALK}test/", {"room": room.pk})
    assert Trying.rooms == [""]


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"enabled": False}, "switched off"),
        ({"persona": None}, "persona was deleted"),
        ({"secrets": {}}, "no secret yet"),
        ({"secrets": {"secret": "other key"}}, "cannot be read"),
    ],
)
def test_what_is_missing_is_named_before_anything_is_sent(
    hers: Client, channel: Channel, changed: dict[str, Any], sentence: str
) -> None:
    Channel.objects.update(**changed)
    assert sentence in text_of(hers.post(f"{TALK}test/"))


# --- for administrators ------------------------------------------------------------


@pytest.fixture
def busy(channel: Channel) -> Channel:
    """A channel with something of everything."""
    for number, state in enumerate(("received", "processing", "failed", "done")):
        event_of(channel, number, state=state)
    for number, state in enumerate(("pending", "failed", "unknown", "sent"), start=10):
        reply_of(event_of(channel, number, state="done"), state=state)
    channel.fault = "Nextcloud refused the signature."
    channel.save()
    return channel


def test_administrators_see_figures_and_faults_alone(
    busy: Channel, admin_user: User, client_for: Callable[..., Client]
) -> None:
    page = text_of(client_for(admin_user).get(f"{BASE}everybody/"))
    figures = re.findall(r'<td class="num"[^>]*>(\d+)</td>', page)
    assert figures == ["2", "1", "1", "2"]
    assert "alice" in page
    assert "Nextcloud refused the signature." in page
    for hidden in (SAID, "abc123de", "users/alice"):
        assert hidden not in page


def test_members_do_not_see_it(hers: Client, busy: Channel) -> None:
    assert hers.get(f"{BASE}everybody/").status_code == 404
    assert "Everybody" not in text_of(hers.get(BASE))


def test_the_figures_cost_the_same_for_many_channels(
    busy: Channel,
    bob: User,
    admin_user: User,
    client_for: Callable[..., Client],
    django_assert_max_num_queries: Any,
) -> None:
    client = client_for(admin_user)
    address = f"{BASE}everybody/"
    with CaptureQueriesContext(connection) as few:
        client.get(address)
    Channel.objects.bulk_create(
        Channel(owner=owner, kind="google_chat") for owner in (bob, admin_user)
    )
    with django_assert_max_num_queries(len(few)):
        client.get(address)


def test_the_admin_shows_neither_texts_nor_payloads_nor_secrets(
    busy: Channel, admin_user: User, client_for: Callable[..., Client]
) -> None:
    endpoint = WebhookEndpoint.objects.create(
        owner=busy.owner, url="https://hooks.example.org/T0/k3y", secret="whsec_x"
    )
    WebhookDelivery.objects.create(
        endpoint=endpoint, event="task.done", subject="t", payload={"text": SAID}
    )
    client = client_for(admin_user)
    seen = 0
    hidden = (SAID, "users/alice", "k3y", "whsec_x", busy.secrets["secret"])
    for model in (
        Channel,
        InboundEvent,
        OutboundReply,
        WebhookEndpoint,
        WebhookDelivery,
    ):
        base = f"/admin/channels_app/{model.__name__.lower()}/"
        row = model._default_manager.first()
        assert row is not None
        for address in (base, f"{base}{row.pk}/change/"):
            answer = client.get(address)
            assert answer.status_code == 200, address
            seen += 1
            for text in hidden:
                assert text not in text_of(answer), (address, text)
        assert client.get(f"{base}add/").status_code == 403
        assert client.post(f"{base}{row.pk}/delete/").status_code == 403
        assert client.post(f"{base}{row.pk}/change/", {"fault": "x"}).status_code == 403
    assert seen == 10
