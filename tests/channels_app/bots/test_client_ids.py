"""The ids by which a turn is found again: those of bots are out of callers' reach."""

from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from channels_app import turns
from channels_app.api.schemas import ChatIn
from channels_app.bots.asking import first_id, second_id
from channels_app.errors import TurnError
from channels_app.models import InboundEvent
from channels_app.turn_requests import EditRequest, TurnRequest
from channels_app.web.frames import decode
from personas.models import Message
from routing.backends.scripted import calls
from routing.db_pool import run_in_db_pool
from tests.support.bots import Platform

NOTE = "A private note"


async def write_down(platform: Platform, client_id: str, channel: str = "api") -> None:
    """Say something to the persona through a door of the owner's, and wait."""
    request = TurnRequest(
        client_id=client_id, text=NOTE, persona="inara", channel=channel
    )
    started = await turns.start_turn(platform.channel.owner_id, request)
    assert started.stream is not None
    async for _ in started.stream.read():
        pass


async def test_an_id_of_another_text_is_refused(platform: Platform) -> None:
    owner = platform.channel.owner_id
    await write_down(platform, "same")

    def asked() -> Message:
        return Message.objects.get(owner=owner, role="user")

    said = await run_in_db_pool(asked)
    other = TurnRequest(client_id="same", text="Another text", persona="inara")
    edit = EditRequest("same", said.pk, "Another text")

    for request in (other, edit):
        with pytest.raises(TurnError) as caught:
            await turns.start_turn(owner, request)
        assert caught.value.code == "conflict"

    await write_down(platform, "same")  # the same text finds what it began
    assert await run_in_db_pool(Message.objects.filter(owner=owner).count) == 2


@pytest.mark.parametrize("ending", ["", "-again"])
async def test_numbers_that_a_script_chose_lead_no_bot_to_its_words(
    platform: Platform, ending: str
) -> None:
    first = await platform.say("hello")
    for number in range(first.pk, first.pk + 3):
        await write_down(platform, f"event-{number}{ending}")

    await platform.say("and now")

    assert platform.texts() == ["hello", "and now"]
    assert calls[-1].prompt.messages[-1].text == "and now"


@pytest.mark.parametrize("id_of", [first_id, second_id])
def test_no_door_takes_an_id_of_a_bot_from_a_caller(id_of: object) -> None:
    own = id_of(InboundEvent(pk=7))  # type: ignore[operator]
    with pytest.raises(ValidationError, match="client_id"):
        ChatIn.model_validate({"persona": "inara", "text": "x", "client_id": own})
    frame = {"type": "message.send", "persona": "inara", "text": "x", "client_id": own}
    with pytest.raises(TurnError, match="client_id"):
        decode(json.dumps(frame))


async def test_what_was_said_alone_is_never_found_by_a_bot(platform: Platform) -> None:
    await write_down(platform, "same")
    with pytest.raises(TurnError) as caught:
        await write_down(platform, "same", platform.channel.kind)
    assert caught.value.code == "conflict"


async def test_what_a_bot_was_told_is_not_found_by_a_script(platform: Platform) -> None:
    event = await platform.say("hello")
    with pytest.raises(TurnError) as caught:
        await write_down(platform, first_id(event))
    assert caught.value.code == "conflict"
    assert await run_in_db_pool(Message.objects.filter(text=NOTE).count) == 0
