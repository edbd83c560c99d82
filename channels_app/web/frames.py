"""Decodes and checks what a browser sends over the chat socket.

``decode`` is total: any text becomes a value of this module or of ``turn_requests``,
``None`` for a type it does not know, or a ``TurnError`` that names the ``client_id``
where one could be read. Unknown fields are ignored.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from channels_app.errors import TurnError
from channels_app.turn_requests import (
    MAX_CLIENT_ID_CHARS,
    EditRequest,
    RetryRequest,
    Tier,
    TurnRequest,
    checked_text,
)
from personas.models import TierPolicy
from personas.policies import AnswerPolicy

MAX_FRAME_BYTES = 65_536
MAX_NAME_CHARS = 32
MAX_MODEL_CHARS = 200
UUID_CHARS = 36
MAX_SEQ = 2**53


@dataclass(frozen=True, slots=True)
class Ping:
    """A sign of life; answered by ``pong``."""


@dataclass(frozen=True, slots=True)
class StopRequest:
    """Stop a running turn and keep its text."""

    turn: UUID


@dataclass(frozen=True, slots=True)
class ResumeRequest:
    """Send what came after number ``after`` (-1 = everything), then go on."""

    turn: UUID
    after: int


ClientFrame = (
    TurnRequest | RetryRequest | EditRequest | StopRequest | ResumeRequest | Ping
)


def too_big(text: str) -> bool:
    """Say whether a frame is larger than 64 KB on the wire."""
    if len(text) > MAX_FRAME_BYTES:
        return True
    return len(text) * 4 > MAX_FRAME_BYTES and (
        len(text.encode("utf-8", "surrogatepass")) > MAX_FRAME_BYTES
    )


def decode(text: str) -> ClientFrame | None:
    """Return the request in a frame; ``None`` when its type is unknown."""
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        raise TurnError("bad_request", "The frame is not valid JSON.") from None
    if not isinstance(fields, dict):
        raise TurnError("bad_request", "The frame is not a JSON object.")
    type = fields.get("type")
    if not isinstance(type, str):
        raise TurnError("bad_request", "The frame has no type.")
    decoder = ACTIONS.get(type)
    if decoder is None:
        return None
    try:
        return decoder(fields)
    except TurnError as error:
        error.client_id = _known_client_id(fields)
        raise


def _known_client_id(fields: dict[str, Any]) -> str | None:
    value = fields.get("client_id")
    if not isinstance(value, str) or not 0 < len(value) <= MAX_CLIENT_ID_CHARS:
        return None
    return value if value.isprintable() else None  # half characters cannot be sent


def _wrong(name: str, expected: str) -> TurnError:
    return TurnError("bad_request", f"“{name}” must be {expected}.")


def _client_id(fields: dict[str, Any]) -> str:
    value = _known_client_id(fields)
    if value is None:
        raise _wrong("client_id", f"a text of 1 to {MAX_CLIENT_ID_CHARS} characters")
    return value


def _text(fields: dict[str, Any]) -> str:
    value = fields.get("text")
    if not isinstance(value, str):
        raise _wrong("text", "a text")
    return checked_text(value)


def _name(fields: dict[str, Any], name: str, limit: int) -> str | None:
    value = fields.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > limit or not value.isprintable():
        raise _wrong(name, f"a text of at most {limit} characters or null")
    return value or None


def _optional_id(fields: dict[str, Any], name: str) -> UUID | None:
    return None if fields.get(name) is None else _id(fields, name)


def _id(fields: dict[str, Any], name: str) -> UUID:
    value = fields.get(name)
    if isinstance(value, str) and len(value) == UUID_CHARS:
        try:
            return UUID(value)
        except ValueError:
            pass
    raise _wrong(name, "an id")


def _flag(fields: dict[str, Any], name: str, default: bool) -> bool:
    value = fields.get(name, default)
    if not isinstance(value, bool):
        raise _wrong(name, "true or false")
    return value


def _tier(fields: dict[str, Any]) -> Tier | None:
    value = fields.get("tier")
    if value is None or value == "auto":
        return value
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 3:
        return value  # type: ignore[return-value]
    raise _wrong("tier", "null, “auto”, 1, 2 or 3")


def _policy(fields: dict[str, Any]) -> AnswerPolicy | None:
    """Read ``{"model": label|null, "tier": null|"auto"|1|2|3}``."""
    value = fields.get("policy")
    if value is None:
        return None
    if not isinstance(value, dict):
        raise _wrong("policy", "an object or null")
    tier = _tier(value)
    return AnswerPolicy(
        TierPolicy.AUTOMATIC if tier == "auto" else tier,
        _name(value, "model", MAX_MODEL_CHARS) or "",
    )


def _message_send(fields: dict[str, Any]) -> TurnRequest:
    if fields.get("attachments"):
        raise TurnError("bad_request", "Files cannot be attached to messages.")
    conversation = _optional_id(fields, "conversation")
    persona = _name(fields, "persona", MAX_NAME_CHARS)
    if conversation is None and persona is None:
        raise TurnError(
            "bad_request", "A new conversation needs the name of a persona."
        )
    return TurnRequest(
        client_id=_client_id(fields),
        text=_text(fields),
        persona=persona or "",
        conversation=conversation,
        parent=_optional_id(fields, "parent"),
        model=_name(fields, "model", MAX_MODEL_CHARS),
        tier=_tier(fields),
        policy=_policy(fields),
        temporary=_flag(fields, "temporary", False),
        literal=_flag(fields, "literal", False),
    )


def _turn_retry(fields: dict[str, Any]) -> RetryRequest:
    return RetryRequest(
        client_id=_client_id(fields),
        message=_id(fields, "message"),
        model=_name(fields, "model", MAX_MODEL_CHARS),
        tier=_tier(fields),
    )


def _message_edit(fields: dict[str, Any]) -> EditRequest:
    return EditRequest(
        client_id=_client_id(fields),
        message=_id(fields, "message"),
        text=_text(fields),
        answer=_flag(fields, "answer", True),
    )


def _turn_stop(fields: dict[str, Any]) -> StopRequest:
    return StopRequest(_id(fields, "turn"))


def _turn_resume(fields: dict[str, Any]) -> ResumeRequest:
    after = fields.get("after", -1)
    if not isinstance(after, int) or isinstance(after, bool):
        raise _wrong("after", "a whole number from -1")
    if not -1 <= after <= MAX_SEQ:
        raise _wrong("after", "a whole number from -1")
    return ResumeRequest(_id(fields, "turn"), after)


def _ping(fields: dict[str, Any]) -> Ping:
    return Ping()


ACTIONS: dict[str, Callable[[dict[str, Any]], ClientFrame]] = {
    "message.send": _message_send,
    "turn.retry": _turn_retry,
    "message.edit": _message_edit,
    "turn.stop": _turn_stop,
    "turn.resume": _turn_resume,
    "ping": _ping,
}
"""Every type of frame that a browser may send, with its decoder."""
