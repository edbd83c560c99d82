"""What is answered to Google at once, in the shape that the event's dialect needs.

Source: developers.google.com/workspace/chat/convert.
"""

from __future__ import annotations

from typing import Any

from channels_app.google_chat.dialects import Dialect


def nothing() -> dict[str, Any]:
    """Return the acknowledgement without words, the same in both dialects."""
    return {}


def message(dialect: Dialect, text: str) -> dict[str, Any]:
    """Return an answer that is shown in the thread of the event.

    Args:
        dialect: That of the request; the other shape shows nothing to the reader.
        text: In Chat's markup, at most 32,000 bytes.
    """
    if dialect == "classic":
        return {"text": text}
    action = {"createMessageAction": {"message": {"text": text}}}
    return {"hostAppDataAction": {"chatDataAction": action}}
