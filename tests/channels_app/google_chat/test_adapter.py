"""Posting to Google Chat: tokens, keys of posts, pace, the message that grows."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from channels_app.bots.adapters import ChannelInfo, Outgoing, adapter_for
from channels_app.bots.incoming import Incoming
from channels_app.deliveries import DeliveryError
from channels_app.google_chat import access, client, markup, pace, working
from channels_app.google_chat.adapter import GoogleChatAdapter
from channels_app.streams import TurnStream
from routing import net
from tests.support.google import GoogleStandIn
from tests.support.google_chat import google_info
from tests.support.google_keys import signing_key

ROOM, THREAD = "spaces/AAA", "spaces/AAA/threads/CCC"
ADAPTER = GoogleChatAdapter()
MARK = working.MARK


@pytest_asyncio.fixture(autouse=True)
async def closed_sessions() -> AsyncIterator[None]:
    """Close what the test's event loop opened."""
    yield
    await net.close()


@pytest.fixture
def channel(google: GoogleStandIn) -> ChannelInfo:
    """A channel with a service account."""
    return google_info(google)


def outgoing(text: str = "**hello**", **fields: Any) -> Outgoing:
    return Outgoing(
        **{"id": uuid.uuid4(), "room_id": ROOM, "text": text, "thread": THREAD} | fields
    )


def incoming(**fields: Any) -> Incoming:
    return Incoming(
        **{
            "external_id": "spaces/AAA/messages/B.B",
            "kind": "message",
            "room_id": ROOM,
            "thread": THREAD,
        }
        | fields
    )


def test_it_is_the_adapter_of_its_kind() -> None:
    adapter = adapter_for("google_chat")
    assert isinstance(adapter, GoogleChatAdapter) and adapter.idempotent


# --- access tokens ------------------------------------------------------------------


async def test_a_token_is_fetched_once_and_used_until_shortly_before_its_end(
    google: GoogleStandIn,
    channel: ChannelInfo,
    quick: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    offset, real = 0.0, access.monotonic
    monkeypatch.setattr(access, "monotonic", lambda: real() + offset)
    await asyncio.gather(*(ADAPTER.send(channel, outgoing()) for _ in range(5)))
    offset = 3400
    await ADAPTER.send(channel, outgoing())
    assert len(google.of("token")) == 1
    offset = 3500
    await ADAPTER.send(channel, outgoing())
    assert len(google.of("token")) == 2


async def test_a_token_that_google_forgot_is_renewed_at_once(
    google: GoogleStandIn, channel: ChannelInfo, quick: None
) -> None:
    await ADAPTER.send(channel, outgoing("one"))
    google.forget_tokens()
    await ADAPTER.send(channel, outgoing("two"))
    assert google.texts == ["one", "two"]
    assert len(google.of("token")) == 2


async def test_the_key_file_does_not_say_where_tokens_come_from(
    google: GoogleStandIn, channel: ChannelInfo, quick: None
) -> None:
    assert "never-used" in json.loads(channel.secrets["service_account"])["token_uri"]
    await ADAPTER.send(channel, outgoing())
    assert [each.path for each in google.of("token")] == ["/token"]


async def test_another_accounts_token_is_never_used(
    google: GoogleStandIn, channel: ChannelInfo, quick: None
) -> None:
    await ADAPTER.send(channel, outgoing())
    other = google_info(google, service_account=google.service_account("robot-2"))
    await ADAPTER.send(other, outgoing())
    used = {each.headers["authorization"] for each in google.of("create")}
    assert len(used) == len(google.of("token")) == 2


@pytest.mark.parametrize(
    "text", ["{", "[]", "{}", '{"client_email": "a@b"}', '{"private_key": 1}', "null"]
)
async def test_an_unusable_key_file_is_said_so(
    google: GoogleStandIn, text: str
) -> None:
    with pytest.raises(DeliveryError, match="cannot be used") as error:
        await ADAPTER.send(google_info(google, service_account=text), outgoing())
    assert not error.value.retryable
    assert not google.requests


async def test_a_key_that_is_none_is_said_so_without_it(google: GoogleStandIn) -> None:
    text = json.dumps({"client_email": "a@b.iam", "private_key": "secret-key"})
    with pytest.raises(DeliveryError, match="cannot be used") as error:
        await ADAPTER.send(google_info(google, service_account=text), outgoing())
    assert "secret-key" not in str(error.value) + repr(error.value.__cause__)


async def test_an_account_that_google_does_not_know_is_not_tried_again(
    google: GoogleStandIn, channel: ChannelInfo
) -> None:
    google.fail("token", 400)
    with pytest.raises(DeliveryError, match="refuses the service account") as error:
        await ADAPTER.send(channel, outgoing())
    assert (error.value.status, error.value.retryable) == (400, False)


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_token_endpoint_in_trouble_is_tried_again(
    google: GoogleStandIn, channel: ChannelInfo, status: int
) -> None:
    google.fail("token", status)
    with pytest.raises(DeliveryError) as error:
        await ADAPTER.send(channel, outgoing())
    assert error.value.retryable and not error.value.may_have_arrived
    await ADAPTER.send(channel, outgoing())
    assert len(google.messages) == 1


# --- posting ------------------------------------------------------------------------


async def test_a_message_is_posted_into_its_thread_with_its_key(
    google: GoogleStandIn, channel: ChannelInfo
) -> None:
    message = outgoing()
    name = await ADAPTER.send(channel, message)
    (created,) = google.of("create")
    assert created.query == {
        "requestId": str(message.id),
        "messageReplyOption": "REPLY_MESSAGE_FALLBACK_TO_NEW_THREAD",
    }
    assert created.body == {
        "text": "*hello*",
        "markupSyntax": "MARKUP_SYNTAX_CHAT",
        "thread": {"name": THREAD},
    }
    assert google.messages[name]["thread"] == {"name": THREAD}
    assert not google.of("patch")


@pytest.mark.parametrize(
    "thread", ["", "spaces/BBB/threads/C", "spaces/AAA/threads/.."]
)
async def test_a_thread_of_elsewhere_is_left_out(
    google: GoogleStandIn, channel: ChannelInfo, thread: str
) -> None:
    await ADAPTER.send(channel, outgoing(thread=thread))
    (created,) = google.of("create")
    assert "thread" not in created.body


@pytest.mark.parametrize("room", ["", "spaces/..", "spaces/A/messages", "users/1"])
async def test_only_spaces_are_written_to(
    google: GoogleStandIn, channel: ChannelInfo, room: str
) -> None:
    with pytest.raises(DeliveryError) as error:
        await ADAPTER.send(channel, outgoing(room_id=room))
    assert not error.value.retryable
    assert not google.requests


async def test_a_repetition_appears_once(
    google: GoogleStandIn, channel: ChannelInfo, quick: None
) -> None:
    message = outgoing()
    names = {await ADAPTER.send(channel, message) for _ in range(3)}
    assert len(names) == len(google.messages) == 1
    assert not google.of("patch")


@pytest.mark.parametrize(
    ("status", "retryable"),
    [(400, False), (403, False), (429, True), (500, True), (503, True), (302, False)],
)
async def test_what_the_chat_api_refuses(
    google: GoogleStandIn, channel: ChannelInfo, status: int, retryable: bool
) -> None:
    google.fail("create", status, Location="http://127.0.0.1:9/", Retry_After="7")
    with pytest.raises(DeliveryError) as error:
        await ADAPTER.send(channel, outgoing("private words"))
    assert error.value.retryable is retryable or status == 302
    if status != 302:
        assert error.value.status == status
    if status == 429:
        assert error.value.retry_after_s == 7
        assert not pace.is_free(ROOM), "nothing else is written there meanwhile"
    assert "private" not in str(error.value) and "It is so" not in str(error.value)
    assert not google.messages


async def test_a_connection_that_breaks_may_have_posted(
    google: GoogleStandIn, channel: ChannelInfo
) -> None:
    google.fail("create", 0)
    with pytest.raises(DeliveryError) as error:
        await ADAPTER.send(channel, outgoing())
    assert error.value.retryable and error.value.may_have_arrived


async def test_nobody_there_means_nothing_was_posted(
    google: GoogleStandIn, channel: ChannelInfo, settings: Any
) -> None:
    settings.CORTEX_GOOGLE_CHAT_URL = "http://127.0.0.1:9"
    with pytest.raises(DeliveryError) as error:
        await ADAPTER.send(channel, outgoing())
    assert error.value.retryable and not error.value.may_have_arrived


async def test_a_space_that_is_gone_is_not_tried_for_ever(
    google: GoogleStandIn, channel: ChannelInfo, quick: None
) -> None:
    google.fail("create", 404, 404)
    with pytest.raises(DeliveryError) as error:
        await ADAPTER.send(channel, outgoing())
    assert (error.value.status, error.value.retryable) == (404, False)


# --- the message that stands for the answer -------------------------------------------


async def test_the_answer_takes_the_place_of_what_stands_for_it(
    google: GoogleStandIn, channel: ChannelInfo, quick: None
) -> None:
    key = uuid.uuid4()
    async with ADAPTER.showing_work(channel, incoming(), key) as sign:
        stream = TurnStream(uuid.uuid4(), 1)
        following = asyncio.create_task(sign.follow(stream))
        await until(lambda: google.messages)
        assert google.texts == [f"_Inara is writing_ {MARK}"]
        stream.append_text("turn.delta", "**part")
        stream.finish()
        await following
    (placeholder,) = google.messages
    assert sign.external_id == placeholder
    sent = await ADAPTER.send(
        channel, outgoing("**all**", id=key, external_id=placeholder)
    )
    assert sent == placeholder and google.texts == ["*all*"]
    assert google.of("create")[0].query["requestId"] == str(key)


async def test_whoever_knows_only_the_key_finds_what_stands_for_the_answer(
    google: GoogleStandIn, channel: ChannelInfo, quick: None
) -> None:
    key = uuid.uuid4()
    await placed(google, channel, key)
    for _ in range(2):
        await ADAPTER.send(channel, outgoing("all", id=key))
    assert google.texts == ["all"]
    assert len(google.of("patch")) == 1, "the second time there is nothing to replace"


async def test_an_answer_that_does_not_tell_its_text_is_replaced_to_be_sure(
    google: GoogleStandIn,
    channel: ChannelInfo,
    quick: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    key = uuid.uuid4()
    await placed(google, channel, key)
    create = google._create

    def silent(request: Any) -> Any:
        status, message, headers = create(request)
        return status, {k: v for k, v in message.items() if k != "text"}, headers

    monkeypatch.setattr(google, "_create", silent)
    await ADAPTER.send(channel, outgoing("all", id=key))
    assert google.texts == ["all"]


async def test_what_somebody_deleted_is_posted_anew_once(
    google: GoogleStandIn, channel: ChannelInfo, quick: None
) -> None:
    key = uuid.uuid4()
    await placed(google, channel, key)
    (placeholder,) = google.messages
    google.messages.clear()
    message = outgoing("all", id=key, external_id=placeholder)
    names = {await ADAPTER.send(channel, message) for _ in range(2)}
    assert google.texts == ["all"] and names == set(google.messages)


async def test_a_growing_answer_is_shown_at_most_once_in_one_and_a_half_seconds(
    google: GoogleStandIn, channel: ChannelInfo
) -> None:
    """The stand-in refuses more than one write a second, as Google does."""
    assert working.EDIT_EVERY_S == 1.5
    google.enforce_pace = True
    stream, key = TurnStream(uuid.uuid4(), 1), uuid.uuid4()
    async with ADAPTER.showing_work(channel, incoming(), key) as sign:
        following = asyncio.create_task(sign.follow(stream))
        for number in range(220):
            stream.append_text("turn.delta", f"**{number}** ")
            await asyncio.sleep(0.02)
        stream.finish()
        await following
    await ADAPTER.send(channel, outgoing("done", id=key, external_id=sign.external_id))
    writes = google.of("create", "patch")
    assert {each.status for each in writes} == {200}
    edits = [each.text for each in writes if each.text.endswith(MARK)][1:]
    assert len(edits) >= 2
    assert all(a[:20] == b[:20] and len(a) < len(b) for a, b in pairs(edits))
    assert edits[0].startswith("*0* *1* ")
    gaps = [b.at - a.at for a, b in pairs(writes[:-1])]
    assert min(gaps) >= 1.45
    assert google.texts == ["done"]


async def test_no_edit_arrives_after_the_answer(
    google: GoogleStandIn,
    channel: ChannelInfo,
    quick: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An edit that hangs is awaited, or it would replace the answer by a part of it."""
    monkeypatch.setattr(working, "EDIT_EVERY_S", 0.0)
    loop, reached = asyncio.get_running_loop(), asyncio.Event()
    may_go = threading.Event()

    def hold(request: Any) -> None:
        if request.kind == "patch" and not may_go.is_set():
            loop.call_soon_threadsafe(reached.set)
            may_go.wait(5)

    google.before_answer = hold
    stream = TurnStream(uuid.uuid4(), 1)
    async with ADAPTER.showing_work(channel, incoming(), uuid.uuid4()) as sign:
        following = asyncio.create_task(sign.follow(stream))
        await until(lambda: google.messages)
        stream.append_text("turn.delta", "part")
        await asyncio.wait_for(reached.wait(), 5)
        stream.finish()
        await asyncio.sleep(0.1)
        assert not following.done()
        may_go.set()
        await asyncio.wait_for(following, 5)
    assert google.texts == [f"part {MARK}"]


@pytest.mark.parametrize("status", [0, 400, 403, 429, 500])
async def test_a_sign_of_work_that_fails_hinders_nobody(
    google: GoogleStandIn, channel: ChannelInfo, quick: None, status: int
) -> None:
    google.fail("create", status)
    stream = TurnStream(uuid.uuid4(), 1)
    stream.append_text("turn.delta", "x")
    stream.finish()
    async with ADAPTER.showing_work(channel, incoming(), uuid.uuid4()) as sign:
        await until(lambda: google.of("create"))
        await sign.follow(stream)
    assert sign.external_id == ""


async def test_edits_that_are_refused_for_now_go_on_later(
    google: GoogleStandIn,
    channel: ChannelInfo,
    quick: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(working, "EDIT_EVERY_S", 0.0)
    google.fail("patch", 500)
    stream = TurnStream(uuid.uuid4(), 1)
    async with ADAPTER.showing_work(channel, incoming(), uuid.uuid4()) as sign:
        following = asyncio.create_task(sign.follow(stream))
        await until(lambda: google.messages)
        stream.append_text("turn.delta", "one")
        await until(lambda: google.of("patch"))
        stream.append_text("turn.delta", " two")
        await until(lambda: google.texts == [f"one two {MARK}"])
        stream.finish()
        await following


async def test_a_growing_answer_stays_within_one_message(
    google: GoogleStandIn,
    channel: ChannelInfo,
    quick: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(working, "EDIT_EVERY_S", 0.0)
    stream = TurnStream(uuid.uuid4(), 1)
    async with ADAPTER.showing_work(channel, incoming(), uuid.uuid4()) as sign:
        following = asyncio.create_task(sign.follow(stream))
        await until(lambda: google.messages)
        stream.append_text("turn.delta", "Wörter. " * 10_000)
        await until(lambda: google.texts[0].startswith("Wörter"))
        stream.finish()
        await following
    assert 28_000 < len(google.texts[0].encode()) <= 32_000


async def test_of_a_growing_answer_only_what_is_shown_is_converted(
    google: GoogleStandIn,
    channel: ChannelInfo,
    quick: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Anything else would hold up the event loop, again with every edit."""
    monkeypatch.setattr(working, "EDIT_EVERY_S", 0.0)
    converted: list[tuple[int, bool]] = []

    def to_chat(text: str) -> str:
        beside = threading.current_thread() is not threading.main_thread()
        converted.append((len(text), beside))
        return real(text)

    real = markup.to_chat
    monkeypatch.setattr(markup, "to_chat", to_chat)
    stream = TurnStream(uuid.uuid4(), 1)
    async with ADAPTER.showing_work(channel, incoming(), uuid.uuid4()) as sign:
        following = asyncio.create_task(sign.follow(stream))
        await until(lambda: google.messages)
        stream.append_text("turn.delta", "words " * 100_000)
        await until(lambda: google.texts[0].startswith("words"))
        stream.finish()
        await following
    await ADAPTER.send(channel, outgoing("done"))
    assert max(length for length, _ in converted) <= markup.MAX_BYTES
    assert all(beside for _, beside in converted)


@pytest.mark.parametrize("why", ["no account", "answered in the response"])
async def test_nothing_is_posted_where_the_response_answers(
    google: GoogleStandIn, channel: ChannelInfo, why: str
) -> None:
    event = incoming(extra={"sync": True} if why != "no account" else {})
    if why == "no account":
        channel = google_info(google, other="x")
    stream = TurnStream(uuid.uuid4(), 1)
    stream.finish()
    async with ADAPTER.showing_work(channel, event, uuid.uuid4()) as sign:
        await sign.follow(stream)
    assert not google.requests


async def test_work_is_shown_before_there_is_an_answer_to_follow(
    google: GoogleStandIn, channel: ChannelInfo, quick: None
) -> None:
    key = uuid.uuid4()
    async with ADAPTER.showing_work(channel, incoming(), key) as sign:
        await until(lambda: google.messages)
        stream = TurnStream(uuid.uuid4(), 1)
        stream.finish()
        await sign.follow(stream)
        await ADAPTER.send(
            channel, outgoing("no", id=key, external_id=sign.external_id)
        )
    assert google.texts == ["no"]


async def test_a_sign_of_work_that_nothing_replaces_is_deleted(
    google: GoogleStandIn, channel: ChannelInfo, quick: None
) -> None:
    async with ADAPTER.showing_work(channel, incoming(), uuid.uuid4()) as sign:
        await until(lambda: sign.external_id)
        google.fail("delete", 500)
        await sign.withdraw()
        assert google.messages, "a failure hinders nobody"
        await sign.withdraw()
    assert not google.messages


async def test_a_crash_of_the_work_ends_the_sign(
    google: GoogleStandIn, channel: ChannelInfo, quick: None
) -> None:
    with contextlib.suppress(ZeroDivisionError):
        async with ADAPTER.showing_work(channel, incoming(), uuid.uuid4()):
            await until(lambda: google.messages)
            raise ZeroDivisionError
    assert {task.get_name() for task in asyncio.all_tasks()}.isdisjoint(
        {"sign of work"}
    )


# --- pace ---------------------------------------------------------------------------


async def test_writes_to_one_space_wait_for_each_other_and_others_do_not(
    google: GoogleStandIn, channel: ChannelInfo
) -> None:
    google.enforce_pace = True
    rooms = [ROOM, ROOM, ROOM, "spaces/BBB", "spaces/CCC"]
    async with asyncio.timeout(10):
        await asyncio.gather(
            *(ADAPTER.send(channel, outgoing(room_id=room)) for room in rooms)
        )
    assert {each.status for each in google.of("create")} == {200}
    order = [each.space for each in google.of("create")]
    assert order[-2:] == [ROOM, ROOM], "the others were not held up"


async def test_a_queue_that_is_too_long_is_left_for_later(
    google: GoogleStandIn, channel: ChannelInfo
) -> None:
    await ADAPTER.send(channel, outgoing())
    pace.pause(ROOM, pace.LONGEST_WAIT_S + 5)
    with pytest.raises(DeliveryError) as error:
        await ADAPTER.send(channel, outgoing())
    assert error.value.retryable and error.value.retry_after_s
    assert error.value.retry_after_s > pace.LONGEST_WAIT_S
    assert len(google.messages) == 1


async def test_spaces_that_are_free_again_are_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pace, "EVERY_S", 0.0)
    pace._FREE_AT.clear()
    for number in range(pace.MAX_KEPT * 2):
        await pace.turn(f"spaces/{number}")
    assert len(pace._FREE_AT) <= pace.MAX_KEPT


# --- the other calls ----------------------------------------------------------------


async def test_only_messages_are_changed_or_deleted(
    google: GoogleStandIn, channel: ChannelInfo
) -> None:
    for name in ("", "spaces/AAA", "spaces/AAA/messages/../x", "spaces/A/messages/b?c"):
        with pytest.raises(DeliveryError):
            await client.change(channel, name, "x")
        with pytest.raises(DeliveryError):
            await client.delete(channel, name)
    assert not google.requests


def test_nothing_that_is_shown_holds_a_key(channel: ChannelInfo) -> None:
    account = access.account_of(channel)
    assert "PRIVATE" not in repr(account) + repr(channel)
    assert signing_key("robot-1").private_pem not in account.fingerprint


async def placed(google: GoogleStandIn, channel: ChannelInfo, key: uuid.UUID) -> None:
    """Leave a placeholder behind, as a process that dies does."""
    async with ADAPTER.showing_work(channel, incoming(), key):
        await until(lambda: google.messages)


async def until(condition: Any) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


def pairs(items: list[Any]) -> list[tuple[Any, Any]]:
    return list(zip(items, items[1:], strict=False))
