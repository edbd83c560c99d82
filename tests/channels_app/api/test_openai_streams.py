"""Silence, late failures and leaving readers, without a network."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from accounts.models import User
from channels_app import turns
from channels_app.api import openai_stream, sse
from channels_app.live_turns import RUNNING
from personas.personas import create_persona
from routing.backends.base import (
    Finished,
    TextDelta,
    ToolCall,
    UpstreamFailed,
)
from routing.backends.scripted import playing
from routing.models import Model
from tests.support.api import Api, api_of, whole
from tests.support.chat import scripted_model

pytestmark = pytest.mark.usefixtures("turns_running", "persona", "scripted")
LASTING = [TextDelta("one "), 20.0, TextDelta("two"), Finished()]
TOOL = {"type": "function", "function": {"name": "lookup"}}


@pytest.fixture
def scripted(transactional_db: None) -> Model:
    """The only model; it can call tools."""
    return scripted_model(tags=["tools"])


async def ask(api: Api, place: str | None = None, **fields: Any) -> Any:
    """Ask for a stream; ``place`` = the header that names a conversation."""
    headers = {} if place is None else {"X-Cortex-Conversation": place}
    body = {
        "model": "inara",
        "messages": [{"role": "user", "content": "hello"}],
        "stream": True,
    }
    return await api.post("/v1/chat/completions", body | fields, **headers)


def data_of(text: str) -> list[Any]:
    """Return what the events of a stream carry; the end mark as ``None``."""
    lines = [line for line in text.split("\n\n") if line.startswith("data: ")]
    assert lines[-1] == "data: [DONE]" or "error" in lines[-1]
    return [None if "[DONE]" in line else json.loads(line[6:]) for line in lines]


async def test_the_stream_is_not_kept_anywhere(alice: User) -> None:
    response = await ask(await api_of(alice))
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["X-Accel-Buffering"] == "no"
    assert "X-Cortex-Conversation" not in response.headers
    assert data_of(await whole(response))[-1] is None


async def test_silence_is_filled_with_comments(
    alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sse, "COMMENT_EVERY_S", 0.02)
    script = [TextDelta("one "), 0.3, TextDelta("two"), Finished()]
    with playing(scripted=script):
        text = await whole(await ask(await api_of(alice)))
    assert ": still working\n\n" in text
    pieces = [
        chunk["choices"][0]["delta"].get("content", "")
        for chunk in data_of(text)
        if chunk
    ]
    assert "".join(pieces) == "one two"


async def test_a_late_failure_is_told_in_the_stream(
    alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openai_stream, "WAIT_FOR_STATUS_S", 0.05)
    with playing(scripted=[0.3, UpstreamFailed("It fell over.")]):
        response = await ask(await api_of(alice))
        assert response.status_code == 200
        text = await whole(response)
    first, error = data_of(text)
    assert first["choices"][0]["delta"]["role"] == "assistant"
    assert error["error"]["code"] == "upstream_unavailable"
    assert error["error"]["type"] == "server_error"
    assert "[DONE]" not in text


async def test_an_early_failure_has_its_status(alice: User) -> None:
    with playing(scripted=[UpstreamFailed("It fell over.")]):
        response = await ask(await api_of(alice))
    assert response.status_code == 502
    assert json.loads(response.content)["error"]["message"] == "It fell over."


async def test_too_many_turns_say_when_to_come_again(
    alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "MAX_TURNS_PER_PERSON", 0)
    response = await ask(await api_of(alice))
    assert response.status_code == 429
    assert response.headers["Retry-After"] == "1"
    assert json.loads(response.content)["error"]["type"] == "rate_limit_error"


async def test_a_closed_response_ends_the_turn_even_before_it_was_read(
    alice: User,
) -> None:
    with playing(scripted=LASTING):
        response = await ask(await api_of(alice))
        (live,) = RUNNING.values()
        await asyncio.to_thread(response.close)
        await asyncio.sleep(0)
        assert live.stop_asked


async def test_a_stored_turn_goes_on_without_its_reader(alice: User) -> None:
    script = [TextDelta("one "), 0.2, TextDelta("two"), Finished()]
    with playing(scripted=script):
        response = await ask(await api_of(alice), "new")
        (live,) = RUNNING.values()
        assert str(live.conversation) == response.headers["X-Cortex-Conversation"]
        await asyncio.to_thread(response.close)
        await asyncio.sleep(0)
        assert not live.stop_asked
        await whole(response)
    assert live.text == "one two"


async def test_a_cancelled_request_ends_the_turn(alice: User) -> None:
    with playing(scripted=LASTING):
        asking = asyncio.create_task(ask(await api_of(alice), stream=False))
        async with asyncio.timeout(5):
            while not any(live.chars for live in RUNNING.values()):
                await asyncio.sleep(0.01)
        (live,) = RUNNING.values()
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert live.stop_asked


async def test_the_end_of_the_process_is_told_as_a_failure(alice: User) -> None:
    with playing(scripted=LASTING):
        response = await ask(await api_of(alice))
        reading = asyncio.create_task(whole(response))
        await turns.drain(0.05)
        *_, error = data_of(await reading)
    assert error["error"]["code"] == "internal"


async def test_broken_arguments_reach_the_client_as_they_are(alice: User) -> None:
    broken = ToolCall("call_1", "lookup", {}, "No object.", raw='{"word": ')
    with playing(scripted=[broken, Finished()]):
        response = await ask(await api_of(alice), stream=False, tools=[TOOL])
    (choice,) = json.loads(response.content)["choices"]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] is None
    (call,) = choice["message"]["tool_calls"]
    assert call["function"] == {"name": "lookup", "arguments": '{"word": '}


async def test_without_a_model_that_knows_tools(alice: User, seen: Any) -> None:
    await seen(lambda: Model.objects.update(tags=[]))
    response = await ask(await api_of(alice), tools=[TOOL])
    assert response.status_code == 503
    error = json.loads(response.content)["error"]
    assert error["code"] == "no_model"
    assert error["message"] == (
        "No model is set up that can call tools; scripted cannot."
    )


@pytest.mark.parametrize("place", ["nonsense", "11111111-1111-1111-1111-111111111111"])
async def test_a_conversation_that_is_none(alice: User, place: str) -> None:
    response = await ask(await api_of(alice), place)
    assert response.status_code == 404
    assert json.loads(response.content)["error"]["code"] == "not_found"


async def test_a_conversation_of_another_persona(alice: User, seen: Any) -> None:
    api = await api_of(alice)
    begun = await ask(api, "new", stream=False)
    conversation = begun.headers["X-Cortex-Conversation"]
    await seen(
        lambda: create_persona(
            alice, template="companion", name="tina", display_name="Tina"
        )
    )
    response = await ask(api, conversation, model="tina")
    assert response.status_code == 400
    assert "is with “inara”" in json.loads(response.content)["error"]["message"]


async def test_errors_have_the_shape_of_the_door() -> None:
    response = await Api().get("/v1/models")
    assert response.status_code == 401
    error = json.loads(response.content)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == "authentication_error"
