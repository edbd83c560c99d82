"""What a Talk bot sends, and how it fails."""

from __future__ import annotations

import asyncio
import json
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from channels_app.bots.adapters import ChannelInfo, Outgoing, adapter_for
from channels_app.bots.incoming import Incoming
from channels_app.deliveries import DeliveryError
from channels_app.models import Channel
from channels_app.nextcloud_talk import adapter
from channels_app.nextcloud_talk.adapter import REPEATED, TalkAdapter
from channels_app.nextcloud_talk.client import Room, certificate_sentence
from channels_app.streams import TurnStream
from tests.support.certificates import self_signed
from tests.support.nextcloud import ROOM, SECRET, Nextcloud, Post, sign
from tests.support.processes import free_port
from tests.support.talk import PREVIOUS, info_for

ADAPTER = TalkAdapter()
KEY = uuid.UUID("12345678-1234-5678-1234-567812345678")


def message(text: str = "Hello", **fields: Any) -> Outgoing:
    return Outgoing(id=KEY, room_id=ROOM, text=text, **fields)


async def failure(info: ChannelInfo, outgoing: Outgoing) -> DeliveryError:
    with pytest.raises(DeliveryError) as caught:
        await ADAPTER.send(info, outgoing)
    return caught.value


def test_it_is_the_adapter_of_its_kind() -> None:
    assert isinstance(adapter_for(Channel.Kind.NEXTCLOUD_TALK), TalkAdapter)


# --- sending -----------------------------------------------------------------------


async def test_a_message_arrives_signed_over_its_text_alone(
    nextcloud: Nextcloud, talk_info: ChannelInfo
) -> None:
    number = nextcloud.new_message_id()
    text = "Hello **Alice** \N{EN DASH} 2+2=4 ✅ \ud83d\0"
    sent = message(text, reply_to=str(number))
    assert await ADAPTER.send(talk_info, sent) == ""
    clean = "Hello **Alice** \N{EN DASH} 2+2=4 ✅ \ufffd\ufffd"
    assert nextcloud.posts == [
        Post(number + 1, ROOM, clean, number, KEY.hex, silent=False)
    ]
    (call,) = nextcloud.calls
    random = call.headers["X-Nextcloud-Talk-Bot-Random"]
    given = call.headers["X-Nextcloud-Talk-Bot-Signature"]
    assert given == sign(SECRET, random, clean.encode())
    assert given != sign(SECRET, random, call.body)
    assert call.json == {
        "message": clean,
        "replyTo": number,
        "referenceId": KEY.hex,
    }


async def test_what_is_sent_again_says_so(
    nextcloud: Nextcloud, talk_info: ChannelInfo
) -> None:
    await ADAPTER.send(talk_info, message("Hello", repeated=True))
    assert [post.text for post in nextcloud.posts] == [f"{REPEATED}\n\nHello"]


async def test_a_message_that_is_gone_is_not_replied_to(
    nextcloud: Nextcloud, talk_info: ChannelInfo
) -> None:
    await ADAPTER.send(talk_info, message(reply_to="999"))
    assert [(post.text, post.reply_to) for post in nextcloud.posts] == [("Hello", 0)]


async def test_the_longest_part_is_taken(
    nextcloud: Nextcloud, talk_info: ChannelInfo
) -> None:
    for part in ADAPTER.split("🙂" * 9000):
        await ADAPTER.send(talk_info, message(part))
    assert "".join(post.text for post in nextcloud.posts) == "🙂" * 9000
    assert len(nextcloud.posts) == 3


@pytest.mark.parametrize(
    ("installed", "signed_with", "tries"),
    [
        (SECRET, "secret", 1),
        (PREVIOUS, "previous", 1),
        (PREVIOUS, "secret", 2),
        (SECRET, "previous", 2),
    ],
)
async def test_while_the_secret_changes_the_one_that_fits_is_found(
    nextcloud: Nextcloud,
    talk_info: ChannelInfo,
    installed: str,
    signed_with: str,
    tries: int,
) -> None:
    nextcloud.bot.secret = installed
    info = info_for(nextcloud, secret=SECRET, previous=PREVIOUS)
    await ADAPTER.send(info, message(extra={"signed_with": signed_with}))
    assert [post.text for post in nextcloud.posts] == ["Hello"]
    assert len(nextcloud.calls) == tries


# --- failing -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("word", "status", "retryable", "may_have_arrived"),
    [
        ("status-400", 400, False, False),
        ("status-404", 404, False, False),
        ("status-413", 413, False, False),
        ("status-429", 429, True, False),
        ("status-500", 500, True, False),
        ("status-502", 502, True, False),
        ("status-503", 503, True, False),
        ("status-504", 504, True, True),
        ("status-200", 200, False, False),
        ("redirect", 301, False, False),
        ("cut", None, True, True),
        ("cut-after", None, True, True),
    ],
)
async def test_a_failure_says_whether_it_may_have_arrived(
    nextcloud: Nextcloud,
    talk_info: ChannelInfo,
    word: str,
    status: int | None,
    retryable: bool,
    may_have_arrived: bool,
) -> None:
    nextcloud.behave(word)
    error = await failure(talk_info, message())
    assert error.status == status
    assert (error.retryable, error.may_have_arrived) == (retryable, may_have_arrived)
    assert str(error).endswith(".")
    assert len(nextcloud.calls) == 1
    assert len(nextcloud.posts) == (word == "cut-after")


async def test_a_pause_that_is_asked_for_is_passed_on(
    nextcloud: Nextcloud, talk_info: ChannelInfo
) -> None:
    nextcloud.behave("status-429-7")
    assert (await failure(talk_info, message())).retry_after_s == 7


@pytest.mark.parametrize("trouble", ["feature", "room", "secret"])
async def test_a_refused_signature_is_tried_once_and_explained(
    nextcloud: Nextcloud, talk_info: ChannelInfo, trouble: str
) -> None:
    if trouble == "feature":
        nextcloud.bot.features = 1
    elif trouble == "room":
        nextcloud.bot.rooms.clear()
    else:
        nextcloud.bot.secret = PREVIOUS
    error = await failure(talk_info, message())
    assert (error.status, error.retryable) == (401, False)
    assert "response" in str(error)
    assert len(nextcloud.calls) == 1


async def test_a_server_that_never_answers_may_have_posted(
    nextcloud: Nextcloud, talk_info: ChannelInfo
) -> None:
    nextcloud.behave("hang")
    with pytest.raises(DeliveryError) as caught:
        await Room(talk_info, ROOM, timeout_s=0.2).post("Hello")
    assert (caught.value.retryable, caught.value.may_have_arrived) == (True, True)


async def test_a_server_that_is_down_got_nothing(talk_info: ChannelInfo) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    info = replace(talk_info, settings={"url": url}, trusted_origins=frozenset({url}))
    error = await failure(info, message())
    assert (error.retryable, error.may_have_arrived) == (True, False)
    assert url in str(error)


async def test_a_private_address_needs_an_administrator(
    nextcloud: Nextcloud, talk_info: ChannelInfo
) -> None:
    info = replace(talk_info, trusted_origins=frozenset())
    error = await failure(info, message())
    assert not error.retryable
    assert "administrator" in str(error)
    assert nextcloud.calls == []


async def test_a_certificate_that_nobody_knows_is_explained(
    tmp_path: Path, talk_info: ChannelInfo
) -> None:
    with Nextcloud(certificate=self_signed(tmp_path)) as server:
        error = await failure(info_for(server), message())
        assert server.calls == []
    assert (error.retryable, error.may_have_arrived) == (True, False)
    assert server.url in str(error)
    assert "SSL_CERT_FILE" in str(error)


@pytest.mark.parametrize(
    ("why", "word"),
    [
        ("self-signed certificate in certificate chain", "SSL_CERT_FILE"),
        ("unable to get local issuer certificate", "SSL_CERT_FILE"),
        ("certificate has expired", "expired"),
        ("Hostname mismatch, certificate is not valid for 'x'.", "another name"),
        ("something new", "not valid"),
    ],
)
def test_each_fault_of_a_certificate_has_its_sentence(why: str, word: str) -> None:
    assert word in certificate_sentence("https://cloud.test", why)


@pytest.mark.parametrize("fault", ["status-401", "status-500", "cut", "redirect"])
async def test_no_error_holds_a_secret_or_the_text(
    nextcloud: Nextcloud, talk_info: ChannelInfo, fault: str
) -> None:
    nextcloud.behave(fault)
    error = await failure(talk_info, message("private words"))
    assert SECRET not in repr(error)
    assert "private" not in repr(error)
    assert SECRET not in repr(talk_info)


# --- the sign of work --------------------------------------------------------------


def event(number: int, **fields: Any) -> Incoming:
    return Incoming(
        external_id=f"{ROOM}/{number}",
        kind="message",
        room_id=ROOM,
        reply_to=str(number),
        **fields,
    )


async def test_eyes_stay_while_the_answer_grows(
    nextcloud: Nextcloud, talk_info: ChannelInfo
) -> None:
    number = nextcloud.new_message_id()
    stream = TurnStream(uuid.uuid4(), 1)
    async with ADAPTER.showing_work(talk_info, event(number), KEY) as sign_of_work:
        following = asyncio.create_task(sign_of_work.follow(stream))
        await asyncio.to_thread(
            nextcloud.wait_for, lambda: (ROOM, number, "👀") in nextcloud.reactions
        )
        stream.append_text("turn.delta", "one")
        assert not following.done()
        stream.finish()
        await following
        assert nextcloud.reactions == [], "gone before anything is noted of the end"
    assert nextcloud.reactions == []
    assert [change[0] for change in nextcloud.reaction_log] == ["+", "-"]


async def test_eyes_are_taken_off_by_another_try(
    nextcloud: Nextcloud, talk_info: ChannelInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapter, "REMOVE_PAUSES_S", (0.01, 0.01))
    nextcloud.behave("ok", "status-503", "status-500", "ok")
    number = nextcloud.new_message_id()
    async with ADAPTER.showing_work(talk_info, event(number), KEY):
        pass
    assert nextcloud.reactions == []
    assert [call.method for call in nextcloud.calls] == ["POST", *["DELETE"] * 3]


async def test_an_answer_does_not_wait_for_eyes_that_do_not_go(
    nextcloud: Nextcloud, talk_info: ChannelInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapter, "REMOVED_WITHIN_S", 0.01)
    nextcloud.behave("ok", "slow-0.5")
    number = nextcloud.new_message_id()
    stream = TurnStream(uuid.uuid4(), 1)
    stream.finish()
    async with ADAPTER.showing_work(talk_info, event(number), KEY) as sign_of_work:
        await sign_of_work.follow(stream)
        assert nextcloud.reactions == [(ROOM, number, "👀")]
    assert nextcloud.reactions == []


async def test_eyes_are_removed_when_the_work_fails_at_once(
    nextcloud: Nextcloud, talk_info: ChannelInfo
) -> None:
    number = nextcloud.new_message_id()
    with pytest.raises(RuntimeError):
        async with ADAPTER.showing_work(talk_info, event(number), KEY):
            raise RuntimeError
    assert [change[0] for change in nextcloud.reaction_log] == ["+", "-"]


async def test_eyes_are_removed_when_the_work_is_stopped(
    nextcloud: Nextcloud, talk_info: ChannelInfo
) -> None:
    number = nextcloud.new_message_id()

    async def work() -> None:
        async with ADAPTER.showing_work(talk_info, event(number), KEY):
            await asyncio.sleep(60)

    task = asyncio.create_task(work())
    await asyncio.to_thread(nextcloud.wait_for, lambda: nextcloud.reactions)
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert nextcloud.reactions == []


@pytest.mark.parametrize("fault", ["status-500", "status-401", "status-429", "cut"])
async def test_a_server_without_patience_does_not_disturb_the_work(
    nextcloud: Nextcloud, talk_info: ChannelInfo, fault: str
) -> None:
    nextcloud.behave(fault, fault)
    number = nextcloud.new_message_id()
    done = False
    async with ADAPTER.showing_work(talk_info, event(number), KEY):
        done = True
    assert done
    methods = {call.method for call in nextcloud.calls}
    # What may be there after all is removed.
    assert methods == ({"POST", "DELETE"} if fault == "cut" else {"POST"})


async def test_an_event_without_a_message_gets_no_eyes(
    nextcloud: Nextcloud, talk_info: ChannelInfo
) -> None:
    join = Incoming(external_id="join/1", kind="joined", room_id=ROOM)
    async with ADAPTER.showing_work(talk_info, join, KEY):
        pass
    assert nextcloud.calls == []


async def test_the_reaction_is_signed_with_the_secret_of_the_event(
    nextcloud: Nextcloud, talk_info: ChannelInfo
) -> None:
    nextcloud.bot.secret = PREVIOUS
    info = info_for(nextcloud, secret=SECRET, previous=PREVIOUS)
    number = nextcloud.new_message_id()
    extra = {"signed_with": "previous"}
    async with ADAPTER.showing_work(info, event(number, extra=extra), KEY):
        pass
    assert [call.status for call in nextcloud.calls] == [201, 200]
    assert all(json.loads(call.body) == {"reaction": "👀"} for call in nextcloud.calls)
