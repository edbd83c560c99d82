"""What a model's name tells before anybody has said anything about it.

Suggestions for forms and imports; whoever registers the model has the last word.
"""

from __future__ import annotations

import re

from routing.catalogue import VENDOR_TYPES
from routing.seeds import CLAUDE_CONTEXT_TOKENS, GEMINI_CONTEXT_TOKENS

_SMALL = {"haiku", "lite", "mini", "nano", "small", "tiny"}
_LARGE = {"opus", "pro", "large", "max", "ultra"}
_MIDDLE = {"sonnet", "flash", "medium"}


def tier_of_name(name: str) -> int:
    """Return the tier that the words of a name suggest; 1 if they say nothing."""
    words = set(re.split(r"[^a-z]+", name.lower()))
    if words & _SMALL:
        return 1
    if words & _LARGE:
        return 3
    return 2 if words & _MIDDLE else 1


def context_of(host_type: str, name: str) -> int | None:
    """Return the context in tokens of a vendor's model; ``None`` = unknown."""
    if host_type not in VENDOR_TYPES:
        return None
    if "gemini" in name.lower():
        return GEMINI_CONTEXT_TOKENS
    is_claude = host_type in {"claude_cli", "anthropic_api"}
    return CLAUDE_CONTEXT_TOKENS if is_claude else None
