"""The one list of error codes that people and programs see, with their HTTP status.

Frames, API answers and the ``error`` of a finished turn all use these codes. The text
is one safe sentence for the person; causes stay in the log.
"""

from __future__ import annotations

from typing import Any

CODES: dict[str, int] = {
    "bad_request": 400,
    "unauthenticated": 401,
    "budget_exceeded": 402,
    "forbidden": 403,
    "not_found": 404,
    "conflict": 409,
    "busy": 409,
    "turn_gone": 410,
    "too_long": 413,
    "refused": 422,
    "too_many": 429,
    "internal": 500,
    "upstream_auth": 502,
    "upstream_unavailable": 502,
    "no_model": 503,
    "private_only": 503,
    "upstream_timeout": 504,
}
RETRYABLE = frozenset(
    {"busy", "too_many", "internal", "upstream_unavailable", "upstream_timeout"}
)
"""Codes after which the same request may succeed later, unchanged."""


class TurnError(Exception):
    """A request that started nothing; becomes an ``error`` frame or an HTTP error.

    ``code`` is a key of ``CODES``; ``str()`` is the sentence for the person;
    ``client_id`` and ``turn`` name what was asked for, where that is known.
    """

    def __init__(
        self,
        code: str,
        message: str,
        *,
        retryable: bool | None = None,
        client_id: str | None = None,
        turn: str | None = None,
    ) -> None:
        super().__init__(message)
        if code not in CODES:
            raise ValueError(f"unknown error code {code!r}")
        self.code = code
        self.message = message
        self.retryable = code in RETRYABLE if retryable is None else retryable
        self.client_id = client_id
        self.turn = turn

    @property
    def status(self) -> int:
        """The HTTP status of the code."""
        return CODES[self.code]

    def frame(self) -> dict[str, Any]:
        """Return the ``error`` frame of the WebSocket."""
        return {
            "type": "error",
            "code": self.code,
            "message": self.message,
            "retryable": self.retryable,
            "client_id": self.client_id,
            "turn": self.turn,
        }


def internal_error(
    *, client_id: str | None = None, turn: str | None = None
) -> TurnError:
    """Return the answer to a failure of our own; its cause belongs into the log."""
    return TurnError(
        "internal",
        "Something went wrong here. Please try again.",
        client_id=client_id,
        turn=turn,
    )
