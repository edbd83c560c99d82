"""The id that joins the log lines of one request or socket. Imports no Django."""

from __future__ import annotations

import uuid
from contextvars import ContextVar

request_id: ContextVar[str] = ContextVar("request_id", default="")
"""The id that the running code belongs to; "" outside of a request or socket."""


def new_request_id() -> str:
    """Return a new id of 16 characters."""
    return uuid.uuid4().hex[:16]
