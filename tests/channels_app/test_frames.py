"""What a browser sends is checked before anything happens."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest

from channels_app.errors import CODES, TurnError
from channels_app.turn_requests import (
    MAX_TEXT_CHARS,
    EditRequest,
    RetryRequest,
    TurnRequest,
)
from channels_app.web import frames
from channels_app.web.frames import Ping, ResumeRequest, StopRequest
from personas.policies import AnswerPolicy

ID = "4f0c7a4e-6ad2-4f3a-9f7e-1a7d3b1f0c55"
SEND = {
    "type": "message.send",
    "client_id": "c1",
    "persona": "inara",
    "conversation": None,
    "parent": None,
    "text": "Hello",
    "model": None,
    "tier": None,
}


def decode(**fields: Any) -> Any:
    return frames.decode(json.dumps(fields))


def test_every_action_decodes() -> None:
    assert decode(**SEND) == TurnRequest("c1", "Hello", "inara")
    assert decode(
        **SEND | {"conversation": ID, "parent": ID, "model": "m", "tier": "auto"}
    ) == TurnRequest("c1", "Hello", "inara", uuid.UUID(ID), uuid.UUID(ID), "m", "auto")
    assert decode(type="turn.retry", client_id="c", message=ID, tier=3) == RetryRequest(
        "c", uuid.UUID(ID), tier=3
    )
    assert decode(
        type="message.edit", client_id="c", message=ID, text="New", answer=False
    ) == EditRequest("c", uuid.UUID(ID), "New", answer=False)
    assert decode(type="turn.stop", turn=ID) == StopRequest(uuid.UUID(ID))
    assert decode(type="turn.resume", turn=ID, after=4) == ResumeRequest(
        uuid.UUID(ID), 4
    )
    assert decode(type="ping", anything=[1]) == Ping()
    assert set(frames.ACTIONS) == {
        "message.send", "turn.retry", "message.edit", "turn.stop", "turn.resume", "ping"
    }  # fmt: skip


def test_a_new_conversation_may_bring_its_policy() -> None:
    def policy(value: Any) -> Any:
        return decode(**SEND, policy=value).policy

    assert policy(None) is None
    assert policy({}) == AnswerPolicy()
    assert policy({"model": None, "tier": "auto"}) == AnswerPolicy(0)
    assert policy({"model": "m", "tier": 2, "more": 1}) == AnswerPolicy(2, "m")
    refused_values: tuple[Any, ...] = (
        "auto",
        [],
        {"tier": 0},
        {"tier": 4},
        {"model": 5},
    )
    for wrong in refused_values:
        with pytest.raises(TurnError) as refused:
            policy(wrong)
        assert refused.value.code == "bad_request"


def test_unknown_types_and_fields_are_ignored() -> None:
    assert decode(type="message.dance", text=5) is None
    assert decode(**SEND, later={"deep": [1]}) == TurnRequest("c1", "Hello", "inara")


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "null", "[]", "7", '"message.send"', "{}", '{"type": 5}',
        '{"type": null}', "[" * 60_000, '{"type": ' + "9" * 5_000 + "}", "\ufeff{}",
    ],
)  # fmt: skip
def test_what_is_no_frame_is_refused(text: str) -> None:
    with pytest.raises(TurnError) as caught:
        frames.decode(text)
    assert caught.value.code == "bad_request"


@pytest.mark.parametrize(
    "wrong",
    [
        {"client_id": None}, {"client_id": ""}, {"client_id": "x" * 65},
        {"client_id": 5}, {"client_id": "a\nb"}, {"persona": None}, {"persona": 7},
        {"persona": "x" * 33}, {"conversation": "17"}, {"conversation": 17},
        {"conversation": ID.replace("-", "")}, {"parent": "none"}, {"text": None},
        {"text": ["a"]}, {"text": ""}, {"text": " \n\t "}, {"text": "a\0b"},
        {"text": "\ud800"}, {"model": 3}, {"model": "x" * 201}, {"model": "a\0"},
        {"tier": 0}, {"tier": 4}, {"tier": True}, {"tier": "2"}, {"tier": 1.5},
        {"temporary": 1}, {"temporary": "no"}, {"attachments": [ID]},
    ],
)  # fmt: skip
def test_a_wrong_field_is_named_in_one_sentence(wrong: dict[str, Any]) -> None:
    with pytest.raises(TurnError) as caught:
        decode(**SEND | wrong)
    error = caught.value
    assert error.code == "bad_request"
    assert error.message.endswith(".")
    if "client_id" not in wrong:
        assert error.client_id == "c1"


@pytest.mark.parametrize("after", [-2, 1.5, True, "3", 2**60])
def test_a_wrong_position_is_refused(after: Any) -> None:
    with pytest.raises(TurnError):
        decode(type="turn.resume", turn=ID, after=after)


def test_a_text_may_have_32_000_characters_and_no_more() -> None:
    assert decode(**SEND | {"text": "é" * MAX_TEXT_CHARS}).text == "é" * 32_000
    with pytest.raises(TurnError) as caught:
        decode(**SEND | {"text": "e" * (MAX_TEXT_CHARS + 1)})
    assert caught.value.code == "too_long"
    assert caught.value.client_id == "c1"
    assert "32,001" in caught.value.message


def test_line_ends_become_one_kind() -> None:
    assert decode(**SEND | {"text": "a\r\nb\rc"}).text == "a\nb\nc"


@pytest.mark.parametrize(
    ("text", "too_big"),
    [("x" * 65_536, False), ("x" * 65_537, True), ("é" * 32_768, False),
     ("é" * 32_769, True), ("🌍" * 16_384, False), ("🌍" * 16_385, True)],
)  # fmt: skip
def test_size_counts_bytes(text: str, too_big: bool) -> None:
    assert frames.too_big(text) is too_big


def test_every_code_has_a_status_and_no_other_code_exists() -> None:
    assert len(CODES) == 17
    assert TurnError("busy", "Wait.").status == 409
    with pytest.raises(ValueError, match="unknown"):
        TurnError("oops", "No.")


def test_a_client_id_that_cannot_be_sent_is_not_repeated() -> None:
    with pytest.raises(TurnError) as caught:
        decode(**SEND | {"client_id": "\ud800"})
    assert caught.value.code == "bad_request"
    assert json.dumps(caught.value.frame(), ensure_ascii=False).encode()
