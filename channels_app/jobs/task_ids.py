"""The ids of queued tasks, as people and programs see them."""

from __future__ import annotations

import re
import uuid
from typing import Final

PREFIX: Final = "queued-"
_HEX: Final = "[0-9a-fA-F]"
PATTERN: Final = rf"^({PREFIX})?{_HEX}{{8}}(-{_HEX}{{4}}){{3}}-{_HEX}{{12}}$"


def shown_id(task_id: uuid.UUID) -> str:
    """Return a task's id with its prefix."""
    return f"{PREFIX}{task_id}"


def read_id(text: str) -> uuid.UUID | None:
    """Return the id that is meant, with its prefix or without; ``None`` = none."""
    if re.fullmatch(PATTERN, text, re.ASCII) is None:
        return None
    return uuid.UUID(text.removeprefix(PREFIX))
