"""What a persona recalls of earlier conversations for the message it is to answer.

Only at context tier 3, only where the owner alone reads, never in a temporary
conversation. ``personas.search.recall`` finds the messages and knows which of them may
be used where; here they become lines of a prompt. Recalling something is a kindness:
what goes wrong is logged, and the answer is given without.
"""

from __future__ import annotations

import logging
import re
from dataclasses import replace
from datetime import tzinfo
from typing import Final

from accounts.zones import zone_of
from personas.models import Conversation, Message
from personas.prompts import RECALL_TIER, Material, Recollection
from personas.search.recall import Recalled, recall
from routing.tokens import estimate_tokens

logger = logging.getLogger("cortex.recall")

MOST: Final = 5
CHARACTERS: Final = 480
"""Of one message; five of them fill what a prompt has room for."""
_BLANKS: Final = re.compile(r"\s+")
_QUOTES: Final = str.maketrans("“”", "''")


def recalls(conversation: Conversation, *, alone: bool) -> bool:
    """Say whether earlier conversations are brought into this one."""
    return (
        conversation.persona.context_tier >= RECALL_TIER
        and alone
        and not conversation.shared
        and not conversation.temporary
    )


def with_recollections(
    material: Material, conversation: Conversation, *, alone: bool
) -> Material:
    """Return the material with the best old messages for the one to be answered.

    Asks the database, and for up to 0.3 s the worker; not to be called within a
    transaction.

    Args:
        conversation: With its persona and owner.
        alone: Whether the owner is the only one who reads the answer.
    """
    if material.current is None or not recalls(conversation, alone=alone):
        return material
    try:
        found = recall(conversation, material.current.text, limit=MOST)
    except Exception:  # whatever it is: the answer is worth more
        logger.exception("nothing could be recalled")
        return material
    zone = zone_of(conversation.owner)
    lines = (_line(each, conversation, zone) for each in found)
    return replace(
        material,
        recalled=tuple(Recollection(line, estimate_tokens(line)) for line in lines),
    )


def _line(recalled: Recalled, conversation: Conversation, zone: tzinfo) -> str:
    """Quote a message in one line, with its day and who said it.

    Line breaks and quotation marks go, so that no text can end its own quotation.
    """
    day = recalled.said_at.astimezone(zone)
    by_owner = recalled.role == Message.Role.USER
    who = "your person" if by_owner else "you"
    text = _BLANKS.sub(" ", recalled.text).translate(_QUOTES).strip()
    if len(text) > CHARACTERS:
        text = text[:CHARACTERS].rsplit(" ", 1)[0] + " …"
    return f"- {day.day} {day:%B %Y}, {who}: “{text}”"
