"""The starter personas that a person chooses from; their texts lie in ``starters/``.

The texts are copied word for word: nothing in them is ever expanded.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from django.conf import settings

from personas.files import STANDARD_FILES
from personas.models import Persona


@dataclass(frozen=True, slots=True)
class Starter:
    """One starter persona."""

    key: str
    """The name of its folder and the value of the form field."""
    label: str
    description: str
    """One sentence for the person who chooses."""
    color: Persona.Color


STARTERS = (
    Starter(
        "assistant",
        "Assistant",
        "Calm, orderly and discreet: plans, letters, decisions and the daily round.",
        Persona.Color.INDIGO,
    ),
    Starter(
        "developer",
        "Developer",
        "A dry, exact colleague for code, systems and stubborn faults.",
        Persona.Color.TEAL,
    ),
    Starter(
        "companion",
        "Companion",
        "Warm, curious company for talking, thinking aloud and telling stories.",
        Persona.Color.AMBER,
    ),
)
STARTERS_BY_KEY = {starter.key: starter for starter in STARTERS}
STARTER_KEYS = tuple(STARTERS_BY_KEY)


def is_starter_text(name: str, text: str) -> bool:
    """Return whether a file says just what a starter wrote into it."""
    return text.strip() in _texts_of(name)


@cache
def _texts_of(name: str) -> frozenset[str]:
    """Return what each starter writes into a file; it never changes while we run."""
    texts = (starter_texts(key).get(name, "").strip() for key in STARTER_KEYS)
    return frozenset(filter(None, texts))


def starter_texts(key: str) -> dict[str, str]:
    """Return a starter's texts by file name; raises ``KeyError`` when unknown."""
    if key not in STARTER_KEYS:
        raise KeyError(key)
    folder = Path(settings.BASE_DIR) / "starters" / key
    return {
        name: (folder / name).read_text(encoding="utf-8")
        for name in STANDARD_FILES
        if (folder / name).is_file()
    }
