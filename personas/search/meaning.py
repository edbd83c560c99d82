"""Messages that mean something like a text, by asking the worker.

The sentence model is an optional extra and runs in the worker alone
(``channels_app.jobs.recall``), which listens on a Unix socket in the data folder. A
question and its answer are one line of JSON each:
``{"owner": 1, "persona": 2 or null, "text": "…", "limit": 5}`` and
``{"found": [["<message id>", 0.61], …]}``.

The answer is ids only, and never trusted for access: whoever asks reads the messages
through ``messages_visible_to``. Recall must neither fail nor delay an answer, so
everything that goes wrong, or takes longer than ``WITHIN_S``, is an empty answer.
"""

from __future__ import annotations

import json
import logging
import socket
import time
import uuid
from pathlib import Path
from typing import Any, Final

from django.conf import settings

logger = logging.getLogger("cortex.recall")

WITHIN_S: Final = 0.3
SILENT_S: Final = 10.0
"""After a question without an answer nobody is asked for so long."""
TEXT_CHARACTERS: Final = 2_000
"""The model reads no more of a question anyway."""
LIMIT: Final = 200
ANSWER_BYTES: Final = 64 * 1024


class _Patience:
    """When the worker may be asked again; one for the process."""

    silent_until = 0.0


def nearest(
    owner_id: int, persona_id: int | None, text: str, limit: int
) -> list[tuple[uuid.UUID, float]]:
    """Return up to ``limit`` messages of this owner, those nearest in meaning first.

    The number is the cosine of the angle between the two meanings, at most 1; unlike
    texts come to about 0. Empty without the extra, without a worker on this machine,
    and where it does not answer in time.

    Args:
        owner_id: Whose messages are compared; others are not even looked at.
        persona_id: Of which persona; ``None`` = of all.
        text: A question or statement in plain words.
        limit: At most ``LIMIT``.
    """
    path = Path(settings.CORTEX_RECALL_SOCKET)
    if not text.strip() or time.monotonic() < _Patience.silent_until:
        return []
    question = {
        "owner": owner_id,
        "persona": persona_id,
        "text": text[:TEXT_CHARACTERS],
        "limit": min(limit, LIMIT),
    }
    try:
        return _found(_ask(path, _line(question)))
    except (FileNotFoundError, ConnectionRefusedError):
        return []  # nobody listens, which costs no time to find out
    except (OSError, ValueError, KeyError, TypeError) as error:
        logger.info("recall by meaning did not answer: %s", type(error).__name__)
        _Patience.silent_until = time.monotonic() + SILENT_S
        return []


def _line(question: dict[str, Any]) -> bytes:
    """Return a question as it is sent; emoji as they are, for escapes are thrice as
    long and the other side reads no more than 16 KB."""
    whole = json.dumps(question, ensure_ascii=False)
    return whole.encode("utf-8", "replace") + b"\n"


def _ask(path: Path, line: bytes) -> bytes:
    """Send one line and return the line that is answered, all within the time."""
    ends_at = time.monotonic() + WITHIN_S
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as talk:
        talk.settimeout(WITHIN_S)
        talk.connect(str(path))
        talk.sendall(line)
        answer = bytearray()
        while not answer.endswith(b"\n"):
            left = ends_at - time.monotonic()
            if left <= 0 or len(answer) > ANSWER_BYTES:
                raise TimeoutError
            talk.settimeout(left)
            piece = talk.recv(16 * 1024)
            if not piece:
                raise ConnectionResetError
            answer += piece
        return bytes(answer)


def _found(answer: bytes) -> list[tuple[uuid.UUID, float]]:
    told: dict[str, Any] = json.loads(answer)
    return [(uuid.UUID(str(id)), float(score)) for id, score in told["found"]]
