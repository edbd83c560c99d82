"""The vendors' own addresses, which hosts without a typed one are called at.

Nothing is imported here: the settings take their defaults from this place, and the
programs are told of an address only where it is another one.
"""

from __future__ import annotations

from typing import Final

ANTHROPIC_URL: Final = "https://api.anthropic.com"
GEMINI_URL: Final = "https://generativelanguage.googleapis.com"
