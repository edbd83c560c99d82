"""Who may reach what over pages and sockets: S1, S2, S3, S22, S23, S24."""

from __future__ import annotations

import asyncio
import logging
import re
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from importlib import import_module
from typing import Any

import pytest
from allauth.usersessions.models import UserSession
from django.conf import settings
from django.test import Client
from django.urls import URLPattern, get_resolver
from django.utils import timezone

from accounts import people
from accounts.models import ApiToken, User
from accounts.roles import set_role
from channels_app import turns
from channels_app.models import (
    Channel,
    ChannelRoom,
    LinkedIdentity,
    OutboundReply,
    QueuedTask,
    Schedule,
    WebhookDelivery,
    WebhookEndpoint,
)
from channels_app.web import frames, sockets
from channels_app.web.sockets import SOCKETS
from channels_app.webhooks import endpoints
from personas.conversations import delete_conversation
from personas.models import Conversation, MemoryNote, MemoryRun, Message, Persona
from personas.personas import create_persona
from routing.backends.base import Finished, TextDelta
from routing.backends.scripted import playing
from routing.models import Host, Model
from tests.support.chat import (
    Closed,
    connected,
    session_for,
    shake_hands,
)
from tests.support.chat_fixtures import *  # noqa: F403

ORIGIN = "http://127.0.0.1:8000"
LASTING = [TextDelta("one "), 20.0, TextDelta("two"), Finished()]


@dataclass
class Belongings:
    """One of everything of a person that an address or a frame can name."""

    persona: Persona
    conversation: Conversation
    deleted: Conversation
    asked: Message
    answer: Message
    host: Host
    model: Model
    session: UserSession
    token: ApiToken
    room: ChannelRoom
    identity: LinkedIdentity
    reply: OutboundReply
    webhook: WebhookDelivery
    brief: Schedule
    proposal: Schedule
    task: QueuedTask
    note: MemoryNote


@pytest.fixture
def hers(transactional_db: None, alice: User) -> Belongings:
    """Belongings of alice."""
    return belongings_of(alice, "hers")


def belongings_of(user: User, name: str) -> Belongings:
    persona = create_persona(
        user, template="assistant", name=name, display_name=name.title()
    )
    conversation = Conversation.objects.create(owner=user, persona=persona, title="T")
    deleted = Conversation.objects.create(owner=user, persona=persona, title="D")
    delete_conversation(deleted)
    asked = Message.objects.create(
        conversation=conversation, owner=user, role="user", text="Private question"
    )
    answer = Message.objects.create(
        conversation=conversation, owner=user, role="assistant", parent=asked
    )
    Conversation.objects.filter(pk=conversation.pk).update(current_message=answer)
    host = Host.objects.create(owner=user, name=name, type=Host.Type.GEMINI_API)
    channel = Channel.objects.create(
        owner=user, persona=persona, kind=Channel.Kind.NEXTCLOUD_TALK
    )
    return Belongings(
        persona=persona,
        conversation=conversation,
        deleted=deleted,
        asked=asked,
        answer=answer,
        host=host,
        model=Model.objects.create(host=host, label=name, name=name),
        session=UserSession.objects.create(
            user=user, ip="127.0.0.1", user_agent="", session_key=session_for(user)
        ),
        token=ApiToken.objects.create(user=user, secret_hash="x", scopes=["chat"]),
        room=ChannelRoom.objects.create(channel=channel, external_id="abc123de"),
        identity=LinkedIdentity.objects.create(
            channel=channel, external_id="users/alice"
        ),
        reply=OutboundReply.objects.create(
            channel=channel, room_id="abc123de", text="T", state="failed"
        ),
        webhook=WebhookDelivery.objects.create(
            # Nothing is sent: tests look up no outside names.
            endpoint=endpoints.add(user, "https://example.org/", ["task.done"])[0],
            event="task.done",
            subject=name,
            state="failed",
        ),
        brief=schedule_of(persona, enabled=False),
        proposal=schedule_of(
            persona, proposed_until=timezone.now() + timedelta(minutes=30)
        ),
        task=QueuedTask.objects.create(
            owner=user, persona=persona, text="T", state="done", result="R"
        ),
        note=MemoryNote.objects.create(
            run=MemoryRun.objects.create(
                persona=persona, step="short", state="applied"
            ),
            message=answer,
            line="- Plays the cello.",
        ),
    )


def schedule_of(persona: Persona, **fields: Any) -> Schedule:
    return Schedule.objects.create(
        owner=persona.owner,
        persona=persona,
        name=persona.name,
        prompt="T",
        cron="0 7 * * *",
        time_zone="UTC",
        **fields,
    )


# --- S1: pages ----------------------------------------------------------------

SECRET_IN_ADDRESS = {
    "setup": "the token is the right itself",
    "account_reset": "the token is the right itself",
    "account_confirm_email": "the key is the right itself",
    "account_reset_password_from_key": "the key is the right itself",
    "google_chat": "Google's signed token is the right itself",
    "talk_webhook": "the signature is the right itself; see test_talk.py",
}
FOR_ADMINISTRATORS = ("admin/", "people/", "money/budgets/")
METHODS = ("get", "post", "put", "patch", "delete")


def values_for(hers: Belongings) -> dict[str, object]:
    """Return the part of an address for each name of a part, all of them hers."""
    return {
        "id": hers.conversation.pk,
        "message_id": hers.answer.pk,
        "name": hers.persona.name,
        "file_name": "SOUL.md",
        "number": 1,
        "host_id": hers.host.pk,
        "model_id": hers.model.pk,
        "model": hers.persona.name,
        "session_id": hers.session.pk,
        "token_id": hers.token.pk,
        "turn": hers.answer.pk,
        "room_id": hers.room.pk,
        "identity_id": hers.identity.pk,
        "reply_id": hers.reply.pk,
        "webhook_id": hers.webhook.endpoint_id,
        "delivery_id": hers.webhook.pk,
        "brief_id": hers.brief.pk,
        "proposal_id": hers.proposal.pk,
        "task_id": hers.task.pk,
        "note_id": hers.note.pk,
        "run_id": hers.note.run_id,
        # Shared chains belong to the administrators.
        "scope": "shared",
        "role": "chat",
    }


def routes(patterns: list[Any], prefix: str = "") -> Iterator[tuple[str, URLPattern]]:
    """Yield every route of the installation as text, with its pattern."""
    for pattern in patterns:
        route = prefix + str(pattern.pattern)
        if isinstance(pattern, URLPattern):
            yield route, pattern
        else:
            yield from routes(pattern.url_patterns, route)


def routes_with_parts() -> list[tuple[str, str]]:
    """Return (route, name) of all routes in which an id can stand."""
    return [
        (route, str(pattern.name))
        for route, pattern in routes(get_resolver().url_patterns)
        if re.search(r"<", route) and pattern.name not in SECRET_IN_ADDRESS
    ]


def fill(route: str, values: dict[str, object]) -> str:
    """Return an address; fails for a part that this test does not know yet."""

    def value(match: re.Match[str]) -> str:
        name = match[1]
        assert name in values, (
            f"{route}: add what {name!r} stands for to values_for(), so that the "
            "matrix covers this route"
        )
        return str(values[name])

    address = re.sub(r"<(?:\w+:)?(\w+)>", value, route)
    assert not set("<>()?^$") & set(address), f"{route}: this test cannot fill it"
    return f"/{address}"


def everything() -> list[list[Any]]:
    """Return all rows that an address could change."""
    kinds = (
        *(Persona, Conversation, Message, Host, Model),
        *(Channel, ChannelRoom, LinkedIdentity, OutboundReply, ApiToken),
        *(WebhookEndpoint, WebhookDelivery, Schedule, QueuedTask),
        *(MemoryRun, MemoryNote),
        UserSession,
    )
    return [list(kind._default_manager.order_by("pk").values()) for kind in kinds]


def test_s01_every_address_with_an_id_is_404_for_others(
    hers: Belongings, bob: User, client_for: Callable[..., Client]
) -> None:
    client = client_for(bob)
    values = values_for(hers)
    before = everything()[:-1]
    tried = 0
    for route, name in routes_with_parts():
        if route.startswith(FOR_ADMINISTRATORS):
            continue
        answers = {}
        for method in METHODS:
            given = values | (
                {"id": hers.deleted.pk} if name == "conversation_undelete" else {}
            )
            answers[method] = getattr(client, method)(fill(route, given)).status_code
            tried += 1
        assert set(answers.values()) <= {404, 405}, f"{route}: {answers}"
        assert 404 in answers.values(), f"{route} is never looked up: {answers}"
    assert tried > 100
    assert everything()[:-1] == before


def test_s01_the_owner_reaches_the_same_addresses(
    hers: Belongings, alice: User, client_for: Callable[..., Client]
) -> None:
    """Otherwise the matrix would prove nothing."""
    client = client_for(alice)
    values = values_for(hers)
    unreached = []
    for route, name in routes_with_parts():
        if route.startswith(FOR_ADMINISTRATORS) or "<str:scope>" in route:
            continue
        if "delete" in name or "end_session" in name:
            continue
        address = fill(route, values)
        status = client.get(address).status_code
        if status == 405:
            status = client.post(address, {"message": hers.answer.pk}).status_code
        if status == 404:
            unreached.append(route)
    assert unreached == []


def test_s01_members_reach_no_address_for_administrators(
    hers: Belongings, alice: User, bob: User, client_for: Callable[..., Client]
) -> None:
    client = client_for(bob)
    for route, _ in routes_with_parts():
        if not route.startswith(FOR_ADMINISTRATORS):
            continue
        address = "/" + re.sub(r"<(?:\w+:)?(\w+)>", "1", route)
        address = re.sub(r"\(\?P<\w+>[^)]*\)|[\^$]", "accounts", address)
        for method in METHODS:
            status = getattr(client, method)(address).status_code
            assert status in {302, 403, 404, 405}, f"{method} {address}: {status}"


def test_s01_nobody_reaches_anything_without_signing_in(hers: Belongings) -> None:
    client = Client()
    before = everything()
    for route, _ in routes_with_parts():
        if route.startswith("admin/"):
            continue
        address = fill(
            route,
            values_for(hers)
            | dict.fromkeys(
                ("username", "verb", "invite_id", "budget_id", "request_id"), 1
            ),
        )
        for method in METHODS:
            answer = getattr(client, method)(address)
            assert answer.status_code in {302, 401, 403, 404, 405}, (
                f"{method} {address}: {answer.status_code}"
            )
            if answer.status_code == 302:
                assert "/login/" in answer["Location"]
    assert everything() == before


def test_s01_pages_about_channels_show_ones_own_alone(
    hers: Belongings, bob: User, client_for: Callable[..., Client]
) -> None:
    """Their addresses name a kind, not a row: others see that they have none."""
    his = client_for(bob)
    before = everything()
    for kind in Channel.Kind:
        address = f"/settings/channels/{kind.value.replace('_', '-')}/"
        page = his.get(address).content.decode()
        assert hers.room.external_id not in page
        for end in (
            *("secret/new/", "secret/drop/", "delete/", "test/"),
            *("rooms/add/", "identities/add/", "pair/"),
        ):
            fields = {"external_id": "abc", "code": "ABCDEFGH", "name": kind.label}
            assert his.post(address + end, fields).status_code == 404, end
    assert his.get("/settings/channels/everybody/").status_code == 404
    assert everything()[:-1] == before[:-1]


def test_s01_figures_of_the_installation_are_for_administrators_alone(
    transactional_db: None,
    bob: User,
    admin_user: User,
    client_for: Callable[..., Client],
) -> None:
    for client, status in (
        (Client(), 401),
        (client_for(bob), 403),
        (client_for(admin_user), 200),
    ):
        assert client.get("/metrics").status_code == status


# --- S1: socket actions -------------------------------------------------------


def intrusions(hers: Belongings, his: Belongings) -> dict[str, list[dict[str, Any]]]:
    """Return for each action the fields with which somebody reaches for hers."""
    text = {"text": "let me in", "client_id": "c"}
    return {
        "message.send": [
            text | {"persona": hers.persona.name},
            text | {"conversation": hers.conversation.pk},
            text | {"conversation": hers.deleted.pk, "persona": his.persona.name},
            text | {"conversation": hers.conversation.pk, "parent": hers.answer.pk},
            text | {"conversation": his.conversation.pk, "parent": hers.answer.pk},
            text | {"persona": his.persona.name, "parent": hers.answer.pk},
        ],
        "turn.retry": [{"client_id": "c", "message": hers.answer.pk}],
        "message.edit": [
            text | {"message": hers.asked.pk},
            text | {"message": hers.asked.pk, "answer": False},
        ],
        "turn.stop": [{"turn": hers.answer.pk}],
        "turn.resume": [{"turn": hers.answer.pk, "after": -1}],
        "ping": [],
    }


@pytest.mark.usefixtures("turns_running")
async def test_s01_every_socket_action_is_not_found_for_others(
    hers: Belongings, bob: User, bob_session: str, seen: Any
) -> None:
    his = await seen(belongings_of, bob, "his")
    before = await seen(everything)
    matrix = intrusions(hers, his)
    assert set(matrix) == set(frames.ACTIONS), "a new action needs its row here"
    async with connected(bob_session) as socket:
        for action, tries in matrix.items():
            for fields in tries:
                await socket.send(
                    action,
                    **{
                        name: str(value) if isinstance(value, uuid.UUID) else value
                        for name, value in fields.items()
                    },
                )
                answer = await socket.receive()
                assert answer["type"] == "error", (action, fields, answer)
                assert answer["code"] == "not_found", (action, fields, answer)
    assert await seen(everything) == before


@pytest.mark.usefixtures("turns_running", "persona", "scripted")
async def test_s01_a_running_turn_is_nobody_elses(
    alice_session: str, bob_session: str
) -> None:
    with playing(scripted=LASTING):
        async with connected(alice_session) as hers, connected(bob_session) as his:
            turn = (await hers.say("mine", model="scripted"))["turn"]
            await hers.until("turn.delta")
            await his.send("turn.stop", turn=turn)
            assert (await his.until("error", turn=turn))["code"] == "not_found"
            await his.send("turn.resume", turn=turn, after=-1)
            assert (await his.until("error", turn=turn))["code"] == "not_found"
            assert turns.running_count() == 1
            await hers.send("turn.stop", turn=turn)
            assert (await hers.until("turn.finished"))["outcome"] == "interrupted"


# --- S2: the session alone says who speaks ------------------------------------


@pytest.mark.usefixtures("turns_running", "persona", "scripted")
async def test_s02_nothing_in_a_frame_says_who_speaks(
    alice: User, bob: User, alice_session: str, bob_session: str, seen: Any
) -> None:
    claims = {
        "user": alice.pk,
        "user_id": alice.pk,
        "owner": alice.username,
        "session": alice_session,
        "session_id": alice_session,
        "group": f"user_{alice.pk}",
        "channel": f"user_{alice.pk}",
        "alone": False,
    }
    await seen(
        lambda: create_persona(
            bob, template="assistant", name="inara", display_name="Bob's"
        )
    )
    async with connected(alice_session) as hers, connected(bob_session) as his:
        started = await his.say("mine", model="scripted", **claims)
        await his.until("turn.finished")
        await hers.send("ping")
        assert await hers.receive() == {"type": "pong"}
    answer = await seen(lambda: Message.objects.get(pk=started["turn"]))
    assert (answer.owner_id, answer.channel) == (bob.pk, "web")


@pytest.mark.usefixtures("turns_running", "persona")
async def test_s02_an_address_or_header_cannot_name_another_person(
    alice: User, bob_session: str
) -> None:
    communicator, accepted = await shake_hands(
        bob_session, ORIGIN, f"/ws/chat/?user={alice.pk}&sessionid=x"
    )
    assert accepted
    (socket,) = [each for mine in SOCKETS._by_person.values() for each in mine]
    assert socket.user_id != alice.pk
    await communicator.disconnect()


# --- S3: a session that ends closes its sockets -------------------------------


@pytest.fixture
def quick_sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sweep more often, so that the tests below wait less."""
    assert sockets.SWEEP_EVERY_S <= 3, "S3 leaves five seconds for everything"
    monkeypatch.setattr(sockets, "SWEEP_EVERY_S", 0.05)


def sign_out(user: User, session_key: str) -> None:
    import_module(settings.SESSION_ENGINE).SessionStore(session_key).flush()


def expire(user: User, session_key: str) -> None:
    import_module("django.contrib.sessions.models").Session.objects.update(
        expire_date=timezone.now()
    )


def change_password(user: User, session_key: str) -> None:
    user.set_password("another horse battery staple")
    user.save()


def deactivate(user: User, session_key: str) -> None:
    people.deactivate(user, actor=None)


def promote(user: User, session_key: str) -> None:
    set_role(user, is_admin=True)


def delete(user: User, session_key: str) -> None:
    user.delete()


@pytest.mark.usefixtures("turns_running", "quick_sweep")
@pytest.mark.parametrize(
    "end", [sign_out, expire, change_password, deactivate, promote, delete]
)
async def test_s03_the_end_of_a_session_closes_its_sockets(
    alice: User,
    alice_session: str,
    charlie_session: str,
    seen: Any,
    end: Callable[[User, str], None],
) -> None:
    async with connected(charlie_session) as other:
        async with connected(alice_session) as hers:
            await seen(end, alice, alice_session)
            assert await hers.closed() == 4401
        if end is not expire:
            await asyncio.sleep(0.15)
            await other.send("ping")
            assert await other.receive() == {"type": "pong"}


@pytest.mark.usefixtures("turns_running", "quick_sweep", "persona", "scripted")
async def test_s03_a_closed_socket_gets_no_further_text(
    alice: User, alice_session: str, seen: Any
) -> None:
    with playing(scripted=[TextDelta("a"), 0.5, TextDelta("secret"), Finished()]):
        async with connected(alice_session) as socket:
            await socket.say("hello", model="scripted")
            await socket.until("turn.delta")
            await seen(sign_out, alice, alice_session)
            assert await socket.closed() == 4401
            await socket.send("ping")
            await asyncio.sleep(0.6)
            assert await socket.communicator.receive_nothing()


@pytest.mark.usefixtures("turns_running")
async def test_s03_all_sockets_are_checked_with_one_batch_of_queries(
    alice: User, charlie: User, seen: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    check = sockets.valid_sessions

    def counting(pairs: Any) -> set[int]:
        asked.append(len(pairs))
        return check(pairs)

    monkeypatch.setattr(sockets, "valid_sessions", counting)
    one, two = await seen(session_for, alice), await seen(session_for, charlie)
    async with connected(one), connected(one), connected(two):
        await SOCKETS.sweep()
    assert asked == [2]


@pytest.mark.usefixtures("turns_running", "quick_sweep")
async def test_s03_a_database_that_fails_once_does_not_end_the_sweep(
    alice: User, alice_session: str, seen: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    check, failures = sockets.valid_sessions, iter([OSError("away"), ValueError()])

    def failing(pairs: Any) -> set[int]:
        if error := next(failures, None):
            raise error
        return check(pairs)

    monkeypatch.setattr(sockets, "valid_sessions", failing)
    async with connected(alice_session) as socket:
        await seen(sign_out, alice, alice_session)
        assert await socket.closed() == 4401


# --- S22: the handshake -------------------------------------------------------


@pytest.mark.usefixtures("turns_running")
@pytest.mark.parametrize(
    "origin",
    [
        None, "", "null", "http://evil.example", "http://127.0.0.1:8001",
        "http://127.0.0.1", "https://127.0.0.1:8000", "http://127.0.0.1:8000.evil.org",
        "http://evil.example/http://127.0.0.1:8000", "http://me@127.0.0.1:8000",
        "http://127.0.0.1:8000/path", "http://127.0.0.1:x", "http://[::1",
        "127.0.0.1:8000", "ws://127.0.0.1:8000",
    ],
)  # fmt: skip
async def test_s22_a_missing_or_foreign_origin_is_refused(
    alice_session: str, origin: str | None
) -> None:
    _, accepted = await shake_hands(alice_session, origin)
    assert not accepted


@pytest.mark.usefixtures("turns_running")
@pytest.mark.parametrize(
    "origin", ["http://127.0.0.1:8000", "http://localhost:8000", "HTTP://[::1]:8000"]
)
async def test_s22_our_own_pages_are_let_in(alice_session: str, origin: str) -> None:
    communicator, accepted = await shake_hands(alice_session, origin)
    assert accepted
    await communicator.disconnect()


@pytest.mark.usefixtures("turns_running")
@pytest.mark.parametrize(
    ("allowed", "origin", "let_in"),
    [
        ("https://chat.example.org", "https://chat.example.org", True),
        ("https://chat.example.org", "https://chat.example.org:443", True),
        ("https://chat.example.org", "http://chat.example.org", False),
        ("https://chat.example.org", "https://sub.chat.example.org", False),
        ("http://chat.example.org:8080", "http://chat.example.org", False),
        ("http://chat.example.org", "http://chat.example.org:80", True),
    ],
)
async def test_s22_scheme_host_and_port_all_count(
    alice_session: str, settings: Any, allowed: str, origin: str, let_in: bool
) -> None:
    settings.CORTEX_ORIGINS = [allowed]
    communicator, accepted = await shake_hands(alice_session, origin)
    assert accepted is let_in
    if accepted:
        await communicator.disconnect()


@pytest.mark.usefixtures("turns_running")
async def test_s22_only_a_valid_session_is_let_in(
    alice: User, alice_session: str, seen: Any
) -> None:
    for key in (None, "", "x" * 32, "'; DROP TABLE", "\\x00", alice_session + "x"):
        _, accepted = await shake_hands(key, ORIGIN)
        assert not accepted, key
    await seen(lambda: User.objects.filter(pk=alice.pk).update(is_active=False))
    _, accepted = await shake_hands(alice_session, ORIGIN)
    assert not accepted


@pytest.mark.usefixtures("turns_running")
async def test_s22_a_handshake_never_changes_the_session(
    alice: User, alice_session: str, settings: Any, seen: Any
) -> None:
    """After a change of the secret key too, when Django would renew the session."""
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "a new key of many characters 0123456789 abcdefgh"
    for _ in range(2):
        communicator, accepted = await shake_hands(alice_session, ORIGIN)
        assert accepted
        await communicator.disconnect()


@pytest.mark.usefixtures("turns_running")
@pytest.mark.parametrize("path", ["/", "/ws/", "/ws/chat", "/ws/chat/x", "/ws/other/"])
async def test_s22_other_addresses_have_no_socket(
    alice_session: str, path: str
) -> None:
    _, accepted = await shake_hands(alice_session, ORIGIN, path)
    assert not accepted


# --- S23: sizes, rates, ages --------------------------------------------------


@pytest.mark.usefixtures("turns_running", "persona", "scripted")
async def test_s23_a_frame_above_64_kb_closes_the_socket(alice_session: str) -> None:
    async with connected(alice_session) as socket:
        await socket.send("ping", padding="x" * 65_000)
        assert await socket.receive() == {"type": "pong"}
        await socket.send("ping", padding="x" * 65_536)
        assert await socket.closed() == 1009
    async with connected(alice_session) as socket:
        await socket.send_text('{"type":"ping","padding":"' + "é" * 33_000 + '"}')
        assert await socket.closed() == 1009


@pytest.mark.usefixtures("turns_running", "persona", "scripted")
async def test_s23_a_message_above_32_000_characters_is_refused(
    alice_session: str, seen: Any
) -> None:
    async with connected(alice_session) as socket:
        await socket.send(
            "message.send", client_id="c", persona="inara", text="x" * 32_001
        )
        error = await socket.receive()
        assert (error["code"], error["client_id"]) == ("too_long", "c")
        finished = await socket.ask("x" * 32_000, model="scripted")
        assert finished["type"] == "turn.finished"
    assert await seen(Message.objects.count) == 2


@pytest.mark.usefixtures("turns_running", "quick_sweep")
@pytest.mark.parametrize("limit", ["MAX_AGE_S", "IDLE_S"])
async def test_s23_old_and_idle_sockets_are_closed(
    alice_session: str, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    async with connected(alice_session) as socket:
        await socket.send("ping")
        assert await socket.receive() == {"type": "pong"}
        monkeypatch.setattr(sockets, limit, -1)
        assert await socket.closed() == 1000


@pytest.mark.usefixtures("turns_running", "quick_sweep", "persona", "scripted")
async def test_s23_a_socket_that_reads_an_answer_is_not_idle(
    alice_session: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets, "IDLE_S", -1)
    monkeypatch.setattr(sockets, "SWEEP_EVERY_S", 0.2)
    with playing(scripted=[TextDelta("a"), 0.6, TextDelta("b"), Finished()]):
        async with connected(alice_session) as socket:
            finished = await socket.ask("slowly", model="scripted")
            assert finished["outcome"] == "complete"
            assert await socket.closed() == 1000


@pytest.mark.usefixtures("turns_running", "persona", "scripted")
async def test_s23_a_resume_checks_the_session_again(
    alice: User, alice_session: str, seen: Any
) -> None:
    async with connected(alice_session) as socket:
        finished = await socket.ask("hello", model="scripted")
        await seen(sign_out, alice, alice_session)
        await socket.send("turn.resume", turn=finished["turn"], after=-1)
        with pytest.raises(Closed) as closed:
            await socket.receive(1)
        assert closed.value.code == 4401


# --- S24: nothing secret in addresses and logs --------------------------------


@pytest.mark.usefixtures("turns_running")
async def test_s24_a_session_in_the_address_lets_nobody_in(alice_session: str) -> None:
    for name in (settings.SESSION_COOKIE_NAME, "token", "session"):
        _, accepted = await shake_hands(
            None, ORIGIN, f"/ws/chat/?{name}={alice_session}"
        )
        assert not accepted


@pytest.mark.usefixtures("turns_running", "persona", "scripted")
async def test_s24_logs_hold_neither_sessions_nor_texts(
    alice: User, alice_session: str, caplog: pytest.LogCaptureFixture, seen: Any
) -> None:
    caplog.set_level(logging.DEBUG)
    async with connected(alice_session) as socket:
        await socket.ask("a canary in the text", model="scripted")
        await socket.send("message.send", client_id="c", text="canary", persona="none")
        await socket.until("error")
    await shake_hands(alice_session, "http://evil.example")
    stamp = await seen(lambda: import_module("accounts.sessions").auth_stamp(alice))
    assert "canary" not in caplog.text
    assert alice_session not in caplog.text
    assert stamp not in caplog.text
