"""The id that joins the log lines of one request or socket. Imports no Django."""

from __future__ import annotations

import re
import uuid
from contextvars import ContextVar

request_id: ContextVar[str] = ContextVar("request_id", default="")
"""The id that the running code belongs to; "" outside of a request or socket."""

_GIVEN_ID = re.compile(r"\A[A-Za-z0-9._-]{8,64}\Z")


def new_request_id(given: str = "") -> str:
    """Return ``given`` when it is a harmless id, else a new one of 16 characters."""
    return given if _GIVEN_ID.match(given) else uuid.uuid4().hex[:16]
