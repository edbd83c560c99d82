from __future__ import annotations

import re
from typing import Any

import pytest
from django.test import AsyncClient

from accounts.models import User
from channels_app import turns
from channels_app.api import sse
from channels_app.models import Schedule
from personas.models import Conversation, Message
from routing.backends.base import Finished, TextDelta
from routing.backends.scripted import playing
from tests.support.api import api_of, await_text, events_of, whole
from tests.support.chat_fixtures import *  # noqa: F403

pytestmark = pytest.mark.usefixtures("turns_running", "persona", "scripted")

SLOW = [
    TextDelta("one "),
    0.05,
    TextDelta("two "),
    0.05,
    TextDelta("three"),
    Finished(),
]
LASTING = [TextDelta("one "), 20.0, TextDelta("two"), Finished()]


async def started(response: Any) -> tuple[Any, str]:
    """Return an open stream and its turn, having read the first event."""
    parts = response.streaming_content.__aiter__()
    first = events_of((await anext(parts)).decode())[0]
    return parts, first.data["turn"]


async def test_an_answer_comes_as_numbered_events(alice: User) -> None:
    api = await api_of(alice)

    events = await api.chat("Hello there")

    assert events[0].type == "turn.started"
    assert events[-1].type == "turn.finished"
    assert events[-1].data["outcome"] == "complete"
    turn = events[0].data["turn"]
    assert {event.id.rpartition(":")[0] for event in events} == {turn}
    assert [event.seq for event in events] == [event.data["seq"] for event in events]
    assert [event.type for event in events] == [event.data["type"] for event in events]
    text = "".join(e.data["text"] for e in events if e.type == "turn.delta")
    assert "Hello there" in text


async def test_a_message_is_stored_like_any_other(alice: User, seen: Any) -> None:
    events = await (await api_of(alice)).chat("Hello", client_id="mine")

    answer = await seen(lambda: Message.objects.get(pk=events[0].data["turn"]))
    assert (answer.channel, answer.owner_id, answer.state) == (
        "api",
        alice.pk,
        "complete",
    )
    assert events[0].data["client_id"] == "mine"


async def test_a_conversation_goes_on(alice: User, seen: Any) -> None:
    api = await api_of(alice)
    first = (await api.chat("One"))[0].data

    second = (await api.chat("Two", conversation=first["conversation"]))[0].data

    assert second["conversation"] == first["conversation"]
    assert await seen(Conversation.objects.count) == 1


async def test_the_answer_is_a_stream_that_nobody_keeps(alice: User) -> None:
    response = await (await api_of(alice)).post(
        "/chat", {"persona": "inara", "text": "x", "model": "scripted"}
    )

    assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["X-Accel-Buffering"] == "no"
    text = await whole(response)
    assert re.match(r"id: [0-9a-f-]{36}:0\nevent: turn\.started\ndata: \{", text)
    assert text.endswith("}\n\n")


async def test_resuming_from_any_event_gives_what_follows(alice: User) -> None:
    api = await api_of(alice)
    with playing(scripted=SLOW):
        events = await api.chat("Hello")
    turn = events[0].data["turn"]

    for position, event in enumerate(events[:-1]):
        response = await api.get(f"/chat/{turn}", **{"last-event-id": event.id})
        rest = events_of(await whole(response))
        assert rest[-1] == events[-1]
        assert text_of(rest) == text_of(events[position + 1 :])
        assert min(e.seq for e in rest) > event.seq
    response = await api.get(f"/chat/{turn}", **{"last-event-id": events[-1].id})
    assert response.status_code == 204


async def test_the_same_client_id_gives_the_same_turn(alice: User, seen: Any) -> None:
    api = await api_of(alice)
    first = await api.chat("Hello", client_id="again")

    second = await api.chat("Hello", client_id="again")
    body = {"persona": "inara", "text": "Hello", "client_id": "again"}
    later = await api.post("/chat", body, **{"last-event-id": first[1].id})

    assert second[0] == first[0]
    assert text_of(second) == text_of(first)
    assert events_of(await whole(later))[0].seq == first[1].seq + 1
    assert await seen(Message.objects.count) == 2


async def test_who_leaves_does_not_end_the_turn(alice: User) -> None:
    api = await api_of(alice)
    with playing(scripted=[TextDelta("one "), 0.3, TextDelta("two"), Finished()]):
        response = await api.post(
            "/chat", {"persona": "inara", "text": "x", "model": "scripted"}
        )
        parts, turn = await started(response)
        await parts.aclose()
        assert turns.running_count() == 1
        rest = events_of(await whole(await api.get(f"/chat/{turn}")))

    assert text_of(rest) == "one two"
    assert rest[-1].data["outcome"] == "complete"


async def test_a_comment_is_sent_while_nothing_comes(
    alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sse, "COMMENT_EVERY_S", 0.02)
    api = await api_of(alice)
    with playing(scripted=[TextDelta("one "), 0.2, TextDelta("two"), Finished()]):
        response = await api.post(
            "/chat", {"persona": "inara", "text": "x", "model": "scripted"}
        )
        text = await whole(response)

    assert text.count(sse.COMMENT) >= 2
    events = events_of(text)
    assert text_of(events) == "one two"
    assert len({event.seq for event in events}) == len(events)


async def test_a_gone_turn_is_410(alice: User, seen: Any) -> None:
    api = await api_of(alice)
    events = await api.chat("Hello", client_id="old")
    turn = events[0].data["turn"]
    await turns.drain(0)
    turns._Draining.now = False

    gone = await api.get(f"/chat/{turn}")
    repeated = await api.post(
        "/chat", {"persona": "inara", "text": "Hello", "client_id": "old"}
    )

    assert (gone.status_code, gone.json()["error"]["code"]) == (410, "turn_gone")
    assert repeated.status_code == 410
    assert "answered before" in repeated.json()["error"]["message"]


async def test_a_failure_after_the_start_is_the_last_event(alice: User) -> None:
    events = await (await api_of(alice)).chat("Hello", model="no-such-model")

    assert events[0].type == "turn.started"
    assert events[-1].data["outcome"] == "failed"
    assert events[-1].data["error"]["code"]


@pytest.mark.parametrize(
    ("body", "status", "code", "sentence"),
    [
        ({"text": "x"}, 400, "bad_request", "“persona” is missing."),
        ({"persona": "inara"}, 400, "bad_request", "“text” is missing."),
        ({"persona": "nobody", "text": "x"}, 404, "not_found", ""),
        ({"persona": 5, "text": "x"}, 400, "bad_request", "“persona” must be a text."),
        ({"persona": "inara", "text": " \n"}, 400, "bad_request", "“text”: "),
        ({"persona": "inara", "text": "a\0b"}, 400, "bad_request", "“text”: "),
        ({"persona": "inara", "text": "\ud800"}, 400, "bad_request", "“text”"),
        ({"persona": "inara", "text": "x" * 32_001}, 413, "too_long", "“text”: "),
        ({"persona": "inara", "text": "x", "tier": 4}, 400, "bad_request", "“tier”"),
        ({"persona": "inara", "text": "x", "tier": True}, 400, "bad_request", "“tier”"),
        ({"persona": "inara", "text": "x", "tier": "2"}, 400, "bad_request", "“tier”"),
        (
            {"persona": "inara", "text": "x", "client_id": "ü" * 3},
            400,
            "bad_request",
            "“client_id”",
        ),
        (
            {"persona": "inara", "text": "x", "conversation": "1"},
            400,
            "bad_request",
            "“conversation”",
        ),
        ("{", 400, "bad_request", "The body is not valid JSON."),
        ("", 400, "bad_request", "The request has no body."),
        ("[]", 400, "bad_request", "The body must be a JSON object."),
        ("null", 400, "bad_request", "The body must be a JSON object."),
        ('{"persona": NaN}', 400, "bad_request", "The body is not valid JSON."),
        ("[" * 100_000, 400, "bad_request", "The body is not valid JSON."),
        (b"\xff\xfe", 400, "bad_request", "The body is not valid JSON."),
    ],
)
async def test_what_starts_nothing_is_answered_in_json(
    alice: User, seen: Any, body: Any, status: int, code: str, sentence: str
) -> None:
    response = await (await api_of(alice)).post("/chat", body)

    assert response.status_code == status, await_text(response)
    assert response.headers["Content-Type"] == "application/json"
    error = response.json()["error"]
    assert set(error) == {"code", "message"}
    assert error["code"] == code
    assert error["message"].startswith(sentence)
    assert await seen(Message.objects.count) == 0


@pytest.mark.parametrize("last_id", ["", "x", "5", "{turn}:-1", "{turn}:²", "a" * 999])
async def test_a_position_that_is_none_gives_everything(
    alice: User, last_id: str
) -> None:
    api = await api_of(alice)
    one, two = await api.chat("One"), await api.chat("Two")
    turn = one[0].data["turn"]

    for given in (last_id.format(turn=turn), two[0].id):
        response = await api.get(f"/chat/{turn}", **{"last-event-id": given})
        assert events_of(await whole(response))[0] == one[0]


async def test_a_second_answer_in_a_conversation_is_busy(alice: User) -> None:
    api = await api_of(alice)
    with playing(scripted=LASTING):
        response = await api.post(
            "/chat", {"persona": "inara", "text": "x", "model": "scripted"}
        )
        parts = response.streaming_content.__aiter__()
        begun = events_of((await anext(parts)).decode())[0].data
        refused = await api.post(
            "/chat",
            {"persona": "inara", "text": "y", "conversation": begun["conversation"]},
        )
        stopped = await api.chat("/stop", conversation=begun["conversation"])
        rest = [part.decode() async for part in parts]

    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "busy")
    assert stopped[0].data["text"].startswith("Stopped")
    assert events_of("".join(rest))[-1].data["outcome"] == "interrupted"


async def test_a_command_is_answered_by_one_event(alice: User, seen: Any) -> None:
    response = await (await api_of(alice)).post(
        "/chat", {"persona": "inara", "text": "/cost", "client_id": "c"}
    )

    text = await whole(response)
    (event,) = events_of(text)
    assert (event.type, event.id) == ("command.result", "")
    assert (event.data["command"], event.data["client_id"]) == ("cost", "c")
    assert await seen(Message.objects.count) == 0


async def test_plain_words_of_programs_are_messages(alice: User, seen: Any) -> None:
    text = "Tell me a joke every morning at seven"
    response = await (await api_of(alice)).post(
        "/chat", {"persona": "inara", "text": text}
    )

    assert events_of(await whole(response))[-1].type == "turn.finished"
    assert await seen(Schedule.objects.count) == 0


async def test_what_goes_on_after_a_token_needs_its_scope(
    alice: User, seen: Any
) -> None:
    body = {"persona": "inara", "text": "/brief every day at 7 tell me a joke"}
    refused = await (await api_of(alice, scopes=["chat"])).post("/chat", body)
    assert refused.status_code == 403
    assert "lacks the scope task" in refused.json()["error"]["message"]
    assert await seen(Schedule.objects.count) == 0

    taken = await (await api_of(alice, scopes=["chat", "task"])).post("/chat", body)
    (event,) = events_of(await whole(taken))
    assert "Shall I set up this brief?" in event.data["text"]


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("put", "/chat", "POST"),
        ("get", "/chat", "POST"),
        ("post", "/chat/00000000-0000-0000-0000-000000000000", "GET"),
        ("delete", "/ledger", "GET"),
        ("options", "/status", "GET"),
    ],
)
async def test_wrong_methods_are_405_in_json(
    method: str, path: str, allowed: str
) -> None:
    response = await getattr(AsyncClient(), method)(path)

    assert response.status_code == 405
    assert response.headers["Allow"] == allowed
    assert response.json()["error"]["code"] == "method_not_allowed"


@pytest.mark.parametrize("path", ["/chat/", "/chat/x", "/tasks", "/ledger/x", "/v1/x"])
async def test_unknown_addresses_are_404_in_json(path: str) -> None:
    response = await AsyncClient().get(path)

    assert response.status_code == 404
    assert response.json()["error"]["code"] == "not_found"


async def test_another_persons_turn_is_not_found(alice: User, bob: User) -> None:
    events = await (await api_of(alice)).chat("Mine")
    other = await api_of(bob)

    response = await other.get(f"/chat/{events[0].data['turn']}")

    assert response.status_code == 404
    refused = await other.post(
        "/chat",
        {
            "persona": "inara",
            "text": "x",
            "conversation": events[0].data["conversation"],
        },
    )
    assert refused.status_code == 404


def text_of(events: list[Any]) -> str:
    return "".join(e.data["text"] for e in events if e.type == "turn.delta")
